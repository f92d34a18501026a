"""The run's primary log: a line of JSON per record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from lopt import UsageError

from ..host.files import open_new, writing
from .base import Tracker
from .values import Value, Values, from_json, to_json

_STEP = "meta_step"


class JsonLines(Tracker):
    """Writes a line of JSON per record, flushed immediately.

    Args:
        path: the file, which is appended to.
        resume_step: the meta-step that the run resumes from. Later lines, written before the run was stopped
            without a checkpoint, are removed, because they will be written again. A run that starts at 0
            writes line 0 again, too.
    """

    def __init__(self, path: Path, resume_step: int = 0) -> None:
        if path.exists():
            replacement = path.with_suffix(".tmp")
            with _open(path) as old, writing(path), open_new(replacement) as new:
                due = (line for line in old if resume_step > 0 and _is_due(line, resume_step))
                new.writelines(line.decode().rstrip("\n") + "\n" for line in due)
                new.flush()
                replacement.replace(path)
        self._path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Values) -> None:
        """Write one line; values that are not finite are left out.

        Raises:
            UnwritableError: if it can't be written.
        """
        line = json.dumps({_STEP: step} | to_json(values)) + "\n"
        with writing(self._path):
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Close the file; each line was written already, or its error raised."""
        with suppress(OSError):
            self._file.close()


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Value]]]:
    """Read a file written by `JsonLines`, record by record, skipping lines that were cut short.

    Yields:
        The meta-step and the values of each record.

    Raises:
        UsageError: for a complete line that is not a record.
    """
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            try:
                record = read_record(line)
            except UsageError as error:
                raise UsageError(f"{path}, line {number}, is not a record of a run: {error}") from error
            if record is not None:
                yield record


def read_record(line: bytes) -> tuple[int, dict[str, Value]] | None:
    """Read a line written by `JsonLines`; None for one that was cut short.

    Raises:
        UsageError: for a complete line that is not a record.
    """
    record = _parse(line)
    if record is None:
        return None
    try:
        step = record.pop(_STEP)
        return step, from_json(record)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(str(error)) from error


def _open(path: Path) -> IO[bytes]:
    if not path.is_file():
        raise OSError(f"{path} is not a regular file")
    return path.open("rb")


def _parse(line: bytes) -> dict | None:
    """Parse a line; return None for one that was cut short or is not text."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_due(line: bytes, resume_step: int) -> bool:
    """Return whether a line is complete and not of a later meta-step."""
    step = (_parse(line) or {}).get(_STEP)
    return isinstance(step, int) and step <= resume_step
