"""Tell a run that has not saved yet from one whose checkpoints were deleted, or are not mounted.

`checkpoints/` holds a mark from the run's first start on. Where neither a checkpoint nor the mark is there,
but meta-steps were done, the directory is not the one that the run wrote to.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..host.files import read_whole, write_whole

_NAME = "README.txt"
_NOT_YET, _SAVED = "This run has not saved yet.\n", "This run has saved.\n"


def mark(checkpoints: Path, saved: bool = False) -> None:
    """Make the directory of a run's checkpoints and its mark, or say in it that there is a checkpoint."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    file = checkpoints / _NAME
    # A run says so at every save; what is said already is not written again.
    if not file.exists() or (saved and _said(file) != _SAVED):
        write_whole(file, _SAVED if saved else _NOT_YET)


def are_lost(checkpoints: Path, metrics: Path) -> bool:
    """Tell whether a run has saved, or was somewhere else than here, though it holds no checkpoint.

    Args:
        checkpoints: the directory, where no checkpoint is.
        metrics: the run's `metrics.jsonl`.
    """
    said = _said(checkpoints / _NAME)
    return _has_begun(metrics) if said is None else said != _NOT_YET


def _said(file: Path) -> str | None:
    """Return what a mark says; None where it can't be read."""
    try:
        return read_whole(file)
    except (OSError, ValueError):
        return None


def _has_begun(metrics: Path) -> bool:
    """Tell whether a line says that a meta-step was done."""
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
