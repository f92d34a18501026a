"""Timing of a run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

CALLS = 5
"""Number of calls over which rates are taken. A single one tells little: where a dispatch blocks, two
records can come at once."""


class _Read(NamedTuple):
    meta_step: int
    at: float
    """Time without what was put aside, in seconds."""
    waited: float


class Clock:
    """Rates, the host's share and the time left, from the second call on, because the first one compiles.

    Args:
        inner_steps: inner steps per meta-step.
        steps: meta-steps of the whole run.
    """

    def __init__(self, inner_steps: int, steps: int) -> None:
        self._inner_steps, self._steps = inner_steps, steps
        self._waited = self._aside = 0.0
        self._reads: deque[_Read] = deque(maxlen=CALLS + 1)
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
        self._aside += self._measured[name]

    def read(self, meta_step: int) -> dict[str, float]:
        """Return what was put aside since the last call, and the rates over the last calls.

        Args:
            meta_step: meta-steps done.
        """
        now = time.perf_counter()
        values, self._measured = self._measured, {}
        self._reads.append(_Read(meta_step, now - self._aside, self._waited))
        if self._begun is None:
            self._begun = (meta_step, now)
            return values
        before = self._reads[0]
        elapsed = max(self._reads[-1].at - before.at, 1e-9)
        since, began = self._begun
        per_meta_step = (now - began) / (meta_step - since)
        return values | {
            "inner_steps_per_second": (meta_step - before.meta_step) * self._inner_steps / elapsed,
            "host_share": max(0.0, 1 - (self._waited - before.waited) / elapsed),
            "eta_seconds": (self._steps - meta_step) * per_meta_step,
        }
