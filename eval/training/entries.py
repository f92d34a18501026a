"""What a suite is: tasks, and how long each is trained."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable

from lopt import UsageError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One task of a suite."""

    task: str
    """Its name in `tasks.TASKS`."""
    horizon: int
    """Length of the training runs in inner steps."""
    declared: float = 1.0
    """The horizon given to learned optimizers that need one, as a multiple of the true one."""
    part: str = ""
    """The suite that it comes from, also within a suite that joins several."""

    @property
    def runs(self) -> str:
        """The name of its training runs, TASK-HORIZON, whatever is declared."""
        return f"{self.task}-{self.horizon}"

    @property
    def declared_steps(self) -> int:
        """The declared horizon, in inner steps."""
        return max(1, round(self.declared * self.horizon))


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tasks that together test one aspect."""

    name: str
    tests: str
    """A description of what it tests, as a sentence for the report."""
    entries: tuple[Entry, ...]

    def at_horizon(self, horizon: int) -> Suite:
        """Return the same tasks, each once, with training runs of `horizon` inner steps."""
        entries = (dataclasses.replace(entry, horizon=horizon) for entry in self.entries)
        return dataclasses.replace(self, entries=distinct(entries))

    @property
    def runs(self) -> list[str]:
        """The names TASK-HORIZON of all training runs, each once, the longest first."""
        entries = sorted(self.entries, key=lambda entry: -entry.horizon)
        return list(dict.fromkeys(entry.runs for entry in entries))

    def only(self, patterns: Iterable[str]) -> Suite:
        """Return the entries whose task, or TASK-HORIZON, matches a pattern of the shell.

        Args:
            patterns: names, or patterns with `*`, `?` and `[...]`.

        Raises:
            UsageError: for a pattern that no entry matches.
        """
        chosen: set[Entry] = set()
        for pattern in patterns:
            found = {one for one in self.entries if _matches(one, pattern)}
            if not found:
                raise UsageError(
                    f"no entry of suite {self.name!r} matches {pattern!r}; it has {', '.join(self.runs)}"
                )
            chosen |= found
        return dataclasses.replace(self, entries=tuple(one for one in self.entries if one in chosen))


def _matches(entry: Entry, pattern: str) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in (entry.task, entry.runs))


def distinct(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Drop entries with the same runs as an earlier one."""
    kept: dict[tuple[str, int, float], Entry] = {}
    for one in entries:
        kept.setdefault((one.task, one.horizon, one.declared), one)
    return tuple(kept.values())
