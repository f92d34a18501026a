"""Timing of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Rates, the host's share and the time left, from the second call on, because the first one compiles.

    Args:
        inner_steps: inner steps per meta-step.
        steps: meta-steps of the whole run.
    """

    def __init__(self, inner_steps: int, steps: int) -> None:
        self._inner_steps, self._steps = inner_steps, steps
        self._last: float | None = None
        self._waited = 0.0
        self._begun: tuple[int, float] | None = None
        self._measured: dict[str, float] = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as waiting for devices."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Report the time within as `name`, with the next record, and exclude it from the rates."""
        began = time.perf_counter()
        yield
        self._measured[name] = time.perf_counter() - began
        if self._last is not None:
            self._last += self._measured[name]

    def read(self, meta_step: int, count: int) -> dict[str, float]:
        """Return the figures for the time since the last call.

        Args:
            meta_step: meta-steps done.
            count: meta-steps done since the last call.
        """
        now, last, waited = time.perf_counter(), self._last, self._waited
        self._last, self._waited = now, 0.0
        values, self._measured = self._measured, {}
        if last is None or self._begun is None:
            self._begun = (meta_step, now)
            return values
        elapsed = max(now - last, 1e-9)
        since, began = self._begun
        per_meta_step = (now - began) / (meta_step - since)
        return values | {
            "inner_steps_per_second": count * self._inner_steps / elapsed,
            "host_share": max(0.0, 1 - waited / elapsed),
            "eta_seconds": (self._steps - meta_step) * per_meta_step,
        }
