"""How long programs took to compile, kept beside the compilation cache, to tell a user how long to wait."""

from __future__ import annotations

import json
from pathlib import Path

from .files import read_object, write_whole

_NAME = "lopt-compile-seconds.json"
_MOST = 200
"""Entries that are kept; the oldest are dropped."""


def seconds_to_compile(cache: str | Path | None, what: str) -> float | None:
    """Return the seconds that a program took to compile the last time; None if that is not known.

    Args:
        cache: the directory of compiled programs; None if nothing is cached.
        what: what was compiled, as for `keep_seconds_to_compile`.
    """
    seconds = _read(cache).get(what)
    return float(seconds) if isinstance(seconds, (int, float)) and 0 < seconds < 1e6 else None


def keep_seconds_to_compile(cache: str | Path | None, what: str, seconds: float) -> None:
    """Record how long a program took; if it can't be written, nothing is recorded.

    Args:
        cache: as for `seconds_to_compile`.
        what: a description that is the same the next time.
        seconds: how long it took.
    """
    if cache is None:
        return
    known = {name: value for name, value in _read(cache).items() if name != what}
    recent = dict([*known.items(), (what, round(seconds, 1))][-_MOST:])
    try:
        write_whole(Path(cache, _NAME), json.dumps(recent, indent=1) + "\n")
    except OSError:
        return


def _read(cache: str | Path | None) -> dict[str, object]:
    return {} if cache is None else read_object(Path(cache, _NAME)) or {}
