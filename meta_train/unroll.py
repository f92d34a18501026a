"""The unroll state machine: start an episode, advance it by one window, tell whether it is over, renew it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from .dynamics import Dynamics, Theta
from .objectives import Objective
from .overflow import guarded_step, unusable


class Episode(struct.PyTreeNode):
    """One run of the dynamics, between two windows."""

    state: Any
    """The dynamics' own; changes every step."""
    objective: Float[Array, ""]
    """Sum of the objective's increments so far; changes every step."""
    diverged: Bool[Array, ""]
    """Whether a loss was not finite or at the ceiling so far."""
    age: Int[Array, ""]
    """Steps done; changes every window."""
    horizon: Int[Array, ""]
    """Steps of a whole episode, as the dynamics and the objective see it; a multiple of the window; changes
    every episode."""
    ends: Int[Array, ""]
    """Steps after which it is over: the horizon, or less where it is cut short; changes every episode."""


class Length(NamedTuple):
    """How long an episode is."""

    horizon: Int[Array, ""]
    """Steps of the whole episode: what it is judged by does not depend on where it is cut."""
    ends: Int[Array, ""]
    """Steps after which it is over; at most the horizon."""


class Window(NamedTuple):
    """What one window of an episode gave."""

    objective: Float[Array, ""]
    """Sum of the objective's increments in this window."""
    loss: Float[Array, ""]
    """Mean of the step losses, clipped to the ceiling."""


def start(
    dynamics: Dynamics,
    theta: Theta,
    horizon: Int[Array, ""],
    key: Key[Array, ""],
    ends: Int[Array, ""] | None = None,
) -> Episode:
    """Start an episode of `horizon` steps, or one that is cut short after `ends` of them."""
    return Episode(
        state=dynamics.init(theta, horizon, key),
        objective=jnp.zeros(()),
        diverged=jnp.zeros((), bool),
        age=jnp.zeros((), jnp.int32),
        horizon=jnp.asarray(horizon, jnp.int32),
        ends=jnp.asarray(horizon if ends is None else ends, jnp.int32),
    )


def advance(
    dynamics: Dynamics,
    objective: Objective,
    theta: Theta,
    episode: Episode,
    window: int,
    key: Key[Array, ""],
    rematerialise: bool = False,
) -> tuple[Episode, Window]:
    """Advance an episode by `window` steps.

    A loss that is not finite, or above the dynamics' ceiling, counts as the ceiling, and marks the episode as
    diverged: divergence is measured, not raised. Its derivative is 0, forwards and backwards, and no
    derivative passes a step in which the state stops being finite.

    Args:
        dynamics: the unrolled graph.
        objective: what the episode is judged by.
        theta: the meta-parameters.
        episode: where to go on from.
        window: how many steps.
        key: the window's randomness.
        rematerialise: when differentiated backwards, keep the states alone and compute each step again,
            instead of keeping all that a step computes.
    """

    def step(carry: tuple[Any, Array, Array], now: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
        state, so_far, diverged = carry
        age, step_key = now
        state, loss = guarded_step(dynamics, theta, state, step_key)
        bad = unusable(dynamics, loss)
        loss = jnp.where(bad, dynamics.ceiling, loss)
        # Under jax_enable_x64 the sum is float64, whatever the losses are.
        added = objective.increment(so_far.astype(loss.dtype), loss, age, episode.horizon)
        return (state, so_far + added.astype(so_far.dtype), diverged | bad), (added, loss)

    ages = episode.age + jnp.arange(window, dtype=jnp.int32)
    carry = (episode.state, episode.objective, episode.diverged)
    body = jax.checkpoint(step, prevent_cse=False) if rematerialise else step
    carry, (added, losses) = jax.lax.scan(body, carry, (ages, jax.random.split(key, window)))
    state, so_far, diverged = carry
    advanced = Episode(state, so_far, diverged, episode.age + window, episode.horizon, episode.ends)
    return advanced, Window(jnp.sum(added), jnp.mean(losses))


def complete(
    dynamics: Dynamics,
    objective: Objective,
    theta: Theta,
    episode: Episode,
    window: int,
    longest: int,
    key: Key[Array, ""],
    rematerialise: bool = False,
) -> tuple[Episode, Window]:
    """Advance an episode to its end, by as many windows as it needs.

    Args:
        dynamics: the unrolled graph.
        objective: what the episode is judged by.
        theta: the meta-parameters.
        episode: where to go on from; not finished.
        window: steps between two looks at whether the episode is over.
        longest: steps that an episode may have left at most; a multiple of `window`. What a shorter one
            leaves over is computed and dropped, since a compiled loop has one length.
        key: the episode's randomness.
        rematerialise: when differentiated backwards, keep the states at the windows' starts, and within the
            window in hand.
    """
    if longest == window:
        return advance(dynamics, objective, theta, episode, window, key, rematerialise)

    def next_window(now: Episode, key: Array) -> tuple[Episode, tuple[Array, Array]]:
        over = finished(now)
        # What is dropped runs from the start again: beyond the end, a derivative might not even be finite.
        source = jax.tree.map(lambda first, x: jnp.where(over, first, x), episode, now)
        ahead, got = advance(dynamics, objective, theta, source, window, key, rematerialise)
        now = jax.tree.map(lambda old, new: jnp.where(over, old, new), now, ahead)
        return now, (jnp.where(over, 0, got.objective), jnp.where(over, 0, got.loss))

    body = jax.checkpoint(next_window, prevent_cse=False) if rematerialise else next_window
    ended, (added, losses) = jax.lax.scan(body, episode, jax.random.split(key, longest // window))
    windows = (ended.age - episode.age) // window
    return ended, Window(jnp.sum(added), jnp.sum(losses) / windows.astype(losses.dtype))


def run_episode(
    dynamics: Dynamics,
    objective: Objective,
    theta: Theta,
    horizon: int,
    key: Key[Array, ""],
    window: int | None = None,
) -> tuple[Episode, Window]:
    """Run theta, as it is, through a whole episode.

    Args:
        dynamics: the unrolled graph.
        objective: what the episode is judged by.
        theta: the meta-parameters.
        horizon: steps of the episode.
        key: the episode's randomness; the same episode for the same key, whatever theta is.
        window: steps of a window, of which the horizon is a multiple; None for one window.

    Returns:
        The episode at its end, and what its windows gave, stacked.
    """
    window = horizon if window is None else window
    start_key, advance_key = jax.random.split(key)
    begun = start(dynamics, theta, jnp.asarray(horizon, jnp.int32), start_key)

    def next_window(now: Episode, key: Key[Array, ""]) -> tuple[Episode, Window]:
        return advance(dynamics, objective, theta, now, window, key)

    return jax.lax.scan(next_window, begun, jax.random.split(advance_key, horizon // window))


def finished(episode: Episode) -> Bool[Array, ""]:
    """Tell whether the episode is over: at its horizon, or where it is cut short."""
    return episode.age >= episode.ends


def renew(dynamics: Dynamics, theta: Theta, episode: Episode, length: Length, key: Key[Array, ""]) -> Episode:
    """Start another episode of a length where this one is over; else leave it alone."""
    over, fresh = finished(episode), start(dynamics, theta, length.horizon, key, length.ends)
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, episode)


def blank(dynamics: Dynamics, theta: Theta) -> Episode:
    """Return an episode of zeros and no steps, which is over: what a particle has before its first."""
    # The horizon is an argument, and so traced: dynamics refuse episodes of no steps where they see one.
    nothing = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = jax.eval_shape(lambda t, n: start(dynamics, t, n, jax.random.key(0)), theta, nothing)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
