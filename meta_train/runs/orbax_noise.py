"""Suppresses what orbax and tensorstore print if a checkpoint fails: lopt reports it in one sentence."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from typing import Any


@functools.cache
def leave_errors_to_us() -> None:
    """Keep their log messages and the errors of their unfinished tasks off the terminal from now on.

    A failed save leaves an event loop with tasks that are never awaited, and tensorstore's thread keeps
    calling that loop. Messages of other code are printed as before.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    print_others = sys.unraisablehook

    def print_unraisable(what: Any) -> None:
        told_a_loop = what.exc_type is RuntimeError and str(what.exc_value) == "Event loop is closed"
        frames = traceback.extract_tb(what.exc_traceback)
        if not (told_a_loop or any("/orbax/" in frame.filename for frame in frames)):
            print_others(what)

    sys.unraisablehook = print_unraisable
