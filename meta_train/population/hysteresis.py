"""Hysteresis: how much theta's motion within episodes changes the estimates, measured by replaying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..dynamics import Dynamics
from ..estimators import Estimator
from ..unroll import Episode
from .part import WHOLE, Part
from .phases import MetaState


def make_hysteresis_probe(
    estimator: Estimator, particles: int, part: Part = WHOLE
) -> Callable[[MetaState, Any, Dynamics], Float[Array, ""]]:
    """Return a function that measures how theta's motion within episodes changes the estimates.

    In the middle of an episode, an online estimate depends on the earlier values of theta in that episode.
    The probe replays the current episodes of a few particles from the start, with the run's own random draws
    and the current theta in all windows, and compares the next estimates: the root-mean-square difference
    over the root-mean-square estimate. It is 0 if theta doesn't change. A particle's first episode is left
    out, because it may be cut short; if there are no others, the result is NaN.

    Args:
        estimator: the run's estimator.
        particles: number of particles to replay, from the first on. Each costs as many windows as the longest
            episode has.
        part: the part of theta that is trained, as in `init_run`.

    Returns:
        A jitted function of the run's state, that many particles (first axis of each leaf) and the dynamics;
        for a mixture, those of its first task.
    """
    windows = estimator.horizon.bounds()[1] // estimator.window

    def last_estimate(run: MetaState, dynamics: Dynamics, index: Array, state: Any, idle: Array) -> Array:
        """Run the last windows, skipping the first `idle` ones; return the last gradient."""
        theta, dynamics = part.of(run.theta), part.dynamics(dynamics, run.theta)

        def window(state: Any, back: Array) -> tuple[Any, Array]:
            meta_step = run.meta_step - back
            key = jax.random.fold_in(jax.random.fold_in(run.key, meta_step), index)
            ahead, estimate = estimator.step(dynamics, theta, state, key, meta_step)
            skip = windows - back < idle
            state = jax.tree.map(lambda old, new: jnp.where(skip, old, new), state, ahead)
            return state, ravel_pytree(estimate.gradient)[0]

        return jax.lax.scan(window, state, jnp.arange(windows, -1, -1, dtype=jnp.int32))[1][-1]

    @jax.jit
    def probe(run: MetaState, members: Any, dynamics: Dynamics) -> Float[Array, ""]:
        def both(index: Array, member: Any) -> tuple[Array, Array, Array]:
            done = jnp.minimum(member.age // estimator.window, windows)
            starts = jax.tree.map(lambda x, y: jnp.stack([x, y]), member, _ended(member))
            idle = jnp.stack([jnp.asarray(windows, jnp.int32), windows - done])
            actual, replayed = jax.vmap(lambda s, i: last_estimate(run, dynamics, index, s, i))(starts, idle)
            counts = member.episodes > 1
            moved = jnp.sum((actual - replayed) ** 2)
            return counts, jnp.where(counts, moved, 0), jnp.where(counts, jnp.sum(actual**2), 0)

        counts, moved, size = jax.vmap(both)(jnp.arange(particles), members)
        return jnp.where(jnp.any(counts), jnp.sqrt(jnp.sum(moved) / jnp.sum(size)), jnp.nan)

    return probe


def _ended(state: Any) -> Any:
    """Return a particle's state with its episodes marked as over, so the next step starts new ones."""
    end = lambda x: x.replace(age=x.ends) if isinstance(x, Episode) else x  # noqa: E731
    return jax.tree.map(end, state, is_leaf=lambda x: isinstance(x, Episode))
