"""Which files are a run's."""

from __future__ import annotations

import os
from pathlib import Path


def belongs_to_run(run_dir: Path, path: Path) -> bool:
    """Tell whether a path is a run's directory, or in a part of it that others write, however it is spelt."""
    run, real = (Path(os.path.realpath(one)) for one in (run_dir, path))
    if not real.is_relative_to(run):
        return False
    inside = real.relative_to(run).parts
    return not inside or inside[0] in ("checkpoints", "damaged", "start", "wandb")
