"""Persistent evolution strategies with an analytic gradient of the current window."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, blank
from .base import Estimate
from .perturbation import PairState, Perturbing, blank_pair
from .pes import PES
from .registry import register


class AnalyticState(struct.PyTreeNode):
    """A particle of PES, and an episode with the unperturbed theta."""

    persistent: PairState
    """The antithetic pair."""
    mean: Episode
    """The same episode, without noise."""

    @property
    def episodes(self) -> Int[Array, ""]:
        """Episodes started."""
        return self.persistent.episodes

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.persistent.age


@register("pes-analytic")
@dataclasses.dataclass(frozen=True)
class PESAnalytic(Perturbing):
    """PES in which the term of the current window is its truncated gradient, by backpropagation.

    The score of PES is split into the earlier draws and the current one. The term of the current one is
    replaced by the gradient g of the window from the mean state, which also serves as a control variate:

        estimate = (score of earlier draws) (difference - noise . g) + g.

    Exactly unbiased on quadratics. Otherwise the term of the current window is not smoothed. Needs a
    differentiable graph.

    Variance: that of PES with one draw less in each window, and without the windows' own gradients: zero for
    one window per episode. Memory: three states, two thetas, and one window's backpropagation.
        Cost: 3 K F + K B for a step of K inner steps (F forward, B backward).

    References: Vicol, Metz, Sohl-Dickstein 2021, PES+Analytic (arXiv 2112.13835).
    """

    needs_derivatives: ClassVar[bool] = True

    @functools.cached_property
    def _persistent(self) -> PES:
        return PES(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True: always, as in PES."""
        return self._persistent.redraws(windows_done)

    @property
    def steps_per_window(self) -> int:
        """The steps of the pair and of the mean episode."""
        return 3 * self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> AnalyticState:
        """Return a particle of zeros with finished episodes of no steps."""
        return AnalyticState(blank_pair(dynamics, theta), blank(dynamics, theta))

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: AnalyticState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[AnalyticState, Estimate]:
        """Run the pair and the mean episode, and replace the term of the current draw by the gradient."""
        run = self._persistent.run_pair(dynamics, theta, state.persistent, fresh_noise, key, meta_step)
        beside = lambda theta: self._persistent.run_beside(dynamics, theta, state.mean, run)  # noqa: E731
        analytic, mean = jax.grad(beside, has_aux=True)(theta)
        explained = sum(
            jnp.vdot(e, g)
            for e, g in zip(jax.tree.leaves(run.state.noise), jax.tree.leaves(analytic), strict=True)
        )
        difference = run.difference - explained
        gradient = jax.tree.map(lambda past, g: past * difference + g, run.past, analytic)
        estimate = self.report(gradient, run.state.pair, run.window, meta_step)
        return AnalyticState(run.state, mean), estimate
