"""Generalised persistent evolution strategies: between PES and NRES."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxtyping import Array, Bool, Int

from lopt import UsageError

from .evolution import EvolutionStrategies
from .registry import register


@register("gpes")
@dataclasses.dataclass(frozen=True)
class GPES(EvolutionStrategies):
    """Redraw noise every `noise_windows` windows, and weight losses with all draws of the episode.

    With one window this is PES; with an episode or more it is NRES. Unbiased for the objective smoothed with
    one draw per block of windows. Memory: the pair's states and two thetas.

    Attributes:
        noise_windows: number of windows that share a draw.

    Raises:
        UsageError: if `noise_windows` is not positive.

    References: Li, Harrison, Sohl-Dickstein, Smith, Metz 2023 (arXiv 2304.12180).
    """

    noise_windows: int = 1

    remembers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        EvolutionStrategies.__post_init__(self)
        if self.noise_windows < 1:
            raise UsageError(f"noise_windows must be at least 1 window, not {self.noise_windows}")

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True before the first window of each block."""
        return windows_done % self.noise_windows == 0
