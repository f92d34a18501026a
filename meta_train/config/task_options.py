"""Options of `lopt-train` that name several tasks, or give a number for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Validation(NamedTuple):
    """A task that theta is judged on."""

    task: str
    weight: float
    """Those of a run sum to 1."""
    horizon: int | None = None
    """Inner steps; None for the longest that is trained on."""

    @property
    def label(self) -> str:
        """Its name among the metrics: NAME, or NAME-HORIZON where a horizon was given."""
        return self.task if self.horizon is None else f"{self.task}-{self.horizon}"


def parse_validations(entries: Sequence[str], window: int) -> tuple[Validation, ...]:
    """Read NAME and NAME:HORIZON entries; they have the same weight.

    Args:
        entries: what `--validate-on` was given.
        window: inner steps per window.

    Raises:
        ValueError: for a horizon that is no multiple of the window, and for what is there twice.
    """
    found = []
    for entry in entries:
        task, colon, steps = entry.partition(":")
        horizon = int(steps) if steps.isdecimal() else 0
        if not task or (colon and not horizon):
            raise ValueError(f"--validate-on takes NAME or NAME:HORIZON, as in quadratic:400, not {entry!r}")
        if horizon % window:
            below = max(horizon // window, 1) * window
            raise ValueError(
                f"--validate-on {entry}: a window of {window} inner steps does not divide that horizon: take "
                f"{task}:{below} or {task}:{below + window}"
            )
        found.append(Validation(task, 1 / len(entries), horizon or None))
    if found:
        check_names([one.label for one in found], "--validate-on")
    return tuple(found)


def check_names(names: Sequence[str], flag: str) -> None:
    """Refuse a list of names that is empty, or has one twice.

    Raises:
        ValueError: saying what to type.
    """
    if not names:
        raise ValueError(f"{flag} takes at least one name: `lopt-train --list` shows all")
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if twice:
        raise ValueError(f"{flag} names {twice[0]} twice: name each once")


def check_numbers(numbers: Sequence[float], tasks: int, flag: str) -> None:
    """Refuse numbers that are not positive, or not one for each task; there may be none.

    Raises:
        ValueError: saying what to type.
    """
    if numbers and len(numbers) != tasks:
        raise ValueError(
            f"{flag} takes a number for each task, {tasks} in the order of --task, not {len(numbers)}; "
            "or leave it out"
        )
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError(f"{flag} must be positive, not {' '.join(map(str, numbers))}")
