"""Randomised telescopes with a single term."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .registry import register
from .telescope import Telescope


@register("single-sample")
@dataclasses.dataclass(frozen=True)
class SingleSample(Telescope):
    """Draw one term n of an episode's gradient, and weight it by 1 / q(n).

    Unbiased for the gradient of the whole episode. Needs a differentiable graph, and does not smooth.

    Variance: sum |D_n|^2 / q(n) - |sum D_n|^2 for terms D_n; finite for infinitely many terms if q decays
    more slowly than |D_n|^2. The best choice if the terms are aligned: with q in proportion to |D_n| it is
    then zero. Memory and cost: those of BPTT (T states, T (F + B)). A compiled loop has a fixed length, so
    short draws save nothing here, whereas the paper computes an episode only up to the drawn term; the
    distribution of the estimates is that of the paper.

    References: Beatson and Adams 2019, Efficient optimization of loops and limits with randomized telescoping
        sums (arXiv 1905.07006); Lyne et al. 2015, On Russian roulette estimates (arXiv 1306.4032).
    """

    def weights(self, drawn: Int[Array, ""], q: Float[Array, " terms"]) -> Float[Array, " terms"]:
        """Return 1 / q for the drawn term, and 0 for the others."""
        return jnp.where(jnp.arange(len(q), dtype=drawn.dtype) == drawn, 1 / jnp.where(q > 0, q, 1), 0)
