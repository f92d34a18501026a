"""Watch over a run's numbers: warn of what will not get better by itself, and give up when nothing moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_PATIENCE = 100
"""Meta-steps that something must last before it is called lasting."""


class DivergedError(RuntimeError):
    """Theta can't move without ceasing to be finite."""


class Watch:
    """Sees every record of a run.

    Args:
        warn: told, once, when most episodes have diverged for long.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned = False
        self._diverging = 0
        self._standing = 0

    def see(self, meta_step: int, count: int, values: Mapping[str, float]) -> None:
        """Look at a record.

        Args:
            meta_step: meta-steps done.
            count: meta-steps that the record averages.
            values: plainly named, as the meta-step gives them.

        Raises:
            DivergedError: when every meta-step was skipped for long.
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
