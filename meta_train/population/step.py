"""The meta-step: every particle runs a window, the estimates are averaged, and theta is updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, Key

from ..dynamics import Dynamics, Theta
from ..estimators import Estimator
from .diagnostics import diagnose, moments
from .mixture import Member, Mixture, Scale, follow, guard, informed
from .part import WHOLE, Part
from .tally import Counts, Metrics, Tally


class MetaState(struct.PyTreeNode):
    """The complete state of a meta-training run, except for its particles."""

    theta: Theta
    """The meta-parameters."""
    outer: Any
    """State of the outer optimizer."""
    meta_step: Int[Array, ""]
    """Meta-steps done."""
    key: Key[Array, ""]
    """The run's PRNG key; it never changes."""
    scales: dict[str, Scale] = struct.field(default_factory=dict)
    """In a mixture, the scale of each task's estimates."""


Step = Callable[[MetaState, Any, Any], tuple[MetaState, Any, Metrics]]
_OneStep = Callable[[MetaState, Any, Any], tuple[MetaState, Any, Tally]]


def init_run(
    dynamics: Mapping[str, Dynamics],
    estimator: Estimator,
    outer: optax.GradientTransformation,
    mixture: Mixture,
    theta: Theta,
    key: Key[Array, ""],
    part: Part = WHOLE,
) -> tuple[MetaState, dict[str, Any]]:
    """Return the state and the particles of a run at meta-step 0, on their devices.

    Args:
        dynamics: the dynamics by task name, as in the mixture.
        estimator: the gradient estimator.
        outer: the outer optimizer.
        mixture: the tasks, and the devices of their particles.
        theta: the initial meta-parameters.
        key: the run's PRNG key.
        part: the part of theta that is trained; by default all of it.

    Returns:
        The state, and the particles by task name, as the first axis of each leaf.
    """

    def start(dynamics: Dynamics, particles: int) -> Any:
        particle = estimator.init(part.dynamics(dynamics, theta), part.of(theta))
        return jax.tree.map(lambda x: jnp.repeat(x[None], particles, axis=0), particle)

    scales, meta_step = mixture.unknown_scales(), jnp.zeros((), jnp.int32)
    state = MetaState(theta, outer.init(part.of(theta)), meta_step, key, scales)
    particles = {m.name: start(dynamics[m.name], m.particles) for m in mixture.members}
    return mixture.devices.place(state, particles)


def make_meta_step(
    estimator: Estimator,
    outer: optax.GradientTransformation,
    mixture: Mixture,
    particle_clip: float | None = None,
    gradient_clip: float | None = None,
    part: Part = WHOLE,
) -> Step:
    """Compile the meta-step.

    Args:
        estimator: the gradient estimator.
        outer: the outer optimizer, an optax transformation of theta.
        mixture: the tasks, and the devices of their particles.
        particle_clip: bound on the norm of a single particle's gradient, in a mixture in units of its task's
            scale; None for no bound. It adds bias, because clipped estimates count for less.
        gradient_clip: bound on the norm of the mean gradient; None for no bound.
        part: the part of theta that is trained, as in `init_run`; the rest never changes, to the bit.

    Returns:
        A function of (state, particles, (dynamics, count)), which runs `count` meta-steps (an int32 scalar)
        without returning to the host. Particles and dynamics are dicts by task name. It donates the first two
        arguments and returns their new values and the call's metrics: a flat dict of scalars, averaged over
        its meta-steps.

        Theta and the outer optimizer's state stay unchanged, while the particles advance, in a meta-step that
        is
          * `skipped`: theta would become non-finite, or no particle has a finite estimate;
          * `silent`: there are no usable estimates yet. With phase "random" these are as many meta-steps as
            the longest episode has windows; in a mixture, the first meta-step, which measures the scales.
        So the outer optimizer's schedule, with its warm-up, begins after the silent meta-steps.
    """
    one = _one(estimator, outer, mixture, particle_clip, gradient_clip, part)
    return mixture.devices.compile(_repeat(one, mixture.particles))


def _one(
    estimator: Estimator,
    outer: optax.GradientTransformation,
    mixture: Mixture,
    particle_clip: float | None,
    gradient_clip: float | None,
    part: Part,
) -> _OneStep:
    """Return one meta-step, as run on each device; particles and dynamics are by task."""

    def run(first: int, member: Member, state: MetaState, particles: Any, dynamics: Dynamics) -> Any:
        """Run a window of a task's particles."""
        step_key = jax.random.fold_in(state.key, state.meta_step)
        theta, dynamics = part.of(state.theta), part.dynamics(dynamics, state.theta)

        def particle(index: Array, particle: Any) -> tuple[Any, Theta, Counts]:
            key = jax.random.fold_in(step_key, index)
            particle, estimate = estimator.step(dynamics, theta, particle, key, state.meta_step)
            gradient, metrics, telling = guard(estimate, state.scales.get(member.name), particle_clip)
            gradient = mixture.contribution(member, gradient)
            age = metrics.pop("age")
            return particle, gradient, Counts(metrics, telling, moments(gradient, age))

        indices = first + mixture.devices.indices(member.particles)
        return mixture.devices.each(member.particles, particle, indices, particles)

    def one(state: MetaState, particles: Any, dynamics: Any) -> tuple[MetaState, Any, Tally]:
        ran = {
            member.name: run(first, member, state, particles[member.name], dynamics[member.name])
            for first, member in mixture.numbered()
        }
        particles, gradients, counts = ({name: got[i] for name, got in ran.items()} for i in range(3))
        gradient, means = mixture.reduce(gradients, counts)
        scales = follow(state.scales, means)
        tally = mixture.tally(gradient, means, scales)
        broken = jnp.all(jnp.stack([found.shown["dropped"] >= 1 for found in means.values()]))
        tells = informed(state.scales, means)
        moved, outcome = _move(outer, gradient_clip, gradient, state, tells, part)
        silent = ~tells & ~broken
        outcome |= {"skipped": jnp.where(silent, 0, outcome["skipped"]), "silent": silent.astype(jnp.float32)}
        return moved.replace(scales=scales), particles, tally._replace(shown=tally.shown | outcome)

    return one


def _repeat(one: _OneStep, size: int) -> Step:
    """Return a function that runs `count` meta-steps, given in the constants (dynamics, count)."""

    def several(state: MetaState, particles: Any, constants: Any) -> tuple[MetaState, Any, Metrics]:
        dynamics, count = constants

        def body(_: Array, carry: tuple[MetaState, Any, Tally]) -> tuple[MetaState, Any, Tally]:
            state, particles, totals = carry
            state, particles, tally = one(state, particles, dynamics)
            return state, particles, jax.tree.map(jnp.add, totals, tally)

        # A loop of traced length, so that a run's last call may be shorter without recompilation.
        shapes = jax.eval_shape(one, state, particles, dynamics)[-1]
        totals = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state, particles, totals = jax.lax.fori_loop(0, count, body, (state, particles, totals))
        means = jax.tree.map(lambda total: total / count.astype(total.dtype), totals)
        return state, particles, diagnose(means, size)

    return several


def _move(
    outer: optax.GradientTransformation,
    clip: float | None,
    gradient: Theta,
    state: MetaState,
    tells: Array,
    part: Part,
) -> tuple[MetaState, Metrics]:
    """Update theta by the outer optimizer, if the gradient counts and theta stays finite."""
    # Under jax_enable_x64 a task may be float64; theta and the outer optimizer are not.
    before = part.of(state.theta)
    gradient = optax.tree.cast_like(gradient, before)
    norm = optax.tree.norm(gradient)
    if clip is not None:
        gradient, _ = optax.clip_by_global_norm(clip).update(gradient, optax.EmptyState())
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
        updates, outer_state = outer.update(gradient, state.outer, before)
    theta = part.joined(optax.apply_updates(before, updates), state.theta)
    ok = tells & jnp.isfinite(optax.tree.norm(theta))
    choose = lambda new, old: jnp.where(ok, new, old)  # noqa: E731
    theta, outer_state = jax.tree.map(choose, (theta, outer_state), (state.theta, state.outer))
    metrics = {
        "gradient_norm": norm,
        "theta_norm": optax.tree.norm(theta),
        "update_norm": jnp.where(ok, optax.tree.norm(updates), 0),
        "gradient_clipped": jnp.zeros(()) if clip is None else (norm > clip).astype(jnp.float32),
        "skipped": (~ok).astype(jnp.float32),
    }
    return state.replace(theta=theta, outer=outer_state, meta_step=state.meta_step + 1), metrics
