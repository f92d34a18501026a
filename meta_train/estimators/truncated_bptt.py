"""Backpropagation through one window."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .backpropagation import Backpropagation
from .registry import register


@register("tbptt")
@dataclasses.dataclass(frozen=True)
class TruncatedBPTT(Backpropagation):
    """Differentiate each window's part of the objective, with the state at its start held fixed.

    Biased: effects of theta before this window are not credited. The bias does not vanish if the graph's
    memory is longer than the window, and may flip the gradient's sign. Needs a differentiable graph, and does
    not smooth.

    Variance: only that of the data. Memory: all intermediate values of one window; with `rematerialise` its
    states. Cost: K (F + B) for a window of K.

    References: Williams and Peng 1990, An efficient gradient-based algorithm for on-line training of
        recurrent network trajectories; its bias: Wu et al. 2018 (arXiv 1803.02021).
    """

    whole_episodes: ClassVar[bool] = False

    @property
    def steps_per_window(self) -> int:
        """The steps of a window; backward passes are not counted."""
        return self.unrolled
