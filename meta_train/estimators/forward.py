"""The core of the forward-mode estimators, which carry tangents along with the episode.

For a direction u in the space of theta, the tangent c = (d state / d theta) u of an episode's state obeys c'
= (df/ds) c + (df/dtheta) u, one forward derivative per step, which also gives the derivative of the objective
along u. DODGE carries a few random directions, RTRL a whole basis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics import Dynamics, Theta
from ..unroll import Episode, Window, blank, finished, renew
from .base import Estimator

Tangents = tuple[Array, ...]
"""One array per float leaf of a tree, in the leaves' order; other leaves have no derivative."""


class TangentState(struct.PyTreeNode):
    """A particle whose episode carries derivatives."""

    episode: Episode
    """Changes every step."""
    tangents: Tangents
    """Derivatives of the episode along each direction, which is the first axis; change every step."""
    episodes: Int[Array, ""]
    """Episodes started."""

    @property
    def age(self) -> Int[Array, ""]:
        """Steps done in the current episode."""
        return self.episode.age

    @property
    def over(self) -> Bool[Array, ""]:
        """Whether the current episode is over."""
        return finished(self.episode)


class Pushed(NamedTuple):
    """The results of a step."""

    state: TangentState
    slopes: Float[Array, " directions"]
    """Derivative of the step's part of the objective along each direction."""
    window: Window


def blank_tangents(dynamics: Dynamics, theta: Theta, directions: int) -> TangentState:
    """Return a particle of zeros with a finished episode of no steps."""
    episode = blank(dynamics, theta)
    tangents = tuple(jnp.zeros((directions, *x.shape), x.dtype) for x in float_leaves(episode))
    return TangentState(episode, tangents, jnp.zeros((), jnp.int32))


def push(
    estimator: Estimator,
    dynamics: Dynamics,
    theta: Theta,
    state: TangentState,
    directions: Theta,
    key: Key[Array, ""],
    meta_step: Int[Array, ""],
) -> Pushed:
    """Run one step of an estimator, and push the tangents along.

    Args:
        estimator: defines the number of steps to unroll, and the episode lengths.
        dynamics: the unrolled graph.
        theta: the meta-parameters.
        state: the particle; a new episode starts with the tangent of its initial state.
        directions: shaped like theta, with the directions as the first axis of each leaf.
        key: the step's PRNG key.
        meta_step: meta-steps done so far.
    """
    drawn = estimator.draw_step(key, state.episodes == 0, meta_step)

    def run(theta: Theta, episode: Episode) -> tuple[tuple[Episode, Array], Window]:
        episode = renew(dynamics, theta, episode, drawn.length, drawn.start_key)
        episode, window = estimator.unroll(dynamics, theta, episode, drawn.advance_key)
        return (episode, window.objective), window

    def along(direction: Theta, tangents: Tangents) -> tuple[Tangents, Array, Episode, Window]:
        full = with_tangents(state.episode, tangents)
        primal, tangent, window = jax.jvp(run, (theta, state.episode), (direction, full), has_aux=True)
        moved = tuple(
            t
            for t, x in zip(jax.tree.leaves(tangent[0]), jax.tree.leaves(primal[0]), strict=True)
            if _is_float(x)
        )
        return moved, tangent[1], primal[0], window

    # The episode itself is the same along all directions: out_axes None computes it once.
    tangents, slopes, episode, window = jax.vmap(along, out_axes=(0, 0, None, None))(
        directions, state.tangents
    )
    episodes = state.episodes + state.over.astype(jnp.int32)
    return Pushed(TangentState(episode, tangents, episodes), slopes, window)


def float_leaves(tree: Any) -> Tangents:
    """Return the leaves that have derivatives."""
    return tuple(x for x in jax.tree.leaves(tree) if _is_float(x))


def with_tangents(tree: Any, tangents: Tangents) -> Any:
    """Return the tangent of a whole tree, in the form that jax.jvp takes."""
    leaves, treedef = jax.tree.flatten(tree)
    given = iter(tangents)
    full = [next(given) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0) for x in leaves]
    return treedef.unflatten(full)


def with_floats(tree: Any, floats: Tangents) -> Any:
    """Return a tree with other values for its float leaves."""
    leaves, treedef = jax.tree.flatten(tree)
    given = iter(floats)
    return treedef.unflatten([next(given) if _is_float(x) else x for x in leaves])


def flattened(floats: Tangents, dtype: Any) -> Float[Array, " entries"]:
    """Return the float leaves of a tree as one vector."""
    return jnp.concatenate([jnp.zeros(0, dtype), *(x.astype(dtype).ravel() for x in floats)])


def _is_float(leaf: Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
