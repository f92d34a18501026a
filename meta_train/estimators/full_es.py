"""Evolution strategies over whole episodes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .evolution import EvolutionStrategies
from .registry import register


@register("full-es")
@dataclasses.dataclass(frozen=True)
class FullES(EvolutionStrategies):
    """Run an antithetic pair from the start of an episode to its end, under one draw of noise.

    Unbiased for the objective smoothed with one draw per episode. The window only limits where an episode may
    end, and doesn't affect estimates with a constant horizon. If horizons differ, every particle computes as
    many steps as the longest one.

    Variance: (P + 1) |grad|^2 per episode on quadratics. Memory: the pair's states. Cost: 2 T F for a step,
        with F the cost of a forward inner step and T the length of the longest episode.

    References: Rechenberg 1973; Salimans et al. 2017 (arXiv 1703.03864), with antithetic pairs; for learned
        optimizers Metz et al. 2022, VeLO (arXiv 2211.09760).
    """

    remembers: ClassVar[bool] = False
    whole_episodes: ClassVar[bool] = True

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True: always."""
        return jnp.asarray(True)
