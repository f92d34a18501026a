"""The meta-step: every particle runs a window, the estimates are averaged, and theta is updated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Key

from ..dynamics import Dynamics, Theta
from ..estimators import Estimator
from .diagnostics import diagnose
from .mixture import Mixture
from .part import WHOLE, Part
from .phases import MetaState, Phases, Place
from .programs import Programs
from .tally import Metrics, Tally

Step = Callable[[MetaState, Any, Any], tuple[MetaState, Any, Metrics]]


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

    # One program for all members: by itself, each shape would be compiled several times.
    @jax.jit
    def start(dynamics: Mapping[str, Dynamics], theta: Theta) -> dict[str, Any]:
        return {
            name: estimator.init(part.dynamics(one, theta), part.of(theta)) for name, one in dynamics.items()
        }

    scales, meta_step = mixture.unknown_scales(), jnp.zeros((), jnp.int32)
    state = MetaState(theta, outer.init(part.of(theta)), meta_step, key, scales)
    first = start({name: dynamics[name] for name in mixture.names}, theta)
    particles = {m.name: _repeated(first[m.name], m.particles) for m in mixture.members}
    return mixture.devices.place(state, particles)


def _repeated(particle: Any, particles: int) -> Any:
    """Return equal particles, on the host, where nothing has to be compiled; keys are on a device.

    In a function that is being traced, there is nothing to copy to the host.
    """

    def repeat(x: Array) -> Any:
        if jnp.issubdtype(x.dtype, jax.dtypes.extended) or isinstance(x, Tracer):
            return jnp.repeat(x[None], particles, axis=0)
        return np.repeat(np.asarray(x)[None], particles, axis=0)

    return jax.tree.map(repeat, particle)


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
        and does not wait for them. Particles and dynamics are dicts by task name. It donates the first two
        arguments and returns their new values and the call's metrics: a flat dict of scalars, averaged over
        its meta-steps. For a single task it is one jitted function, which does not return to the host between
        meta-steps; for a mixture it is `Programs`.

        Theta and the outer optimizer's state stay unchanged, while the particles advance, in a meta-step that
        is
          * `skipped`: theta would become non-finite, or no particle has a finite estimate;
          * `silent`: there are no usable estimates yet. With phase "random" these are as many meta-steps as
            the longest episode has windows; in a mixture, the first meta-step, which measures the scales.
        So the outer optimizer's schedule, with its warm-up, begins after the silent meta-steps.
    """
    phases = Phases(estimator, outer, mixture, particle_clip, gradient_clip, part)
    if len(mixture.members) > 1:
        return Programs(phases)
    return mixture.devices.compile(_in_one_program(phases))


def _in_one_program(phases: Phases) -> Step:
    """Return a function that runs `count` meta-steps of a single task, given in the constants."""
    mixture = phases.mixture
    (member,) = mixture.members
    name = member.name

    # Jitted, because the loop needs the tally's shapes, and so would trace it twice.
    @jax.jit
    def one(state: MetaState, particles: Any, dynamics: Any) -> tuple[MetaState, Any, Tally]:
        now, own = phases.now(state, member), (particles[name], dynamics[name])
        ran, *found = phases.window(member.particles, now, *own, Place(*mixture.place(member)))
        state, tally = phases.update(state, {name: mixture.devices.add_up(tuple(found))})
        return state, {name: ran}, tally

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
        return state, particles, diagnose(means, mixture.particles)

    return several
