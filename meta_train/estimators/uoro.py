"""Unbiased online recurrent optimisation: the full derivative as one random outer product."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode
from .forward import Tangents, float_leaves
from .online import Moved, Online, Signs
from .registry import register
from .step_derivatives import take_step


class RankOne(NamedTuple):
    """A rank-one estimate of the influence of theta: E[state_factor x theta_factor] is the influence."""

    state_factor: Tangents
    """The factor shaped like the state; changes every step."""
    theta_factor: Theta
    """The factor shaped like theta; changes every step."""


@register("uoro")
@dataclasses.dataclass(frozen=True)
class UORO(Online):
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

    epsilon: float = 1e-7

    def blank_influence(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> RankOne:
        """Return factors of zeros."""
        zeros = tuple(jnp.zeros_like(x) for x in float_leaves(episode.state))
        return RankOne(zeros, jax.tree.map(jnp.zeros_like, theta))

    def signs_per_step(self, dynamics: Dynamics, theta: Theta, episode: Episode) -> int:
        """Return the size of the state."""
        return sum(x.size for x in float_leaves(episode.state))

    def begin(
        self,
        dynamics: Dynamics,
        theta: Theta,
        episode: Episode,
        start: Callable[[Theta], Tangents],
        signs: Signs,
    ) -> RankOne:
        """Return the factors of the initial state's derivative."""
        leaves, pull = jax.vjp(start, theta)
        factor = _shaped(signs, leaves)
        return RankOne(factor, pull(factor)[0])

    def move(
        self,
        dynamics: Dynamics,
        theta: Theta,
        influence: RankOne,
        episode: Episode,
        key: Key[Array, ""],
        signs: Signs,
    ) -> Moved:
        """Do a step, and mix its own contribution into the factors."""
        taken = take_step(dynamics, self.objective, theta, episode, key)
        slope = optax.tree.vdot(taken.slope, influence.state_factor)
        through = jax.tree.map(lambda t: jnp.asarray(slope, t.dtype) * t, influence.theta_factor)
        carried, noise = taken.push(influence.state_factor), _shaped(signs, influence.state_factor)
        fresh = taken.pull(noise)
        old, new = self._balance(influence.theta_factor, carried), self._balance(fresh, noise)
        moved = RankOne(
            state_factor=jax.tree.map(lambda c, n: old * c + new * n, carried, noise),
            theta_factor=jax.tree.map(lambda t, f: t / old + f / new, influence.theta_factor, fresh),
        )
        return Moved(moved, through, taken)

    def _balance(self, above: Any, below: Any) -> Float[Array, ""]:
        """Return the factor that makes two norms the same."""
        return jnp.sqrt((optax.tree.norm(above) + self.epsilon) / (optax.tree.norm(below) + self.epsilon))


def _shaped(signs: Signs, leaves: Tangents) -> Tangents:
    """Return the signs shaped like the leaves."""
    pieces = jnp.split(signs, np.cumsum([x.size for x in leaves])[:-1])
    return tuple(p.reshape(x.shape).astype(x.dtype) for p, x in zip(pieces, leaves, strict=True))
