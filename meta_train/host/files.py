"""Atomic writes, and safe reads of untrusted files."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeGuard, cast

_MOST_BYTES = 2**22


class UnwritableError(OSError):
    """A file can't be written; an error of a write, unlike one of an open, doesn't tell which file it is."""

    def __str__(self) -> str:
        return f"{self.filename} can't be written: {self.strerror}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn system errors into an `UnwritableError` with the same number and the file's name."""
    try:
        yield
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror or str(error), str(path)) from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: it is never half written, even if the process dies or the disk is full.

    Raises:
        UnwritableError: if it can't be written.
    """
    partial = path.with_suffix(".tmp")
    try:
        with writing(path), open_new(partial) as file:
            file.buffer.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def open_new(path: Path) -> TextIO:
    """Open a new file for writing, replacing an existing one; the target of a link is left alone."""
    path.unlink(missing_ok=True)
    return cast(TextIO, path.open("x", encoding="utf-8"))


def read_whole(path: Path) -> str:
    """Read a small file, unless it is a pipe, a device or the like, which could block or never end.

    Raises:
        OSError: if it can't be read, is not a regular file, or is too large.
        ValueError: if it is not text.
    """
    if not path.is_file():
        there = errno.EINVAL if os.path.lexists(path) else errno.ENOENT
        raise OSError(there, os.strerror(there))
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content.decode()


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object from a small file; None for anything else, or if it can't be read."""
    try:
        value = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_run_id(value: object) -> TypeGuard[str]:
    """Return whether a value is a run's id: eight hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{8}", value) is not None
