"""Creates the objects of a run from its configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import optax

from ..config.run import Method, Run
from ..dynamics import Dynamics, Theta
from ..estimators import Estimator
from ..population.mesh import Devices
from ..population.mixture import Member, Mixture
from ..population.part import Part
from ..problems.base import Trial


@dataclasses.dataclass(frozen=True)
class Parts:
    """The objects of a run."""

    dynamics: dict[str, Dynamics]
    """The systems that theta is trained on, by member name."""
    trials: tuple[Trial, ...]
    """The trials that theta is validated on."""
    estimator: Estimator
    outer: optax.GradientTransformation
    mixture: Mixture
    """The members, with their particles and weights; also for a single member."""
    theta: Theta
    """The initial theta."""
    key: Any
    """The run's PRNG key."""
    part: Part
    """The part of theta that is trained."""


def build(run: Run) -> Parts:
    """Create the parts of a run.

    Raises:
        ValueError: for unknown names and numbers that don't fit together, in one sentence.
        tasks.DatasetNotPreparedError: if a task needs data that is not on this machine.
    """
    estimator, members = run.method.estimator, run.problem.members()
    populations = run.method.populations(run.problem.names)
    placement = run.placement
    devices = Devices(placement.devices, placement.backend, placement.reduction, placement.chunk)
    mixture = Mixture(
        tuple(Member(name, populations[name], member.weight) for name, member in members.items()), devices
    )
    dynamics = {name: member.dynamics for name, member in members.items()}
    theta_key, key = jax.random.split(jax.random.key(run.method.seed))
    theta = run.problem.theta(theta_key)
    # Estimators that can't carry such a state raise here, before anything is written.
    part = Part.like(run.problem.trained(theta))
    jax.eval_shape(
        lambda: [estimator.init(part.dynamics(one, theta), part.of(theta)) for one in dynamics.values()]
    )
    trials = run.problem.trials(estimator)
    outer = make_outer(run.method, run.loop.steps)
    return Parts(dynamics, trials, estimator, outer, mixture, theta, key, part)


def make_outer(method: Method, steps: int) -> optax.GradientTransformation:
    """Create the outer optimizer: Adam with warm-up and cosine decay. The meta-step clips its gradient.

    Args:
        method: the run's method.
        steps: meta-steps of the whole run. The schedule begins after the silent meta-steps
            (`Estimator.silence`) and is shorter by their number, so the run ends at the final rate.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if method.warmup else method.learning_rate,
        peak_value=method.learning_rate,
        warmup_steps=method.warmup,
        decay_steps=max(steps - method.estimator.silence, method.warmup + 1),
        end_value=method.learning_rate * method.final_rate,
    )
    return optax.adam(schedule)
