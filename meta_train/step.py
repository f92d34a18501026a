"""The meta-step: every particle runs a window, the estimates are averaged, theta moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, Key

from .diagnostics import agreement, diagnose, particle_moments
from .dynamics import Dynamics, Theta
from .estimators import Estimate, Estimator
from .mesh import Population


class MetaState(struct.PyTreeNode):
    """All that decides the future of a meta-training run, but for its particles."""

    theta: Theta
    """The meta-parameters."""
    outer: Any
    """State of the outer optimizer."""
    meta_step: Int[Array, ""]
    """Meta-steps done."""
    key: Key[Array, ""]
    """The run's randomness; it never changes."""


Metrics = dict[str, Array]


def init_run(
    dynamics: Dynamics,
    estimator: Estimator,
    outer: optax.GradientTransformation,
    population: Population,
    theta: Theta,
    key: Key[Array, ""],
) -> tuple[MetaState, Any]:
    """Return the state and the particles of a run at meta-step 0, on their devices."""
    state = MetaState(theta, outer.init(theta), jnp.zeros((), jnp.int32), key)
    particle = estimator.init(dynamics, theta)
    particles = jax.tree.map(lambda x: jnp.repeat(x[None], population.particles, axis=0), particle)
    return population.place(state, particles)


def make_meta_step(
    estimator: Estimator,
    outer: optax.GradientTransformation,
    population: Population,
    particle_clip: float | None = None,
    gradient_clip: float | None = None,
) -> Callable[[MetaState, Any, tuple[Dynamics, Array]], tuple[MetaState, Any, Metrics]]:
    """Compile the meta-step.

    Args:
        estimator: gives each particle's estimate.
        outer: the outer optimizer, an optax transformation of theta.
        population: size and placement.
        particle_clip: bound on the norm of a single particle's gradient; None for no bound.
        gradient_clip: bound on the norm of the mean gradient; None for no bound.

    Returns:
        A function of (state, particles, (dynamics, count)), which runs `count` meta-steps (an int32 scalar)
        without returning to the host. It donates the first two arguments and returns their successors and the
        call's metrics: a flat dict of scalars, averages over its meta-steps. A meta-step that would leave
        theta not finite, or in which no particle has a finite estimate, is skipped: theta and the outer
        optimizer stay as they are, and the particles go on.
    """

    def one(state: MetaState, particles: Any, dynamics: Dynamics) -> tuple[MetaState, Any, Metrics]:
        step_key = jax.random.fold_in(state.key, state.meta_step)

        def particle(index: Array, particle: Any) -> tuple[Any, Theta, Metrics]:
            key = jax.random.fold_in(step_key, index)
            particle, estimate = estimator.step(dynamics, state.theta, particle, key, state.meta_step)
            gradient, metrics = _guard(estimate, particle_clip)
            return particle, gradient, metrics | particle_moments(gradient, metrics["age"])

        particles, gradients, metrics = population.each(particle, population.indices(), particles)
        gradient, metrics = population.mean((gradients, metrics))
        metrics = metrics | agreement(gradient, metrics, population.particles)
        moved, outcome = _move(outer, gradient_clip, gradient, state, usable=metrics["dropped"] < 1)
        return moved, particles, metrics | outcome

    def local(
        state: MetaState, particles: Any, constants: tuple[Dynamics, Array]
    ) -> tuple[MetaState, Any, Metrics]:
        dynamics, count = constants

        def body(_: Array, carry: tuple[MetaState, Any, Metrics]) -> tuple[MetaState, Any, Metrics]:
            state, particles, totals = carry
            state, particles, metrics = one(state, particles, dynamics)
            return state, particles, jax.tree.map(jnp.add, totals, metrics)

        # A loop of traced length, so that a run's last call may be shorter without compiling anew.
        shapes = jax.eval_shape(one, state, particles, dynamics)[-1]
        totals = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state, particles, totals = jax.lax.fori_loop(0, count, body, (state, particles, totals))
        averages = {name: total / count for name, total in totals.items()}
        return state, particles, diagnose(_per_episode(averages), population.particles)

    return population.compile(local)


def _move(
    outer: optax.GradientTransformation,
    clip: float | None,
    gradient: Theta,
    state: MetaState,
    usable: Array,
) -> tuple[MetaState, Metrics]:
    """Let the outer optimizer move theta, unless it would not stay finite."""
    norm = optax.tree.norm(gradient)
    if clip is not None:
        gradient, _ = optax.clip_by_global_norm(clip).update(gradient, optax.EmptyState())
    updates, outer_state = outer.update(gradient, state.outer, state.theta)
    theta = optax.apply_updates(state.theta, updates)
    ok = usable & jnp.isfinite(optax.tree.norm(theta))
    choose = lambda new, old: jnp.where(ok, new, old)  # noqa: E731
    theta, outer_state = jax.tree.map(choose, (theta, outer_state), (state.theta, state.outer))
    metrics = {
        "gradient_norm": norm,
        "theta_norm": optax.tree.norm(theta),
        "update_norm": jnp.where(ok, optax.tree.norm(updates), 0),
        "gradient_clipped": jnp.zeros(()) if clip is None else (norm > clip).astype(jnp.float32),
        "skipped": (~ok).astype(jnp.float32),
    }
    return MetaState(theta, outer_state, state.meta_step + 1, state.key), metrics


def _guard(estimate: Estimate, clip: float | None) -> tuple[Theta, Metrics]:
    """Drop an estimate that is not finite and clip one that is large, and count both."""
    norm = optax.tree.norm(estimate.gradient)
    usable = jnp.isfinite(norm)
    scale = jnp.ones(()) if clip is None else jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-30))
    gradient = jax.tree.map(lambda g: jnp.where(usable, g * scale, 0), estimate.gradient)
    counts = {
        "particle_norm": jnp.where(usable, norm, 0),
        "clipped": (usable & (scale < 1)).astype(jnp.float32),
        "dropped": (~usable).astype(jnp.float32),
    }
    return gradient, estimate.metrics | counts


def _per_episode(averages: Metrics) -> Metrics:
    """Divide `objective` by the share of episodes that ended; NaN when none did."""
    return averages | {"objective": averages["objective"] / averages["finished"]}
