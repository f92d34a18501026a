"""Backpropagation through whole episodes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .backpropagation import Backpropagation
from .registry import register


@register("bptt")
@dataclasses.dataclass(frozen=True)
class BPTT(Backpropagation):
    """Backpropagate an episode's objective from its end to its start.

    Exact. Needs a differentiable graph, does not smooth, and is useless if the graph is chaotic, because the
    exact gradient then grows exponentially with the horizon T.

    Variance: only that of the data, which under chaos is e^(2 lambda T). Memory: all intermediate values of
    an episode; with `rematerialise` the states at the windows' starts and within one window, so a window of
    about sqrt(T) takes the least. Cost: T (F + B).

    References: Rumelhart, Hinton, Williams 1986; rematerialisation: Griewank 1992, Chen et al. 2016 (arXiv
        1604.06174); chaos: Metz, Freeman, Schoenholz, Kachman 2021 (arXiv 2111.05803).
    """

    whole_episodes: ClassVar[bool] = True

    @property
    def steps_per_window(self) -> int:
        """The steps of an episode; backward passes are not counted."""
        return self.unrolled
