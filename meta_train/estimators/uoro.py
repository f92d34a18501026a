"""Unbiased online recurrent optimisation: the full derivative as one random outer product."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Length, Window, advance, blank, finished, renew
from .base import Estimate, Estimator
from .forward import Tangents, float_leaves, with_tangents
from .perturbation import select
from .registry import register


class RankOneState(struct.PyTreeNode):
    """A particle whose episode carries a rank-one estimate of its derivative."""

    episode: Episode
    """Changes every step."""
    state_factor: Tangents
    """The factor shaped like the state; E[state_factor x theta_factor] is the derivative; changes every
    step."""
    theta_factor: Theta
    """The factor shaped like theta; changes every step."""
    credited: Theta
    """Sum of the episode's estimates so far, the derivative of its objective so far; changes every step."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.episode.age


@register("uoro")
@dataclasses.dataclass(frozen=True)
class UORO(Estimator):
    """Carry an unbiased rank-one estimate of the derivative of the state with respect to theta.

    With random signs nu, a step's two contributions become one outer product,

        s' = r0 (df/ds) s + r1 nu,    t' = t / r0 + nu^T (df/dtheta) / r1,

    because the cross terms vanish on average; r0 and r1 balance the factors' norms, which minimises the
    variance of the product. A step's estimate is (dL/ds . s) t + dL/dtheta. Unbiased. Needs a differentiable
    graph, and does not smooth.

    Variance: grows with the size of the state and the length of its memory. Memory: two states and three
        thetas. Cost: F plus one forward and two backward derivatives of it, per step.

    Attributes:
        epsilon: added to norms, so that their ratios are finite.

    References: Tallec and Ollivier 2017, Unbiased online recurrent optimization (arXiv 1702.05043).
    """

    needs_derivatives: ClassVar[bool] = True

    epsilon: float = 1e-7

    @property
    def steps_per_window(self) -> int:
        """The steps of one episode; derivatives are not counted."""
        return self.unrolled

    def init(self, dynamics: Dynamics, theta: Theta) -> RankOneState:
        """Return a particle of zeros with a finished episode of no steps."""
        episode, nothing = blank(dynamics, theta), jax.tree.map(jnp.zeros_like, theta)
        factor = tuple(jnp.zeros_like(x) for x in float_leaves(episode.state))
        return RankOneState(episode, factor, nothing, nothing, jnp.zeros((), jnp.int32))

    def step(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: RankOneState,
        key: Key[Array, ""],
        meta_step: Int[Array, ""],
    ) -> tuple[RankOneState, Estimate]:
        """Run one window, a step at a time, and sum the steps' estimates."""
        drawn = self.draw_step(key, state.episodes == 0, meta_step)
        over = finished(state.episode)
        begun = self._begin(dynamics, theta, state, drawn.length, drawn.start_key)

        def body(carry: tuple[Any, Theta], key: Array) -> tuple[tuple[Any, Theta], Window]:
            particle, gradient = carry
            particle, estimate, window = self._one_step(dynamics, theta, particle, key)
            return (particle, jax.tree.map(jnp.add, gradient, estimate)), window

        nothing = jax.tree.map(jnp.zeros_like, theta)
        keys = jax.random.split(drawn.advance_key, self.window)
        (ended, gradient), windows = jax.lax.scan(body, (begun, nothing), keys)
        window = Window(jnp.sum(windows.objective), jnp.mean(windows.loss))
        ended = ended.replace(episodes=state.episodes + over.astype(jnp.int32))
        return ended, self.report(gradient, ended.episode, window, meta_step)

    def _begin(
        self,
        dynamics: Dynamics,
        theta: Theta,
        state: RankOneState,
        length: Length,
        key: Key[Array, ""],
    ) -> RankOneState:
        """Start an episode if the last one is over, with factors for the initial state's derivative."""
        episode_key, sign_key = jax.random.split(key)
        over = finished(state.episode)

        def floats(theta: Theta) -> tuple[Tangents, Episode]:
            episode = renew(dynamics, theta, state.episode, length, episode_key)
            return float_leaves(episode.state), episode

        leaves, pull, episode = jax.vjp(floats, theta, has_aux=True)
        signs = _signs(sign_key, leaves)
        fresh = (signs, pull(signs)[0])
        carried = (state.state_factor, state.theta_factor)
        state_factor, theta_factor = select(over, fresh, carried)
        credited = jax.tree.map(lambda c: jnp.where(over, 0, c), state.credited)
        return RankOneState(episode, state_factor, theta_factor, credited, state.episodes)

    def _one_step(
        self, dynamics: Dynamics, theta: Theta, state: RankOneState, key: Key[Array, ""]
    ) -> tuple[RankOneState, Theta, Window]:
        step_key, sign_key = jax.random.split(key)
        episode = state.episode

        def run(
            theta: Theta, so_far: Array, inner: Any
        ) -> tuple[tuple[Tangents, Array], tuple[Episode, Window]]:
            now = episode.replace(state=inner, objective=so_far)
            ahead, window = advance(dynamics, self.objective, theta, now, 1, step_key)
            return (float_leaves(ahead.state), window.objective), (ahead, window)

        tangent = with_tangents(episode.state, state.state_factor)
        _, (carried, slope), (ahead, window) = jax.jvp(
            lambda inner: run(theta, episode.objective, inner), (episode.state,), (tangent,), has_aux=True
        )
        (leaves, objective), pull, _ = jax.vjp(
            lambda theta, so_far: run(theta, so_far, episode.state), theta, episode.objective, has_aux=True
        )
        signs = _signs(sign_key, leaves)
        fresh, _ = pull((signs, jnp.zeros_like(objective)))
        # The increment of a telescoping objective depends on the objective so far.
        direct, memory = pull((jax.tree.map(jnp.zeros_like, leaves), jnp.ones_like(objective)))
        estimate = jax.tree.map(
            lambda t, d, c: slope * t + d + memory * c, state.theta_factor, direct, state.credited
        )

        old, new = self._balance(state.theta_factor, carried), self._balance(fresh, signs)
        moved = RankOneState(
            episode=ahead,
            state_factor=jax.tree.map(lambda c, n: old * c + new * n, carried, signs),
            theta_factor=jax.tree.map(lambda t, f: t / old + f / new, state.theta_factor, fresh),
            credited=jax.tree.map(jnp.add, state.credited, estimate),
            episodes=state.episodes,
        )
        return moved, estimate, window

    def _balance(self, above: Any, below: Any) -> Float[Array, ""]:
        """Return the factor that makes two norms the same."""
        return jnp.sqrt((optax.tree.norm(above) + self.epsilon) / (optax.tree.norm(below) + self.epsilon))


def _signs(key: Key[Array, ""], leaves: Tangents) -> Tangents:
    """Draw random signs shaped like the leaves, in one draw."""
    sizes = [x.size for x in leaves]
    signs = jax.random.rademacher(key, (sum(sizes),), jnp.int8)
    pieces = jnp.split(signs, np.cumsum(sizes)[:-1])
    return tuple(p.reshape(x.shape).astype(x.dtype) for p, x in zip(pieces, leaves, strict=True))
