"""The progress of `lopt-eval`: how far it is, how long an item takes, and the time to go."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lopt import plain

_READ = 0.5
"""Seconds below which an item was read from a file: it says nothing about one that is run."""
_RECENT = 5
"""Items of which the next one's duration is the mean."""


class Pace:
    """Estimates from the items so far how long the next one takes, and the rest.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._at = clock()
        self._run: list[float] = []
        self._started = False

    def next(self, done: int, total: int) -> tuple[str, str]:
        """Take note of the next item.

        Args:
            done: items done.
            total: all items.

        Returns:
            What to say of the item itself, and of the time to go; both are empty at the end.
        """
        now = self._clock()
        if self._started and now - self._at >= _READ:
            self._run.append(now - self._at)
        self._at, self._started = now, True
        if done >= total:
            return "", ""
        recent = self._run[-_RECENT:]
        item = f"compiling ... about {duration(sum(recent) / len(recent))}" if recent else "compiling ..."
        to_go = (now - self._began) / done * (total - done) if done and recent else 0.0
        return item, f"about {duration(to_go)} to go" if to_go else ""


def duration(seconds: float) -> str:
    """Format an estimated duration in one unit.

    >>> [duration(x) for x in (0.4, 59, 90, 5400)]
    ['1 s', '59 s', '2 min', '1.5 h']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Provide a callback for `benchmark` that draws a bar on a terminal, and prints plain lines elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console, pace = Console(stderr=True), Pace()

    def words(done: int, total: int, what: str) -> tuple[str, str]:
        item, to_go = pace.next(done, total)
        return plain(f"{what}: {item}" if item else what), to_go

    if not console.is_terminal:

        def line(done: int, total: int, what: str) -> None:
            said, to_go = words(done, total, what)
            print(f"[{done}/{total}] {said}" + (f"; {to_go}" if to_go else ""), file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[to_go]}", markup=False),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        work = bar.add_task("", total=None, to_go="")

        def draw(done: int, total: int, what: str) -> None:
            said, to_go = words(done, total, what)
            bar.update(work, completed=done, total=total, description=said, to_go=to_go)

        yield draw
