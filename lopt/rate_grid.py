"""Grids of learning rates, and the choice among them, for everything that tunes a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ADAM_RATES = (1e-4, 1.0)
"""The lowest and the highest learning rate that Adam is tuned over."""


def log_grid(low: float, high: float, points: int) -> tuple[float, ...]:
    """Return logarithmically spaced learning rates, ends included, rounded to three digits.

    Args:
        low: the first rate.
        high: the last rate.
        points: the number of rates.
    """
    return tuple(float(f"{rate:.3g}") for rate in np.geomspace(low, high, points))


def lowest(scores: Sequence[float] | np.ndarray) -> int:
    """Return the index of the lowest score, the first if several are equal; non-finite scores are the worst.

    Args:
        scores: one score per learning rate.
    """
    values = np.asarray(scores, np.float64)
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
