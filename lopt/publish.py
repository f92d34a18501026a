"""Published optimizers: a directory with `config.json` and `theta.safetensors`, and nothing executable.

`config.json` holds the format's number, the architecture's registered name, its static fields, the provenance
given by the publisher (command, commit, tasks, inner steps, versions), and the SHA-256 of the weights.
Loading builds the architecture from the registry and fills its theta; nothing is unpickled. `save` and `load`
make the same complete checks of both files, so `load` reads whatever `save` writes.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax

from . import hub, published_config, published_static, published_theta
from .architectures import architecture, architecture_name
from .base import LearnedOptimizer, static_fields
from .own_optimizers import own_folder
from .plain_text import plain, quoted, reason
from .published_directory import CONFIG, THETA, PublishedOptimizerError, read, read_checked_config, write

_PACKAGE = Path(__file__).resolve().parent
_PUBLISHED = (_PACKAGE / "checkpoints", _PACKAGE.parent / "checkpoints")
"""Folders of the optimizers that come with lopt: in an installed wheel, and in a source tree."""
_LONGEST_GUESSED = 100


def save(
    optimizer: LearnedOptimizer, directory: str | PathLike[str], provenance: Mapping[str, Any] | None = None
) -> Path:
    """Publish an optimizer in a directory, which is created if necessary.

    Both files are completely on the disk before either is replaced: if something fails, the old files stay.

    Args:
        optimizer: an optimizer of a registered architecture; its theta is stored as float32.
        directory: the target; a published optimizer in it is replaced, anything else is an error.
        provenance: JSON values that say where theta comes from (command, commit, tasks, inner steps, ...).

    Returns:
        The directory.

    Raises:
        PublishedOptimizerError: if `load` would not accept theta, a static field or the provenance, or if the
            directory holds something else or can't be written (which is an OSError, too).
        ValueError: if the optimizer's class is not registered.
        TypeError: if the directory is neither text nor a path.
    """
    target = Path(_text(directory))
    name = architecture_name(optimizer)
    try:
        arrays, static = published_theta.arrays_of(optimizer), static_fields(optimizer)
        published_static.check_static(static, type(optimizer), published_theta.size(arrays))
    except ValueError as error:
        raise PublishedOptimizerError(f"this {name} can't be published: {error}") from error
    weights = published_theta.encode(arrays)
    digest = hashlib.sha256(weights).hexdigest()
    try:
        config = published_config.to_text(name, static, digest, provenance)
    except ValueError as error:
        raise PublishedOptimizerError(f"this {name} can't be published: its {CONFIG} {error}") from error
    write(target, weights, config)
    return target


def load(name_or_path: str | PathLike[str]) -> LearnedOptimizer:
    """Load a published optimizer.

    Args:
        name_or_path: as for `locate`.

    Raises:
        PublishedOptimizerError: if there is no such optimizer, or its files are truncated, altered or of
            another kind.
        TypeError: if `name_or_path` is neither text nor a path.
    """
    directory = locate(name_or_path)
    config, weights = read_checked_config(directory), read(directory, THETA)
    path = plain(directory / THETA)
    if hashlib.sha256(weights).hexdigest() != config["theta_sha256"]:
        raise PublishedOptimizerError(
            f"{path} is truncated or was altered: its checksum differs from {CONFIG}'s"
        )
    try:
        arrays = published_theta.decode(weights)
    except ValueError as error:
        raise PublishedOptimizerError(f"{path} {error}") from error
    template = _template(config, published_theta.size(arrays), directory)
    if names := published_theta.differing(template, arrays):
        raise PublishedOptimizerError(
            f"{path} does not fit {plain(config['architecture'])}: {plain(', '.join(names))} differ"
        )
    try:
        published_theta.check_numbers(arrays)
    except ValueError as error:
        raise PublishedOptimizerError(f"{path} holds no theta: {error}") from error
    return published_theta.fill(template, arrays)


def read_config(name_or_path: str | PathLike[str]) -> dict[str, Any]:
    """Read and check a published optimizer's `config.json`.

    Args:
        name_or_path: as for `locate`.

    Raises:
        PublishedOptimizerError: if it is missing or not the config of a published optimizer.
        TypeError: as for `load`.
    """
    return read_checked_config(locate(name_or_path))


def locate(name_or_path: str | PathLike[str]) -> Path:
    """Return the directory of a published optimizer; what is on the Hub is downloaded.

    Args:
        name_or_path: the name of an optimizer that comes with lopt or was imported; `hf://USER/NAME` or
            `hf://USER/NAME@REVISION` for one on the Hugging Face Hub; or a directory written by `save` or
            `lopt-export`. Text that is such a name takes precedence over a directory of that name: write
            `./small`, or give a `Path`, for the directory.

    Raises:
        PublishedOptimizerError: if there is no such optimizer, or it can't be downloaded. The directory's
            files are not checked.
        TypeError: if `name_or_path` is neither text nor a path.
    """
    text, places = _text(name_or_path), _places()
    if hub.is_hub_name(name_or_path):
        return hub.download(text)
    if isinstance(name_or_path, str) and text in places:
        return places[text]
    if os.path.isdir(text):  # pathlib's method raises if the name is too long
        return Path(text)
    if text in places:
        return places[text]
    if os.path.lexists(text):
        raise PublishedOptimizerError(
            f"{quoted(text)} is not a directory: name the one that holds {CONFIG} and {THETA}"
        )
    near = difflib.get_close_matches(text[:_LONGEST_GUESSED], places, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if text.startswith("~"):
        hint = "; ~ is not expanded here: write the full path"
    raise PublishedOptimizerError(
        f"{quoted(text)} is neither a directory nor the name of a published optimizer{hint}"
    )


def published() -> list[str]:
    """Return the names of the optimizers that come with lopt, and of those that were imported."""
    return sorted(_places())


def _places() -> dict[str, Path]:
    """Return the directories of published optimizers by name; the first folder wins."""
    found = [path.parent for root in (*_PUBLISHED, own_folder()) for path in root.glob(f"*/{CONFIG}")]
    return {path.name: path for path in reversed(found)}


def _text(name_or_path: str | PathLike[str]) -> str:
    text = os.fspath(name_or_path) if isinstance(name_or_path, str | PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"an optimizer is named by text or a path, not by {type(name_or_path).__name__}")
    if not text or "\0" in text:
        raise PublishedOptimizerError(f"{quoted(text)} can be neither a directory nor an optimizer's name")
    return text


def _template(config: Mapping[str, Any], numbers: int, directory: Path) -> LearnedOptimizer:
    """Return an abstract optimizer with the config's static fields: its arrays are ShapeDtypeStructs.

    Args:
        config: a checked config.
        numbers: size of the theta that it belongs to.
        directory: the config's directory, for messages.
    """
    try:
        cls = architecture(config["architecture"])
        published_static.check_static(config["static"], cls, numbers)
        static = {key: published_static.hashable(value) for key, value in config["static"].items()}
        return jax.eval_shape(lambda: cls.create(jax.random.key(0), **static))
    except Exception as error:  # a config may hold anything, so `create` may raise anything
        raise PublishedOptimizerError(f"{plain(directory / CONFIG)}: {reason(error)}") from error
