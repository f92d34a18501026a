"""The core of the evolution-strategies family: one rule with two switches.

A particle is an antithetic pair: two episodes under theta + noise and theta - noise that share every random
draw. After a window with objectives L+ and L- its estimate is

    score (L+ - L-) / 2,        score = sum of noise_i / sigma^2 over the draws i that count.

The family's members differ in when noise is redrawn, and in which draws count:

    member       redrawn                 draws that count
    TruncatedES  every window            the present one         (biased: forgets earlier windows)
    PES          every window            all of the episode
    GPES         every few windows       all of the episode
    NRES         at an episode's start   the only one

References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835); Li et al. 2023 (arXiv 2304.12180).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, advance, finished, start
from .base import Estimate, Estimator


class EvolutionState(struct.PyTreeNode):
    """A particle between two windows."""

    pair: Episode
    """Two episodes, stacked: under theta + noise, and under theta - noise."""
    noise: Theta
    """The present draw, of scale sigma; changes when it is redrawn."""
    score: Theta
    """Sum of noise / sigma^2 over the episode's draws; changes when noise is redrawn."""
    episodes: Int[Array, ""]
    """Episodes started."""


@dataclasses.dataclass(frozen=True)
class EvolutionStrategies(Estimator):
    """Antithetic evolution strategies on windows of an unrolled graph.

    Attributes:
        sigma: standard deviation of the perturbations of theta.

    Raises:
        ValueError: for a sigma that is not positive, and as `Estimator` does.
    """

    sigma: float = 0.01

    def __post_init__(self) -> None:
        Estimator.__post_init__(self)
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, not {self.sigma}: it is a standard deviation")

    @abc.abstractmethod
    def redraws(self, windows_done: Int[Array, ""]) -> Bool[Array, ""]:
        """Tell whether noise is redrawn before this window of an episode; always at windows_done = 0."""

    @property
    @abc.abstractmethod
    def remembers(self) -> bool:
        """Whether all of an episode's draws count, or the present one alone."""

    @property
    def steps_per_window(self) -> int:
        """Twice the window: both members of the pair."""
        return 2 * self.window

    def init(self, dynamics: Dynamics, theta: Theta) -> EvolutionState:
        """Return a particle of zeros whose episode of no steps is over."""

        def shapes(theta: Theta) -> EvolutionState:
            episode = start(dynamics, theta, jnp.zeros((), jnp.int32), jax.random.key(0))
            pair = jax.tree.map(lambda x: jnp.stack([x, x]), episode)
            return EvolutionState(pair, theta, theta, jnp.zeros((), jnp.int32))

        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(shapes, theta))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: EvolutionState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[EvolutionState, Estimate]:
        """Draw noise, and run one window under it."""
        noise_key, key = jax.random.split(key)
        noise = draw_noise(noise_key, theta, self.sigma)
        return self.step_with(dynamics, theta, state, noise, key, meta_step)

    def step_with(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: EvolutionState,
        fresh_noise: Theta,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[EvolutionState, Estimate]:
        """Run one window under given noise, which is used if this window redraws it.

        `step` is this under Gaussian noise; quadrature calls it at chosen noise instead, and so computes
        exact expectations.
        """
        start_key, advance_key = jax.random.split(key)
        new = finished(_first(state.pair))
        windows_done = jnp.where(new, 0, _first(state.pair).age // self.window)
        redraw = new | self.redraws(windows_done)
        noise = _where(redraw, fresh_noise, state.noise)
        forget = new if self.remembers else True
        past = jax.tree.map(lambda s: jnp.where(forget, 0, s), state.score)
        score = jax.tree.map(lambda p, e: jnp.where(redraw, p + e / self.sigma**2, p), past, noise)

        thetas = jax.tree.map(lambda t, e: jnp.stack([t + e, t - e]), theta, noise)
        pair = self._renew(dynamics, thetas, state, new, start_key, meta_step)
        pair, window = jax.vmap(
            lambda theta, episode: advance(dynamics, self.objective, theta, episode, self.window, advance_key)
        )(thetas, pair)

        difference = (window.objective[0] - window.objective[1]) / 2
        gradient = jax.tree.map(lambda s: s * difference, score)
        over = finished(_first(pair))
        metrics = {
            "loss": jnp.mean(window.loss),
            "objective": jnp.where(over, jnp.mean(pair.objective), 0.0),
            "finished": over.astype(jnp.float32),
            "diverged": jnp.mean(pair.diverged),
        }
        return EvolutionState(pair, noise, score, state.episodes + new), Estimate(gradient, metrics)

    def _renew(
        self,
        dynamics: Dynamics,
        thetas: Theta,
        state: EvolutionState,
        new: Bool[Array, ""],
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> Episode:
        """Start new episodes where the last ones are over.

        Both members start from the same key, and under their own theta: an initial state that depends on
        theta is part of the graph.
        """
        horizon_key, episode_key = jax.random.split(key)
        horizon = self.draw_horizon(horizon_key, state.episodes == 0, meta_step)
        fresh = jax.vmap(lambda theta: start(dynamics, theta, horizon, episode_key))(thetas)
        return _where(new, fresh, state.pair)


def draw_noise(key: Key[Array, ""], theta: Theta, sigma: float) -> Theta:
    """Draw Gaussian noise of standard deviation sigma, shaped like theta."""
    flat, unravel = ravel_pytree(theta)
    # One draw for all leaves: each separate draw takes most of a second to compile.
    return unravel(sigma * jax.random.normal(key, flat.shape, flat.dtype))


def _first(pair: Episode) -> Episode:
    """Return the pair's first member; age and horizon are the same in both."""
    return jax.tree.map(lambda x: x[0], pair)


def _where(condition: Bool[Array, ""], x: Any, y: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), x, y)
