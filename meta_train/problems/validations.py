"""The entries of `--validate-on`: tasks that theta is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lopt import UsageError

from .options import check_names


class Validation(NamedTuple):
    """A task that theta is validated on."""

    task: str
    weight: float
    """The weights of a run sum to 1."""
    horizon: int | None = None
    """Inner steps; None for the longest horizon in training."""

    @property
    def label(self) -> str:
        """Its name in metrics: NAME, or NAME-HORIZON if a horizon was given."""
        return self.task if self.horizon is None else f"{self.task}-{self.horizon}"

    def check(self, window: int) -> None:
        """Check that the horizon is a multiple of the window.

        Raises:
            UsageError: if it is not; the message names the nearest multiples.
        """
        if self.horizon is not None and self.horizon % window:
            below = max(self.horizon // window, 1) * window
            raise UsageError(
                f"--validate-on {self.task}:{self.horizon}: a window of {window} inner steps does not divide "
                f"that horizon: take {self.task}:{below} or {self.task}:{below + window}"
            )


def parse_validations(entries: Sequence[str]) -> tuple[Validation, ...]:
    """Parse NAME and NAME:HORIZON entries, which get equal weights.

    Args:
        entries: the values of `--validate-on`.

    Raises:
        UsageError: for an entry of another form, and for duplicates.
    """
    found = []
    for entry in entries:
        task, colon, steps = entry.partition(":")
        horizon = int(steps) if steps.isascii() and steps.isdecimal() and len(steps) < 10 else 0
        if not task or (colon and not horizon):
            raise UsageError(f"--validate-on takes NAME or NAME:HORIZON, as in quadratic:400, not {entry!r}")
        found.append(Validation(task, 1 / len(entries), horizon or None))
    if found:
        check_names([one.label for one in found], "--validate-on")
    return tuple(found)
