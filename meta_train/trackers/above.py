"""Printing above a live display at the bottom of the terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text


class _Above:
    """A stream whose lines go above a console's live display."""

    def __init__(self, console: Console, stream: Any) -> None:
        self._console, self._stream = console, stream
        self._begun = ""
        self._lock = threading.RLock()  # a signal handler may print during a write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._lock:
            whole, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self._console.print(Text.from_ansi(whole), highlight=False, soft_wrap=True)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: an incomplete line can't be printed above the display."""


@contextlib.contextmanager
def printed_above(console: Console, name: str) -> Iterator[None]:
    """Print text for a standard stream above the display, if both are on a terminal."""
    stream = getattr(sys, name)
    if not (console.file.isatty() and stream.isatty()):
        yield
        return
    detour = _Above(console, stream)
    setattr(sys, name, detour)
    try:
        yield
    finally:
        if getattr(sys, name) is detour:
            setattr(sys, name, stream)
        if detour._begun:
            detour.write("\n")
