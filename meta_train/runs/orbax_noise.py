"""What orbax and tensorstore print when a checkpoint fails: our errors say it in one sentence."""

from __future__ import annotations

import functools
import logging
import sys
import traceback
from typing import Any


@functools.cache
def leave_errors_to_us() -> None:
    """Keep what they log, and what becomes of their unfinished work, off the terminal from now on.

    A save that fails leaves an event loop behind, with tasks that nobody awaits; tensorstore, in a thread of
    its own, goes on telling that loop of files. Everything that is not theirs is printed as before.
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
