"""The user name and the home directory; in containers there may be neither."""

from __future__ import annotations

import getpass
import os
from pathlib import Path


def user_name() -> str:
    """Return the user's name, or its number if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return str(os.getuid())


def home() -> Path | None:
    """Return the home directory, or None if there is none."""
    try:
        found = Path.home()
    except RuntimeError:
        return None
    return found if found.is_dir() else None
