"""The files that belong to a run."""

from __future__ import annotations

import os
from pathlib import Path


def belongs_to_run(run_dir: Path, path: Path) -> bool:
    """Return whether a path, in any spelling, is a run's directory or in one of its subfolders."""
    run, real = (Path(os.path.realpath(one)) for one in (run_dir, path))
    if not real.is_relative_to(run):
        return False
    inside = real.relative_to(run).parts
    return not inside or inside[0] in ("checkpoints", "damaged", "start", "wandb")
