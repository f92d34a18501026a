"""The runs of `scripts/against_optuna.py`: trials of Optuna's samplers, and PES."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optuna
from jax.sharding import Mesh, PartitionSpec

from meta_train import (
    PES,
    ConstantHorizon,
    Devices,
    HyperparameterTuning,
    MeanLogLoss,
    MeanLoss,
    Mixture,
    advance,
    init_run,
    make_meta_step,
    start,
)

HORIZON, LAST, UNITS = 270, 30, 9
"""Inner steps of a training; those whose mean validation loss counts; Hyperband's units of a training."""
WINDOW, PARTICLES, SIGMA, RATE, B2 = 10, 4, 0.1, 0.03, 0.95
# Where a member diverges, the estimate is far too large: at b2 = 0.999, Adam would move theta by 30 rates.
JUDGED = 5
"""Trainings that judge what a method has chosen."""


class Choice(NamedTuple):
    """What a method would answer from then on."""

    steps: int
    seconds: float
    theta: Any


@dataclasses.dataclass
class Case:
    """A problem with its compiled programs, which all methods and seeds share."""

    problem: HyperparameterTuning
    programs: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.dynamics,) = (member.dynamics for member in self.problem.members().values())
        self.middle = jax.tree.map(jnp.zeros_like, self.problem.theta(jax.random.key(0)))

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return theta as a trial suggests it: values within the bounds, on their scale."""
        theta = {}
        for one in self.problem.space.tuned:
            bounds: Any = one.hyperparameter.constraint
            names = self._names(one)
            numbers = [
                bounds.free(trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log))
                for name in names
            ]
            theta[one.name] = np.asarray(numbers, np.float32).reshape(self.problem.space.shape(one))
        return theta

    def first(self) -> dict[str, float]:
        """Return the middle of the bounds, by the trial's names."""
        values = self.problem.space.values(self.middle)
        return {
            name: float(value)
            for one in self.problem.space.tuned
            for name, value in zip(self._names(one), np.ravel(values[one.name]), strict=True)
        }

    def _names(self, one: Any) -> list[str]:
        shape = self.problem.space.shape(one)
        return [f"{one.name}@{n}" for n in range(shape[0])] if shape else [one.name]

    def lanes(self, block: int, count: int) -> Any:
        """Return a program that advances so many trainings by a block of steps, on all devices.

        It takes thetas, episodes, whether each is to be started first, and keys, all stacked.
        """

        def one(dynamics: Any, theta: Any, episode: Any, fresh: Any, key: Any) -> tuple[Any, Any]:
            start_key, key = jax.random.split(key)
            begun = start(dynamics, theta, jnp.asarray(HORIZON, jnp.int32), start_key)
            episode = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), begun, episode)
            keys = jax.random.split(key, max(block // LAST, 1))
            step = lambda now, key: advance(dynamics, MeanLoss(), theta, now, min(block, LAST), key)  # noqa: E731
            episode, windows = jax.lax.scan(step, episode, keys)
            return episode, windows.loss[-1]

        if (block, count) not in self.programs:
            used = jax.devices()[: math.gcd(count, jax.device_count())]
            mesh, lane, shared = Mesh(np.array(used), ("lanes",)), PartitionSpec("lanes"), PartitionSpec()
            every = jax.vmap(one, in_axes=(None, 0, 0, 0, 0))
            specs = {"in_specs": (shared, lane, lane, lane, lane), "out_specs": (lane, lane)}
            self.programs[block, count] = jax.jit(jax.shard_map(every, mesh=mesh, check_vma=False, **specs))
        return self.programs[block, count]

    def blank(self, count: int) -> Any:
        """Return so many episodes to be started."""
        horizon = jnp.asarray(HORIZON, jnp.int32)
        empty = start(self.dynamics, self.middle, horizon, jax.random.key(0))
        return jax.tree.map(lambda x: jnp.repeat(x[None], count, axis=0), empty)

    def judge(self, thetas: list[Any]) -> np.ndarray:
        """Return the final validation loss of each theta, the mean of some trainings that no method saw."""
        count = len(thetas) * JUDGED
        repeated = [theta for theta in thetas for _ in range(JUDGED)]
        keys = jnp.tile(jax.random.split(jax.random.key(77), JUDGED), len(thetas))
        run = self.lanes(HORIZON, count)
        _, losses = run(self.dynamics, _stack(repeated), self.blank(count), np.ones(count, bool), keys)
        return np.asarray(losses).reshape(len(thetas), JUDGED).mean(axis=1)


def search(
    case: Case, sampler: Any, pruner: Any, block: int, lanes: int, seed: int, steps: int, seconds: float
) -> list[Choice]:
    """Run trials, `lanes` at a time, until both budgets are spent; return the best one as it improved.

    A trial is a training with a key of its own. A pruned one makes room for the next at once.
    """
    # Hyperband assigns trials to brackets by the study's name, which is random by default.
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=str(seed))
    study.enqueue_trial(case.first())
    program, episodes = case.lanes(block, lanes), case.blank(lanes)
    fresh = np.ones(lanes, bool)
    keys = jax.random.split(jax.random.key(seed), lanes)
    program(case.dynamics, _stack([case.middle] * lanes), episodes, fresh, keys)  # compiles
    done, best, choices, ages = 0, np.inf, [Choice(0, 0.0, case.middle)], [0] * lanes
    began = time.perf_counter()
    trials = [study.ask() for _ in range(lanes)]
    thetas = [case.suggest(trial) for trial in trials]
    while done < steps or time.perf_counter() - began < seconds:
        key = jax.random.fold_in(jax.random.key(seed), done)
        keys = jax.random.split(key, lanes)
        episodes, losses = program(case.dynamics, _stack(thetas), episodes, fresh, keys)
        done += block * lanes
        for lane, loss in enumerate(np.asarray(losses).tolist()):
            ages[lane] += block
            trials[lane].report(loss, ages[lane] * UNITS // HORIZON)
            over = ages[lane] == HORIZON
            fresh[lane] = over or trials[lane].should_prune()
            if fresh[lane]:
                state = None if over else optuna.trial.TrialState.PRUNED
                study.tell(trials[lane], loss if over else None, state=state)
                if over and loss < best:
                    best = loss
                    choices.append(Choice(done, time.perf_counter() - began, thetas[lane]))
                trials[lane], ages[lane] = study.ask(), 0
                thetas[lane] = case.suggest(trials[lane])
    return choices


def follow(case: Case, seed: int, steps: int, seconds: float) -> list[Choice]:
    """Tune by PES until both budgets are spent; return the means of theta over the last third until then."""
    estimator = PES(ConstantHorizon(HORIZON), WINDOW, MeanLogLoss(), sigma=SIGMA)
    outer, mixture = optax.adam(RATE, b2=B2), Mixture.of(PARTICLES, Devices())
    dynamics = {"only": case.dynamics}
    constants = mixture.devices.replicate((dynamics, jnp.asarray(UNITS, jnp.int32)))
    state, members = init_run(dynamics, estimator, outer, mixture, case.middle, jax.random.key(seed))
    if "pes" not in case.programs:
        function: Any = make_meta_step(estimator, outer, mixture)
        case.programs["pes"] = function.lower(state, members, constants).compile()
    done, choices, thetas = 0, [Choice(0, 0.0, case.middle)], []
    began = time.perf_counter()
    while done < steps or time.perf_counter() - began < seconds:
        state, members, _ = case.programs["pes"](state, members, constants)
        done += UNITS * PARTICLES * estimator.steps_per_window
        thetas.append(jax.device_get(state.theta))
        theta = jax.tree.map(lambda *x: np.mean(x, axis=0), *thetas[-max(len(thetas) // 3, 1) :])
        choices.append(Choice(done, time.perf_counter() - began, theta))
    return choices


def _stack(thetas: list[Any]) -> Any:
    return jax.tree.map(lambda *x: np.stack(x), *thetas)


def _sampler(kind: str, seed: int) -> Any:
    samplers = {
        "TPE": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "CMA-ES": lambda: optuna.samplers.CmaEsSampler(seed=seed),
    }
    return samplers[kind]()


def _study(
    kind: str, lanes: int = 2, halves: bool = False
) -> Callable[[Case, int, int, float], list[Choice]]:
    def run(case: Case, seed: int, steps: int, seconds: float) -> list[Choice]:
        if halves:
            pruner: Any = optuna.pruners.HyperbandPruner(1, UNITS, 3)
        else:
            pruner = optuna.pruners.NopPruner()
        block = HORIZON // UNITS if halves else HORIZON
        return search(case, _sampler(kind, seed), pruner, block, lanes, seed, steps, seconds)

    return run


METHODS: dict[str, Callable[[Case, int, int, float], list[Choice]]] = {
    "PES": follow,
    "TPE": _study("TPE"),
    "TPE, 16 at once": _study("TPE", lanes=16),
    "random": _study("random"),
    "Hyperband": _study("random", halves=True),
    "CMA-ES": _study("CMA-ES"),
}
