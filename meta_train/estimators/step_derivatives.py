"""One step of an episode, with the derivatives that online estimators need of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..dynamics import Dynamics, Theta
from ..objectives import Objective
from ..unroll import Episode, Window, advance
from .forward import Tangents, float_leaves, with_floats


class Step(NamedTuple):
    """One step of an episode, and its derivatives where it was taken. Floats: the state's float leaves."""

    ahead: Episode
    window: Window
    push: Callable[[Tangents], Tangents]
    """From a tangent of the floats before the step to that of the floats after it."""
    push_theta: Callable[[Theta], Tangents]
    """From a tangent of theta to that of the floats after the step."""
    pull: Callable[[Tangents], Theta]
    """From a cotangent of the floats after the step to that of theta."""
    slope: Tangents
    """Derivative of the step's part of the objective with respect to the floats before it."""
    direct: Theta
    """Its derivative with respect to theta, with these floats held fixed."""
    memory: Float[Array, ""]
    """Its derivative with respect to the objective so far, on which telescoping objectives depend."""


def take_step(
    dynamics: Dynamics, objective: Objective, theta: Theta, episode: Episode, key: Key[Array, ""]
) -> Step:
    """Do one step of an episode, and return its derivatives.

    Args:
        dynamics: the graph whose step is done.
        objective: the objective of the episode.
        theta: the meta-parameters, as the graph takes them.
        episode: the episode before the step.
        key: the step's PRNG key.
    """

    def run(
        theta: Theta, so_far: Array, floats: Tangents
    ) -> tuple[tuple[Tangents, Array], tuple[Episode, Window]]:
        now = episode.replace(state=with_floats(episode.state, floats), objective=so_far)
        ahead, window = advance(dynamics, objective, theta, now, 1, key)
        return (float_leaves(ahead.state), window.objective), (ahead, window)

    floats = float_leaves(episode.state)
    (after, added), pull, (ahead, window) = jax.vjp(run, theta, episode.objective, floats, has_aux=True)
    still = jax.tree.map(jnp.zeros_like, after)
    direct, memory, slope = pull((still, jnp.ones_like(added)))
    along = lambda f, x, t: jax.jvp(f, (x,), (t,))[1]  # noqa: E731
    return Step(
        ahead=ahead,
        window=window,
        push=lambda t: along(lambda x: run(theta, episode.objective, x)[0][0], floats, t),
        push_theta=lambda t: along(lambda x: run(x, episode.objective, floats)[0][0], theta, t),
        pull=lambda t: pull((t, jnp.zeros_like(added)))[0],
        slope=slope,
        direct=direct,
        memory=memory,
    )
