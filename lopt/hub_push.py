"""Uploads a published optimizer to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

from . import hub
from .model_card import model_card
from .plain_text import plain, reason
from .publish import load, locate, read_config
from .published_config import parse
from .published_directory import CONFIG, THETA, PublishedOptimizerError
from .published_files import read_regular

_MOST_BYTES = {CONFIG: 2**22, THETA: 2**30, hub.EVAL: 2**26, hub.CARD: 2**22}


def push(name_or_path: str | PathLike[str], repository: str) -> str:
    """Upload a published optimizer to the Hub, as one commit; the repository is made if there is none.

    What is uploaded is the optimizer's two files, an `eval.json` beside them, and a model card: the
    directory's README.md, or one made of the provenance and of `eval.json`. An `eval.json` of an earlier
    upload is removed if there is no new one.

    Args:
        name_or_path: as for `lopt.load`; the optimizer must load.
        repository: `USER/NAME`.

    Returns:
        The name to load it by, `hf://USER/NAME`.

    Raises:
        PublishedOptimizerError: if it does not load, its `eval.json` is about another theta, the library is
            not installed, or the Hub does not take it.
    """
    repository = hub.checked_repository(repository)
    library = hub.import_library(f"pushing to {repository}")
    contents = _contents(locate(name_or_path), repository)
    if library.get_token() is None:
        raise PublishedOptimizerError(
            f"pushing to {repository} needs a token: log in with `hf auth login`, or set HF_TOKEN"
        )
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            Path(folder, name).write_bytes(content)
        try:
            _upload(library.HfApi(), folder, repository, [hub.EVAL])
        except Exception as error:  # the library's kinds of errors, and those of its connection, are many
            raise PublishedOptimizerError(_why_not(repository, error)) from error
    return f"hf://{repository}"


def _contents(directory: Path, repository: str) -> dict[str, bytes]:
    """Return what to upload, by name, after checking it."""
    optimizer, config = load(directory), read_config(directory)
    contents = {}
    for name in hub.FILES:
        try:
            contents[name] = read_regular(directory / name, _MOST_BYTES[name])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PublishedOptimizerError(
                f"{plain(directory / name)} can't be read: {reason(error)}"
            ) from error
    try:
        results = parse(contents[hub.EVAL]) if hub.EVAL in contents else None
        card = model_card(repository, optimizer, config, results)
    except ValueError as error:
        said = str(error) if str(error).startswith(hub.EVAL) else f"{hub.EVAL} {error}"
        raise PublishedOptimizerError(f"{plain(directory)} can't be pushed: its {said}") from error
    return {hub.CARD: card.encode()} | contents


def _upload(api: Any, folder: str, repository: str, obsolete: list[str]) -> None:
    api.create_repo(repository, exist_ok=True)
    api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        allow_patterns=list(hub.FILES),
        delete_patterns=obsolete,
        commit_message="Publish a learned optimizer of lopt",
    )


def _why_not(repository: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        why = reason(error)
        return f"this machine's token may not write to {repository}: log in with `hf auth login` ({why})"
    return f"{repository} could not be pushed: {reason(error)}"
