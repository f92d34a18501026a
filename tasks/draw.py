"""Random choices of configurations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .perceptron import Perceptron


class Draw:
    """Random choices that are the same for a seed in every version of numpy.

    Args:
        seed: the number of a task.
        group: whether what need not be fixed is left to each episode: `span` and `some_of` give ranges.
    """

    def __init__(self, seed: int, group: bool = False) -> None:
        self._group = group
        # The legacy generator's stream is frozen; that of newer ones may change.
        self._random = np.random.RandomState(seed)

    def number(self, low: float, high: float) -> float:
        """Return a log-uniform number, with three digits."""
        return float(f"{math.exp(self._random.uniform(math.log(low), math.log(high))):.3g}")

    def whole(self, low: int, high: int) -> int:
        """Return a log-uniform whole number, both ends included."""
        return min(high, int(math.exp(self._random.uniform(math.log(low), math.log(high + 1)))))

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return bool(self._random.uniform() < share)

    def one_of(self, *choices: Any) -> Any:
        """Return one of the choices, all equally probable."""
        return choices[self._random.randint(len(choices))]

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Return a log-uniform number as both ends of a range, or the whole range for a group."""
        number = self.number(low, high)
        return (low, high) if self._group else (number, number)

    def some_of(self, *choices: Any) -> tuple[Any, ...]:
        """Return one of the choices, or all for a group."""
        chosen = self.one_of(*choices)
        return choices if self._group else (chosen,)

    def perceptron(self, inputs: int, outputs: int) -> Perceptron:
        """Return a perceptron of one size."""
        width, depth, scales = self.whole(8, 64), self.whole(1, 4), self.span(0.5, 2.0)
        activations = self.some_of("relu", "tanh", "gelu", "silu")
        return Perceptron(inputs, outputs, (width, width), (depth, depth), activations, scales)

    def batch_size(self) -> int:
        """Return a number of rows."""
        return self.one_of(16, 32, 64, 128)

    def batch_sizes(self) -> tuple[int, int]:
        """Return a number of rows as both ends of a range, or as the upper end for a group."""
        rows = self.batch_size()
        return (8 if self._group else rows, rows)
