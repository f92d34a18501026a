"""The directory of a published optimizer: its files, and when it may be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import published_config
from .errors import UsageError
from .plain_text import plain, quoted, reason
from .published_files import leftovers, read_regular, replace_together

CONFIG, THETA = "config.json", "theta.safetensors"
_MOST_BYTES = {CONFIG: 2**22, THETA: 2**30}


class PublishedOptimizerError(UsageError):
    """A directory holds no published optimizer that this version can load, or one can't be written to it."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message, 1000))


class _UnwritableError(PublishedOptimizerError, OSError):
    """A system error on writing; also an OSError, so that callers can recognise a full disk."""


def read(directory: Path, name: str) -> bytes:
    """Read one of the two files.

    Raises:
        PublishedOptimizerError: if it can't be read.
    """
    try:
        return read_regular(directory / name, _MOST_BYTES[name])
    except OSError as error:
        lacks = "holds no published optimizer: no" if name == CONFIG else "has no"
        raise PublishedOptimizerError(
            f"{plain(directory)} {lacks} readable {name} ({reason(error)})"
        ) from error


def read_checked_config(directory: Path) -> dict[str, Any]:
    """Read `config.json`, and check all of it except the static fields.

    Raises:
        PublishedOptimizerError: if it can't be read, or is not the config of a published optimizer.
    """
    content = read(directory, CONFIG)
    try:
        config = published_config.parse(content)
        if not published_config.is_run(config):
            published_config.check(config)
            return config
    except ValueError as error:
        raise PublishedOptimizerError(f"{plain(directory / CONFIG)} {error}") from error
    where = plain(directory)
    raise PublishedOptimizerError(
        f"{where} is a run directory: `lopt-export {where} OUT_DIR` makes an optimizer of it"
    )


def write(directory: Path, theta: bytes, config: bytes) -> None:
    """Write both files; if that fails, the old ones stay.

    Raises:
        PublishedOptimizerError: if they are too large, the directory holds something else, or they can't be
            written (which is an OSError, too).
    """
    contents = {THETA: theta, CONFIG: config}  # in this order, because the config has theta's checksum
    for name, content in contents.items():
        if len(content) > _MOST_BYTES[name]:
            most = f"{len(content):,} bytes, and may have {_MOST_BYTES[name]:,}"
            raise PublishedOptimizerError(f"no optimizer is written to {plain(directory)}: {name} has {most}")
    try:
        _check_target(directory)
        _write_or_undo(directory, contents)
    except OSError as error:
        failure = _UnwritableError(f"no optimizer can be written to {plain(directory)}: {reason(error)}")
        failure.errno = error.errno
        raise failure from error


def _write_or_undo(directory: Path, contents: Mapping[str, bytes]) -> None:
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        replace_together(directory, contents)
    except BaseException:
        if new:
            with suppress(OSError):
                directory.rmdir()
        raise


def _check_target(directory: Path) -> None:
    """Raise an error if the directory holds anything but a published optimizer, or can't be read."""
    if str(directory).startswith("~"):
        raise PublishedOptimizerError(f"{quoted(str(directory))} begins with ~: write that directory out")
    if not directory.is_dir():
        if os.path.lexists(directory):
            raise PublishedOptimizerError(f"{plain(directory)} is not a directory: take another")
        return
    there = {path.name for path in directory.iterdir()}
    names = there - leftovers((THETA, CONFIG))
    # Theta without a config is left by a process that died before it could rename its config.
    if not names or (names == {THETA} and names != there):
        return
    try:
        config = published_config.parse(read_regular(directory / CONFIG, _MOST_BYTES[CONFIG]))
    except (OSError, ValueError):
        config = None
    if published_config.is_run(config):
        raise PublishedOptimizerError(f"{plain(directory)} is a run directory of lopt-train: take another")
    if not published_config.is_published(config):
        raise PublishedOptimizerError(
            f"{plain(directory)} is not empty and holds no published optimizer to replace: take another"
        )
