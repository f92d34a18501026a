"""The user and the home directory, where there may be neither: containers run under any number."""

from __future__ import annotations

import getpass
import os
from pathlib import Path


def user_name() -> str:
    """Return the user's name, or the number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())


def home() -> Path | None:
    """Return the home directory; None where there is none."""
    try:
        found = Path.home()
    except RuntimeError:
        return None
    return found if found.is_dir() else None
