"""From a run's configuration to the objects that do the work."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import optax

import lopt
import tasks
from lopt import LearnedOptimizer

from ..estimators import ESTIMATORS, Estimator, create_estimator
from ..horizons import ConstantHorizon, CurriculumHorizon, Horizon, LogUniformHorizon
from ..objectives import OBJECTIVES
from ..population.mesh import Devices
from ..population.mixture import Member, Mixture
from ..problems.inner_training import InnerTraining
from .run import RunConfig, parse_options


class Judged(NamedTuple):
    """What theta is judged on."""

    label: str
    """Its name among the metrics."""
    dynamics: InnerTraining
    horizon: int
    """Inner steps."""
    weight: float
    """They sum to 1."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a meta-training run is made of."""

    dynamics: dict[str, InnerTraining]
    """By the task's name."""
    judged: tuple[Judged, ...]
    estimator: Estimator
    outer: optax.GradientTransformation
    mixture: Mixture
    """The tasks, with their particles and weights; a single one too."""
    theta: LearnedOptimizer
    """Theta at the start."""
    key: Any
    """The run's key."""


def build(config: RunConfig) -> Parts:
    """Make the parts of a run.

    Raises:
        ValueError: for unknown names and numbers that don't fit together, in one sentence.
        DatasetNotPreparedError: when the task needs data that is not on this machine.
    """
    mixture = make_mixture(config)
    estimator = make_estimator(config)
    entries = config.validations
    names = dict.fromkeys((*config.task, *(entry.task for entry in entries)))
    known = {name: InnerTraining(tasks.build(name), config.measured_on) for name in names}
    dynamics = {name: known[name] for name in config.task}
    longest = estimator.horizon.bounds()[1]
    judged = tuple(Judged(e.label, known[e.task], e.horizon or longest, e.weight) for e in entries)
    theta_key, key = jax.random.split(jax.random.key(config.seed))
    theta = make_theta(config, theta_key)
    # Estimators that can't carry such a state say so here, before anything is written.
    jax.eval_shape(lambda: [estimator.init(one, theta) for one in dynamics.values()])
    return Parts(dynamics, judged, estimator, make_outer(config), mixture, theta, key)


def make_mixture(config: RunConfig) -> Mixture:
    """Make the members of the run, and say where their particles live."""
    devices = Devices(config.devices, config.backend, config.reduction, config.chunk)
    members = zip(config.task, config.populations, config.weights, strict=True)
    return Mixture(tuple(Member(*member) for member in members), devices)


def make_estimator(config: RunConfig) -> Estimator:
    """Make the gradient estimator; sigma goes to those that perturb theta."""
    options: dict[str, Any] = {
        "horizon": make_horizon(config),
        "window": config.window,
        "objective": OBJECTIVES[config.objective](),
        "phase": config.phase,
    }
    further = parse_options(config.estimator_options, "--estimator-options")
    for name in (options.keys() | {"sigma"}) & further.keys():
        raise ValueError(f"--estimator-options can't set {name}, which --{name} sets")
    known = ESTIMATORS.get(config.estimator)
    if known is not None and "sigma" in {field.name for field in dataclasses.fields(known)}:
        options["sigma"] = config.sigma
    return create_estimator(config.estimator, **options, **further)


def make_horizon(config: RunConfig) -> Horizon:
    """Make the law of episode lengths."""
    low, high = config.horizon_low, config.horizon_high
    if config.horizon == "constant":
        return ConstantHorizon(high)
    if config.horizon == "log-uniform":
        return LogUniformHorizon(low, high)
    return CurriculumHorizon(low, high, config.horizon_meta_steps)


def make_outer(config: RunConfig) -> optax.GradientTransformation:
    """Make the outer optimizer: Adam with warm-up and cosine decay. The meta-step clips its gradient."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=max(config.steps, config.warmup + 1),
        end_value=config.learning_rate * config.final_rate,
    )
    return optax.adam(schedule)


def make_theta(config: RunConfig, key: Any) -> LearnedOptimizer:
    """Make the learned optimizer that a run starts from."""
    if config.init_from is not None:
        return lopt.load(config.init_from)
    options = parse_options(config.optimizer_options, "--optimizer-options")
    try:
        return lopt.create(config.optimizer, key, **options)
    except TypeError as error:
        raise ValueError(f"optimizer {config.optimizer}: {error}") from error
