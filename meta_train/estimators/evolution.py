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
from ..unroll import Episode, Window, advance, blank, finished, renew
from .base import Estimate, Estimator, window_metrics


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
        """Return a particle of zeros whose episodes of no steps are over."""
        nothing = jax.tree.map(jnp.zeros_like, theta)
        pair = jax.tree.map(lambda x: jnp.stack([x, x]), blank(dynamics, theta))
        return EvolutionState(pair, nothing, nothing, jnp.zeros((), jnp.int32))

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
        horizon_key, episode_key = jax.random.split(start_key)
        new = finished(_first(state.pair))
        windows_done = jnp.where(new, 0, _first(state.pair).age // self.window)
        redraw = new | self.redraws(windows_done)
        noise = _where(redraw, fresh_noise, state.noise)
        forget = new if self.remembers else True
        past = jax.tree.map(lambda s: jnp.where(forget, 0, s), state.score)
        score = jax.tree.map(lambda p, e: jnp.where(redraw, p + e / self.sigma**2, p), past, noise)

        thetas = jax.tree.map(lambda t, e: jnp.stack([t + e, t - e]), theta, noise)
        horizon = self.draw_horizon(horizon_key, state.episodes == 0, meta_step)

        def member(theta: Theta, episode: Episode) -> tuple[Episode, Window]:
            # Each starts under its own theta: an initial state that depends on it is part of the graph.
            episode = renew(dynamics, theta, episode, horizon, episode_key)
            return advance(dynamics, self.objective, theta, episode, self.window, advance_key)

        pair, window = jax.vmap(member)(thetas, state.pair)
        difference = (window.objective[0] - window.objective[1]) / 2
        gradient = jax.tree.map(lambda s: s * difference, score)
        estimate = Estimate(gradient, window_metrics(pair, window))
        return EvolutionState(pair, noise, score, state.episodes + new), estimate


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
