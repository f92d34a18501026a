"""Distinguishes a run that has not saved yet from one whose checkpoints were deleted or not mounted.

`checkpoints/` holds a mark from the run's first start on. If there is neither a checkpoint nor the mark, but
meta-steps were done, it is not the directory that the run wrote to.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..host.files import read_whole, write_whole

_NAME = "README.txt"
_NOT_YET, _SAVED = "This run has not saved yet.\n", "This run has saved.\n"


def mark(checkpoints: Path, saved: bool = False) -> None:
    """Create the directory of a run's checkpoints and its mark, or record in it that the run has saved."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    file = checkpoints / _NAME
    # This is called at every save; an up-to-date mark is not written again.
    if not file.exists() or (saved and _said(file) != _SAVED):
        write_whole(file, _SAVED if saved else _NOT_YET)


def are_lost(checkpoints: Path, metrics: Path) -> bool:
    """Return whether checkpoints are missing: the run has saved, or has run in another directory.

    Args:
        checkpoints: the directory, which holds no checkpoint.
        metrics: the run's `metrics.jsonl`.
    """
    said = _said(checkpoints / _NAME)
    return _has_begun(metrics) if said is None else said != _NOT_YET


def _said(file: Path) -> str | None:
    """Return the text of a mark; None if it can't be read."""
    try:
        return read_whole(file)
    except (OSError, ValueError):
        return None


def _has_begun(metrics: Path) -> bool:
    """Return whether a line reports a meta-step after 0."""
    if not metrics.is_file():
        return False
    with metrics.open("rb") as lines:
        for line in lines:
            try:
                if json.loads(line)["meta_step"] > 0:
                    return True
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # it was cut short
    return False
