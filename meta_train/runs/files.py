"""The files that belong to a run. Importing this module imports nothing heavy."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def belongs_to_run(run_dir: Path, path: Path) -> bool:
    """Return whether a path, in any spelling, is a run's directory or in one of its subfolders."""
    run, real = (Path(os.path.realpath(one)) for one in (run_dir, path))
    if not real.is_relative_to(run):
        return False
    inside = real.relative_to(run).parts
    return not inside or inside[0] in ("checkpoints", "damaged", "start", "wandb")


def steps_in(directory: Path) -> list[int]:
    """Return the meta-steps of the checkpoints in a directory, ascending."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def size_of(directory: Path) -> int:
    """Return the bytes of all files in a directory; files that disappear meanwhile are left out."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
