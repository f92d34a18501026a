"""Where a user's own published optimizers are: those that were imported, and found by name."""

from __future__ import annotations

import os
from pathlib import Path


def own_folder() -> Path:
    """Return LOPT_HOME, or `~/.local/share/lopt`; without a home directory, `.lopt` in the present one."""
    if given := os.environ.get("LOPT_HOME"):
        return Path(given)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "lopt"
    try:
        return Path.home() / ".local" / "share" / "lopt"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return Path(".lopt")
