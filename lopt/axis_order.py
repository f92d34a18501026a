"""The order of a tensor's axes by size, which says along which two its second moment is factored.

It matters where axes are equal: rows and columns change places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

AxisOrder = Callable[[Sequence[int]], list[int]]
"""Maps a shape to its axes, the smallest first."""

_LANES = 8


def stable(shape: Sequence[int]) -> list[int]:
    """Order axes by size, and equal axes by their place."""
    return np.argsort(shape, kind="stable").tolist()


def network(shape: Sequence[int]) -> list[int]:
    """Order axes as the default `numpy.argsort` does on x86-64 since numpy 2, on any machine.

    learned_optimization and Celo call that. It runs a bitonic sorting network of eight lanes, which turns
    some equal axes around: the first two of a (3, 3, 1, 2) kernel, but none of three axes or fewer. numpy
    before 2, and on other processors, is `stable`.
    """
    if len(shape) > _LANES:
        return stable(shape)
    lanes = [(size, axis) for axis, size in enumerate(shape)]
    lanes += [(math.inf, axis) for axis in range(len(shape), _LANES)]
    for distance in (1, 3, 1, 7, 2, 1):
        for low in range(_LANES):
            high = low ^ distance
            if low < high and lanes[low][0] > lanes[high][0]:
                lanes[low], lanes[high] = lanes[high], lanes[low]
    return [axis for _, axis in lanes[: len(shape)]]
