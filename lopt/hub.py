"""Optimizers on the Hugging Face Hub: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`.

A repository there holds the files of a published directory. Only these are downloaded, by `huggingface_hub`
and into its cache (`HF_HOME`), and they are checked like those of any other directory.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from .plain_text import quoted, reason
from .published_directory import CONFIG, THETA, PublishedOptimizerError

EVAL, CARD = "eval.json", "README.md"
FILES = (CONFIG, THETA, EVAL, CARD)
_PREFIX = "hf://"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_NEVER = re.compile(r"--|\.\.|\.git$")
"""What no name on the Hub has."""
_LONGEST = 96
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)*")


def is_hub_name(name: object) -> bool:
    """Return whether text begins with `hf://`; a path never does."""
    return isinstance(name, str) and name.startswith(_PREFIX)


def checked_repository(name: str) -> str:
    """Return `USER/NAME`, without `hf://` if it is there.

    Raises:
        PublishedOptimizerError: if it can't be the name of a repository on the Hub.
    """
    repository = name.removeprefix(_PREFIX)
    fits = _REPOSITORY.fullmatch(repository) and not _NEVER.search(repository)
    if not fits or len(repository) > _LONGEST:
        raise PublishedOptimizerError(
            f"{quoted(name)} can't be a repository of the Hugging Face Hub: write USER/NAME"
        )
    return repository


def download(name: str) -> Path:
    """Download an optimizer from the Hub, unless the newest version is in the cache.

    Args:
        name: `hf://USER/NAME` or `hf://USER/NAME@REVISION`; the revision is a branch, a tag or a commit.

    Returns:
        Its directory in the cache, whose files are not checked yet. Without a connection, the version that
        was downloaded last.

    Raises:
        PublishedOptimizerError: if the name is none, or it can't be downloaded.
    """
    where, at, revision = name.removeprefix(_PREFIX).partition("@")
    repository = checked_repository(_PREFIX + where)
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise PublishedOptimizerError(
            f"{quoted(revision)} is no revision of {_PREFIX}{repository}: name a branch, a tag or a commit"
        )
    library = import_library(name)
    try:
        path = library.snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES))
    except Exception as error:  # the library's kinds of errors, and those of its connection, are many
        raise PublishedOptimizerError(_why_not(name, error)) from error
    return Path(path)


def import_library(purpose: str) -> Any:
    """Return the module `huggingface_hub`.

    Args:
        purpose: what needs it, for the message.

    Raises:
        PublishedOptimizerError: if it is not installed.
    """
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise PublishedOptimizerError(
            f"{purpose} needs the package huggingface_hub: type `pip install 'lopt[hub]'`"
        ) from error


def _why_not(name: str, error: Exception) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return f"{name} is gated: ask for access on its page, and log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return f"there is no {name} on the Hub, or it is private and this machine's token can't read it"
        case errors.RevisionNotFoundError():
            repository, _, revision = name.partition("@")
            return f"{repository} has no revision {quoted(revision)}"
        case errors.LocalEntryNotFoundError():
            cause = reason(error.__cause__ or error)
            return f"{name} is not in the cache, and can't be downloaded: {cause}"
    return f"{name} can't be downloaded: {reason(error)}"
