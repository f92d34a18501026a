"""Learning rates to tune over, and the choice among them: one rule for whoever tunes a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ADAM_RATES = (1e-4, 1.0)
"""The lowest and the highest learning rate that Adam is tuned over."""


def log_grid(low: float, high: float, points: int) -> tuple[float, ...]:
    """Return learning rates evenly spaced in their logarithm, ends included, to three digits.

    Args:
        low: the first.
        high: the last.
        points: how many.
    """
    return tuple(float(f"{rate:.3g}") for rate in np.geomspace(low, high, points))


def lowest(scores: Sequence[float] | np.ndarray) -> int:
    """Return where the lowest score is, the first of several; one that is not finite is the worst.

    Args:
        scores: a number per learning rate.
    """
    values = np.asarray(scores, np.float64)
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
