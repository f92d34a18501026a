"""Evolution strategies and the reparameterised gradient, combined by inverse variance."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, renew
from .base import Estimate
from .perturbation import PairState, Perturbing, antithetic, blank_pair, select
from .registry import register


class Moments(struct.PyTreeNode):
    """Running mean and variance of an estimate, elementwise."""

    mean: Theta
    variance: Theta

    def update(self, sample: Theta, decay: Array) -> Moments:
        """Fold a sample in, with the exponential weight 1 - decay."""
        mean = jax.tree.map(lambda m, x: m + (1 - decay) * (x - m), self.mean, sample)
        variance = jax.tree.map(
            lambda v, m, x: decay * (v + (1 - decay) * (x - m) ** 2), self.variance, self.mean, sample
        )
        return Moments(mean, variance)


class CombinedState(struct.PyTreeNode):
    """A particle, and what its two estimates were like so far."""

    particle: PairState
    """The antithetic pair."""
    evolution: Moments
    """Of the evolution-strategies estimates."""
    pathwise: Moments
    """Of the reparameterised gradients."""
    samples: Int[Array, ""]
    """Windows that the moments are made of."""

    @property
    def episodes(self) -> Int[Array, ""]:
        """Episodes started."""
        return self.particle.episodes

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the present episode."""
        return self.particle.age


@register("combined-es")
@dataclasses.dataclass(frozen=True)
class CombinedES(Perturbing):
    """Average truncated ES and the gradient through the same perturbed windows, by inverse variance.

    Both estimate the gradient of the smoothed objective of a window: one from the antithetic losses, the
    other (reparameterisation) by backpropagating at theta + noise and theta - noise. Each coordinate weighs
    them by the inverse of its variance, so that the combination follows backpropagation where the graph is
    tame, and evolution strategies where it is chaotic. The variances are those of this particle's earlier
    windows, never of the present sample: weights that knew the sample would be biased.

    Biased like every truncated estimator, unless the window is the horizon; then unbiased for the smoothed
    objective. Needs a differentiable graph.

    Variance: coordinate by coordinate not above the smaller of the two, once the variances are known.
        Memory: two states, six thetas, one window's backpropagation for both members. Cost: 2 K (F + B).

    Attributes:
        decay: of the running variances, per window.

    Raises:
        ValueError: for a decay outside [0, 1), and as `Perturbing` does.

    References: Metz et al. 2019, Understanding and correcting pathologies in the training of learned
        optimizers (arXiv 1810.10180).
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        Perturbing.__post_init__(self)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {self.decay}")

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Always."""
        return jnp.asarray(True)

    def init(self, dynamics: Dynamics, theta: Theta) -> CombinedState:
        """Return a particle of zeros whose episodes of no steps are over."""
        nothing = Moments(*[jax.tree.map(jnp.zeros_like, theta)] * 2)
        return CombinedState(blank_pair(dynamics, theta), nothing, nothing, jnp.zeros((), jnp.int32))

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: CombinedState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[CombinedState, Estimate]:
        """Differentiate both members, and combine with the losses' own estimate."""
        start_key, advance_key = jax.random.split(key)
        horizon_key, episode_key = jax.random.split(start_key)
        particle = state.particle
        new = particle.over
        horizon = self.draw_horizon(horizon_key, particle.episodes == 0, meta_step)

        def member(theta: Theta, episode: Episode) -> tuple[Array, tuple[Episode, Window]]:
            episode = renew(dynamics, theta, episode, horizon, episode_key)
            episode, window = self.unroll(dynamics, theta, episode, advance_key)
            return window.objective, (episode, window)

        differentiated = jax.vmap(jax.value_and_grad(member, has_aux=True))
        (_, (pair, window)), gradients = differentiated(antithetic(theta, fresh_noise), particle.pair)
        sigma = self.sigma_at(meta_step)
        score = jax.tree.map(lambda e: (e / sigma**2).astype(e.dtype), fresh_noise)
        difference = (window.objective[0] - window.objective[1]) / 2
        evolution = jax.tree.map(lambda s: s * difference, score)
        pathwise = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
        gradient = self._combine(state, evolution, pathwise)
        # An average over the first few samples, an exponential one later.
        decay = jnp.minimum(self.decay, state.samples / (state.samples + 1))
        next_state = CombinedState(
            PairState(pair, fresh_noise, score, particle.episodes + new),
            _fold(state.evolution, evolution, decay),
            _fold(state.pathwise, pathwise, decay),
            state.samples + 1,
        )
        return next_state, self.report(gradient, pair, window, meta_step)

    def _combine(self, state: CombinedState, evolution: Theta, pathwise: Theta) -> Theta:
        # A variance takes two samples; until then, the one that no chaos can blow up.
        known = state.samples >= 2

        def weigh(e: Array, p: Array, e_variance: Array, p_variance: Array) -> Array:
            total = e_variance + p_variance
            share = jnp.where(known & (total > 0), e_variance / jnp.where(total > 0, total, 1), 0)
            return jnp.where(jnp.isfinite(p), share * p + (1 - share) * e, e)

        return jax.tree.map(weigh, evolution, pathwise, state.evolution.variance, state.pathwise.variance)


def _fold(moments: Moments, sample: Any, decay: Array) -> Moments:
    """Fold a sample in, if all of it is finite."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(sample)]))
    return select(finite, moments.update(sample, decay.astype(jnp.float32)), moments)
