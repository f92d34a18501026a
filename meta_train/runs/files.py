"""Which files are a run's, and how they are quoted."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_SHOWN = 1000


def belongs_to_run(run_dir: Path, path: Path) -> bool:
    """Tell whether a path is a run's directory, or in a part of it that others write, however it is spelt."""
    run, real = (Path(os.path.realpath(one)) for one in (run_dir, path))
    if not real.is_relative_to(run):
        return False
    inside = real.relative_to(run).parts
    return not inside or inside[0] in ("checkpoints", "damaged", "start", "wandb")


def one_line(text: object) -> str:
    """Return text without what a terminal would obey, and with the middle of what is very long left out."""
    whole = str(text)
    if len(whole) > _MOST_SHOWN:
        whole = f"{whole[: _MOST_SHOWN // 2]} ... {whole[-_MOST_SHOWN // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)
