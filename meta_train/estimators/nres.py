"""Noise-reuse evolution strategies."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxtyping import Array, Bool, Int

from .evolution import EvolutionStrategies
from .registry import register


@register("nres")
@dataclasses.dataclass(frozen=True)
class NRES(EvolutionStrategies):
    """Draw noise once per episode and use it in all of its windows; also known as ES-Single.

    Unbiased for the objective smoothed with one draw per episode, as in full ES, whose estimate is the sum of
    its estimates over windows. Its variance, (P + 1) |grad|^2 per episode on quadratics, does not depend on
    the number of
    windows. Memory: the pair's states and two thetas.

    References: Li, Harrison, Sohl-Dickstein, Smith, Metz 2023, Variance-reduced gradient estimation via
        noise-reuse in online evolution strategies (arXiv 2304.12180); Vicol, Kolter, Swersky 2023,
        Low-variance gradient estimation in unrolled computation graphs with ES-Single (arXiv 2304.11153).
    """

    remembers: ClassVar[bool] = True

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True only before an episode's first window."""
        return windows_done == 0
