"""Monitoring of a run: a warning if most episodes keep diverging, an error if theta can't be updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_PATIENCE = 100
"""Number of consecutive meta-steps after which a problem is reported."""


class DivergedError(RuntimeError):
    """Theta can't be updated without becoming non-finite."""


class Watch:
    """Monitors the records of a run.

    Args:
        warn: called once, if most episodes have diverged for `_PATIENCE` meta-steps.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned = False
        self._diverging = 0
        self._standing = 0

    def see(self, meta_step: int, count: int, values: Mapping[str, float]) -> None:
        """Process a record.

        Args:
            meta_step: meta-steps done.
            count: meta-steps that the record averages.
            values: the meta-step's metrics, by their names without groups.

        Raises:
            DivergedError: if every one of the last `_PATIENCE` meta-steps was skipped.
        """
        self._diverging = self._diverging + count if values["diverged"] > 0.5 else 0
        self._standing = self._standing + count if values["skipped"] == 1 else 0
        if self._standing >= _PATIENCE:
            raise DivergedError(
                f"every meta-step since {meta_step - self._standing} was skipped, because theta would not "
                "have stayed finite: start another run directory with a smaller --learning-rate or "
                "--gradient-clip"
            )
        if self._diverging >= _PATIENCE and not self._warned:
            self._warned = True
            self._warn(
                f"more than half of the episodes have diverged for {self._diverging} meta-steps, and what "
                "diverges teaches little: try a smaller --sigma, shorter episodes (--horizon curriculum), or "
                "look at the task's initial loss and ceiling"
            )
