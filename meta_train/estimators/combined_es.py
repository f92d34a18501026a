"""Evolution strategies and the reparameterised gradient, combined by inverse variance."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, Key

from lopt import UsageError

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, renew
from .base import Estimate
from .perturbation import PairState, Perturbing, antithetic, blank_pair, select
from .registry import register


class Moments(struct.PyTreeNode):
    """Running mean and variance of an estimate, elementwise."""

    mean: Theta
    variance: Theta
    samples: Theta
    """Number of samples in each coordinate, as float32."""

    @classmethod
    def of_nothing(cls, theta: Theta) -> Moments:
        """Return the moments before the first sample."""
        zeros = jax.tree.map(jnp.zeros_like, theta)
        return cls(zeros, zeros, jax.tree.map(lambda t: jnp.zeros(t.shape, jnp.float32), theta))

    def fold(self, sample: Theta, decay: float) -> Moments:
        """Add a sample, except for its non-finite coordinates, which stay unchanged.

        The result is a plain average of the first few samples, and an exponential average later.
        """

        def folded(m: Array, v: Array, n: Array, x: Array) -> tuple[Array, Array, Array]:
            kept = jnp.minimum(decay, n / (n + 1)).astype(m.dtype)
            # Bounded, so the sum of two is finite: an infinite average would never recover.
            most = float(jnp.finfo(v.dtype).max) / 4
            mean = m + (1 - kept) * (x - m)
            variance = kept * (v + (1 - kept) * jnp.minimum(jnp.square(x - m), most))
            # A variance needs two samples; larger numbers need not be exact.
            new, old = (mean, variance, n + 1), (m, v, n)
            return select(jnp.isfinite(x), new, old)

        leaves, treedef = jax.tree.flatten(sample)
        parts = (jax.tree.leaves(part) for part in (self.mean, self.variance, self.samples))
        moved = zip(*(folded(*each) for each in zip(*parts, leaves, strict=True)), strict=True)
        return Moments(*(treedef.unflatten(part) for part in moved))


class CombinedState(struct.PyTreeNode):
    """A particle, and the moments of its two estimates so far."""

    particle: PairState
    """The antithetic pair."""
    evolution: Moments
    """Moments of the evolution-strategies estimates."""
    pathwise: Moments
    """Moments of the reparameterised gradients."""

    @property
    def episodes(self) -> Int[Array, ""]:
        """Episodes started."""
        return self.particle.episodes

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.particle.age


@register("combined-es")
@dataclasses.dataclass(frozen=True)
class CombinedES(Perturbing):
    """Average truncated ES and the gradient through the same perturbed windows, by inverse variance.

    Both estimate the gradient of the smoothed objective of a window: one from the antithetic losses, the
    other (reparameterisation) by backpropagating at theta + noise and theta - noise. In each coordinate they
    are weighted by inverse variance, so the combination follows backpropagation where the graph is tame, and
    evolution strategies where it is chaotic. The variances are those of this particle's earlier windows,
    without the current sample, which would make the weights biased.

    Biased like every truncated estimator, unless the window is the horizon; then unbiased for the smoothed
    objective. Needs a differentiable graph.

    Variance: in each coordinate at most the smaller of the two, once the variances are known and if the two
        are uncorrelated. Non-finite coordinates of the pathwise gradient are left out individually. Memory:
        two states, eight thetas, one window's backpropagation for both members.
        Cost: 2 K (F + B).

    Attributes:
        decay: decay of the running variances, per window.

    Raises:
        UsageError: for a decay outside [0, 1), and as in `Perturbing`.

    References: Metz et al. 2019, Understanding and correcting pathologies in the training of learned
        optimizers (arXiv 1810.10180).
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        Perturbing.__post_init__(self)
        if not 0 <= self.decay < 1:
            raise UsageError(f"decay must be in [0, 1), not {self.decay}")

    @property
    def steps_per_window(self) -> int:
        """The steps of both members of the pair."""
        return 2 * self.unrolled

    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Return True: always."""
        return jnp.asarray(True)

    def init(self, dynamics: Dynamics, theta: Theta) -> CombinedState:
        """Return a particle of zeros with finished episodes of no steps."""
        nothing = Moments.of_nothing(theta)
        return CombinedState(blank_pair(dynamics, theta), nothing, nothing)

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: CombinedState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[CombinedState, Estimate]:
        """Differentiate both members, and combine their gradient with the estimate from the losses."""
        particle = state.particle
        drawn = self.draw_step(key, particle.episodes == 0, meta_step)

        def member(theta: Theta, episode: Episode) -> tuple[Array, tuple[Episode, Window]]:
            episode = renew(dynamics, theta, episode, drawn.length, drawn.start_key)
            episode, window = self.unroll(dynamics, theta, episode, drawn.advance_key)
            return window.objective, (episode, window)

        differentiated = jax.vmap(jax.value_and_grad(member, has_aux=True))
        (_, (pair, window)), gradients = differentiated(antithetic(theta, fresh_noise), particle.pair)
        sigma = self.sigma_at(meta_step)
        score = jax.tree.map(lambda e: e / jnp.asarray(sigma**2, e.dtype), fresh_noise)
        difference = (window.objective[0] - window.objective[1]) / 2
        evolution = jax.tree.map(lambda s: s * difference, score)
        pathwise = jax.tree.map(lambda g: jnp.mean(g, axis=0), gradients)
        gradient = self._combine(state, evolution, pathwise)
        next_state = CombinedState(
            PairState(pair, fresh_noise, score, particle.episodes + particle.over.astype(jnp.int32)),
            state.evolution.fold(evolution, self.decay),
            state.pathwise.fold(pathwise, self.decay),
        )
        return next_state, self.report(gradient, pair, window, meta_step)

    def _combine(self, state: CombinedState, evolution: Theta, pathwise: Theta) -> Theta:
        def weigh(e: Array, p: Array, ev: Array, pv: Array, es: Array, ps: Array) -> Array:
            total = ev + pv
            # A variance needs two samples; until then use evolution strategies, which chaos does not affect.
            known = (es >= 2) & (ps >= 2) & (total > 0)
            share = jnp.where(known, ev / jnp.where(total > 0, total, 1), 0)
            return jnp.where(jnp.isfinite(p), share * p + (1 - share) * e, e)

        past = state.evolution, state.pathwise
        variances, samples = ([getattr(m, name) for m in past] for name in ("variance", "samples"))
        return jax.tree.map(weigh, evolution, pathwise, *variances, *samples)
