"""The unroll state machine: start an episode, advance it by a window, detect its end, renew it."""

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
    """The dynamics' state; changes every step."""
    objective: Float[Array, ""]
    """Sum of the objective's increments so far; changes every step."""
    diverged: Bool[Array, ""]
    """Whether any loss so far was not finite or at the ceiling."""
    age: Int[Array, ""]
    """Steps done; changes every window."""
    horizon: Int[Array, ""]
    """Length in steps of the whole episode, as used by the dynamics and the objective; a multiple of the
    window; changes every episode."""
    ends: Int[Array, ""]
    """Steps after which it is over: the horizon, or less if it is cut short; changes every episode."""


class Length(NamedTuple):
    """The length of an episode."""

    horizon: Int[Array, ""]
    """Steps of the whole episode, by which its objective is computed even if it is cut short."""
    ends: Int[Array, ""]
    """Steps after which it is over; at most the horizon."""


class Window(NamedTuple):
    """The results of one window of an episode."""

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
    """Start an episode of `horizon` steps, cut short after `ends` steps if given."""
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

    A loss that is not finite or above the dynamics' ceiling counts as the ceiling, and marks the episode as
    diverged: divergence is measured, not raised. Its derivative is 0 in forward and reverse mode, and no
    derivative passes a step in which the state becomes non-finite.

    Args:
        dynamics: the unrolled graph.
        objective: the objective of the episode.
        theta: the meta-parameters.
        episode: the episode to continue.
        window: the number of steps.
        key: the window's PRNG key.
        rematerialise: for reverse-mode derivatives, store only the states and recompute each step, instead of
            storing all intermediate values.
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
        objective: the objective of the episode.
        theta: the meta-parameters.
        episode: the episode to continue; not finished.
        window: steps between checks for the episode's end.
        longest: the largest possible number of remaining steps; a multiple of `window`. For a shorter episode
            the remaining windows are computed and discarded, because a compiled loop has a fixed length.
        key: the episode's PRNG key.
        rematerialise: for reverse-mode derivatives, store only the states at the windows' starts, and those
            within one window at a time.
    """
    if longest == window:
        return advance(dynamics, objective, theta, episode, window, key, rematerialise)
    ended, got = by_window(dynamics, objective, theta, episode, window, longest, key, rematerialise)
    windows = (ended.age - episode.age) // window
    return ended, Window(jnp.sum(got.objective), jnp.sum(got.loss) / windows.astype(got.loss.dtype))


def by_window(
    dynamics: Dynamics,
    objective: Objective,
    theta: Theta,
    episode: Episode,
    window: int,
    longest: int,
    key: Key[Array, ""],
    rematerialise: bool = False,
) -> tuple[Episode, Window]:
    """Advance an episode to its end, and return the results of each window.

    Args:
        dynamics: as for `complete`, like all others.
        objective: the objective of the episode.
        theta: the meta-parameters.
        episode: the episode to continue; not finished.
        window: steps per window.
        longest: the largest possible number of remaining steps; a multiple of `window`.
        key: the episode's PRNG key.
        rematerialise: for reverse-mode derivatives, store only the states.

    Returns:
        The episode at its end, and the windows' results, stacked [longest / window]; zeros after the end.
    """

    def next_window(now: Episode, key: Array) -> tuple[Episode, Window]:
        over = finished(now)
        # Discarded windows restart from `episode`: beyond the end, a derivative might not be finite.
        source = jax.tree.map(lambda first, x: jnp.where(over, first, x), episode, now)
        ahead, got = advance(dynamics, objective, theta, source, window, key, rematerialise)
        now = jax.tree.map(lambda old, new: jnp.where(over, old, new), now, ahead)
        return now, Window(jnp.where(over, 0, got.objective), jnp.where(over, 0, got.loss))

    body = jax.checkpoint(next_window, prevent_cse=False) if rematerialise else next_window
    return jax.lax.scan(body, episode, jax.random.split(key, longest // window))


def run_episode(
    dynamics: Dynamics,
    objective: Objective,
    theta: Theta,
    horizon: int,
    key: Key[Array, ""],
    window: int | None = None,
) -> tuple[Episode, Window]:
    """Run a whole episode with the unperturbed theta.

    Args:
        dynamics: the unrolled graph.
        objective: the objective of the episode.
        theta: the meta-parameters.
        horizon: length of the episode in steps.
        key: the episode's PRNG key; the same key gives the same random draws for every theta.
        window: steps per window, which must divide the horizon; None for one window.

    Returns:
        The episode at its end, and the results of its windows, stacked.
    """
    window = horizon if window is None else window
    start_key, advance_key = jax.random.split(key)
    begun = start(dynamics, theta, jnp.asarray(horizon, jnp.int32), start_key)

    def next_window(now: Episode, key: Key[Array, ""]) -> tuple[Episode, Window]:
        return advance(dynamics, objective, theta, now, window, key)

    return jax.lax.scan(next_window, begun, jax.random.split(advance_key, horizon // window))


def finished(episode: Episode) -> Bool[Array, ""]:
    """Return whether the episode is over: at its horizon, or where it is cut short."""
    return episode.age >= episode.ends


def renew(dynamics: Dynamics, theta: Theta, episode: Episode, length: Length, key: Key[Array, ""]) -> Episode:
    """Return a new episode of the given length if this one is over, else this one."""
    over, fresh = finished(episode), start(dynamics, theta, length.horizon, key, length.ends)
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, episode)


def blank(dynamics: Dynamics, theta: Theta) -> Episode:
    """Return a finished episode of zeros with no steps: the state before a particle's first episode."""
    # The horizon is an argument, and so traced: dynamics would reject a concrete horizon of 0.
    nothing = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = jax.eval_shape(lambda t, n: start(dynamics, t, n, jax.random.key(0)), theta, nothing)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
