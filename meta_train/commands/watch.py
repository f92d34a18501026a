"""`lopt-runs watch`: draws a run again and again, from its files."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from lopt import UsageError

from ..runs.history import Follower, History
from ..runs.summary import RunSummary, summarize_run
from ..trackers.figures import figure
from ..trackers.metrics import LOSS, VALID_OBJECTIVE
from ..views.run_tables import print_all
from ..views.run_view import live_view

_STATE_SECONDS = 5.0
"""Seconds between looks at what costs more than the new lines: the state and the size."""


def watch(run_dir: Path, every: float, console: Console, sleep: Callable[[float], None] = time.sleep) -> int:
    """Draw a run until it is done, or until ctrl-C.

    Without a terminal it prints a line whenever there is a new record, and also ends when no process trains
    there any more.

    Args:
        run_dir: the run's directory.
        every: seconds between looks.
        console: where to draw.
        sleep: waits so many seconds.

    Returns:
        The exit status: 0.

    Raises:
        UsageError: if it is not a run's directory, or `every` is not positive.
    """
    if not every > 0:
        raise UsageError(f"--every must be positive, not {every}")
    watched = _Watched(run_dir)
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal:
            _draw(watched, every, console, sleep)
        else:
            _print(watched, every, sleep)
    if console.is_terminal:
        print_all(console, watched.view(console))
    return 0


class _Watched:
    """A run, read again at each look: its new lines always, its state now and then."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self._follower = run_dir, Follower(run_dir / "metrics.jsonl")
        self._seen = -float("inf")
        self.one: RunSummary = summarize_run(run_dir)

    def look(self) -> bool:
        """Read what is new; return whether there was a record."""
        try:
            new = self._follower.read()
        except UsageError:
            new = False  # the summary says it
        steps, now = self.history.steps, time.monotonic()
        over = bool(steps) and steps[-1] >= (self.one.meta_steps or math.inf)
        if over or now - self._seen >= _STATE_SECONDS:
            self.one, self._seen = summarize_run(self.run_dir), now
        elif new:
            inner = int(self.history.axis("inner_steps")[-1])
            self.one = dataclasses.replace(
                self.one, meta_step=steps[-1], inner_steps=inner, changed=time.time()
            )
        return new

    def view(self, console: Console) -> Group:
        """Return the run as it is drawn on a console of its present size."""
        ascii_only = not (console.encoding or "").lower().startswith("utf")
        return live_view(self.one, str(self.run_dir), self.history, *console.size, ascii_only)

    @property
    def history(self) -> History:
        """The records so far."""
        return self._follower.history()


def _draw(watched: _Watched, every: float, console: Console, sleep: Callable[[float], None]) -> None:
    # On the terminal's other screen, so that nothing of it remains above, whatever its size becomes.
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            watched.look()
            live.update(watched.view(console), refresh=True)
            if watched.one.state == "done":
                return
            sleep(every)


def _print(watched: _Watched, every: float, sleep: Callable[[float], None]) -> None:
    said = False
    while True:
        if watched.look() or not said:
            print(_line(watched), flush=True)
            said = True
        if watched.one.state != "running":
            return
        sleep(every)


def _line(watched: _Watched) -> str:
    last, one = watched.history.last(), watched.one
    facts = [f"meta-step {one.meta_step or 0:,}/{one.meta_steps or 0:,}", one.state]
    for name, label in ((LOSS.name, "meta-loss"), (VALID_OBJECTIVE.name, "validation")):
        if name in last:
            facts.append(f"{label} {figure(last[name])}")
    return "  ".join(facts)
