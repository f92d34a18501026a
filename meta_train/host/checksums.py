"""Checksums of checkpoints, to detect damage before a checkpoint is used.

A flipped byte may decompress to another number, so a readable file may still be damaged. Checksums are
written into the checkpoint's directory before it gets its final name, so every finished checkpoint has them.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from .files import read_object

_NAME = "checksums.json"


def write_checksums(checkpoint: Path) -> None:
    """Write the checksums of a checkpoint's items, without orbax's metadata, which is written later."""
    sums = {str(file.relative_to(checkpoint)): _digest(file) for file in _files(checkpoint)}
    (checkpoint / _NAME).write_text(json.dumps(sums, indent=1) + "\n")


def has_checksums(checkpoint: Path) -> bool:
    """Return whether a checkpoint has checksums."""
    return os.path.lexists(checkpoint / _NAME)


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint's files; None if nothing is, or there are no checksums."""
    if not has_checksums(checkpoint):
        return None
    expected = read_object(checkpoint / _NAME)
    if expected is None:
        return "its checksums can't be read"
    try:
        for name, digest in expected.items():
            file = checkpoint / name
            if not file.is_file():
                return f"{name} is missing"
            if _digest(file) != digest:
                return f"{name} is not what was written"
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        return f"its files can't be read ({error})"
    return None


def _files(checkpoint: Path) -> list[Path]:
    return sorted(
        file for item in checkpoint.iterdir() if item.is_dir() for file in item.rglob("*") if file.is_file()
    )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
