"""Tuning hyperparameters: theta is their free numbers, on one task or on several.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lopt
import tasks
from lopt import UsageError

from .base import PROBLEMS, Problem, Rival, Training
from .options import check_names, parse_pairs

if TYPE_CHECKING:
    from tasks import Hyperparameter, Task

    from ..dynamics import Theta
    from ..estimators.base import Estimator
    from ..tuning.space import FreeNumbers, Space
    from ..tuning.tuned_training import TunedTraining
    from ..tuning.written import Tuning


@PROBLEMS.register("hyperparameters")
@dataclasses.dataclass(frozen=True)
class HyperparameterTuning(Problem):
    """Tune the hyperparameters of an optimizer, a schedule, a loss and a model."""

    task: tuple[str, ...] = ("tunable-digits-mlp",)
    """Task to tune for, or several, a mixture; `lopt-train --list` shows all."""
    tune: tuple[str, ...] = ("learning_rate",)
    """Hyperparameters to tune, by name; NAME@layer or NAME@tensor for one value per layer or tensor. An
    unknown name is answered with the nearest ones."""
    optimizer: str = "sgd"
    """Optimizer that has them: sgd, adam, adamw, nadamw, rmsprop, lion, or one of your own."""
    schedule: str = "constant"
    """Learning-rate schedule: constant, inverse-time, linear, cosine or piecewise."""
    start: tuple[str, ...] = ()
    """Where tuning starts, as NAME=VALUE, or NAME=LOW:HIGH to draw it."""
    bounds: tuple[str, ...] = ()
    """What a value may be, as NAME=LOW:HIGH, NAME=LOW:HIGH:log, or NAME=A,B,C for a choice."""
    set: tuple[str, ...] = ()
    """Hyperparameters that have other values than usual and are not tuned, as NAME=VALUE."""
    measured_on: Literal["train", "inner_valid"] = "inner_valid"
    """Which data the tuned network is measured on, after each step."""
    measure: Literal["loss", "error", "loss+error"] = "loss"
    """What is measured; the error is 1 - accuracy, which has no derivative."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", (self.task,))
        check_names(self.task, "--task")
        for name in ("start", "bounds", "set"):
            parse_pairs(getattr(self, name), f"--{name}")

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks."""
        return self.task

    def check(self, estimator: Estimator) -> None:
        """Refuse an estimator that needs derivatives where there are none.

        Raises:
            UsageError: naming what has none.
        """
        if not estimator.needs_derivatives:
            return
        name = type(estimator).__name__
        if self.measure != "loss":
            raise UsageError(
                f"{name} needs derivatives, and the error has none: choose pes, nres or another "
                "estimator that perturbs theta, or --measure loss"
            )
        if self.space.rounded:
            raise UsageError(
                f"{name} needs derivatives, and {self.space.rounded[0]} is rounded: choose pes, "
                "nres or another estimator that perturbs theta"
            )

    def members(self) -> dict[str, Training]:
        """Return the tasks' trainings."""
        return {name: Training(dynamics) for name, dynamics in self._made.items()}

    def theta(self, key: Any) -> FreeNumbers:
        """Return the free numbers where tuning starts."""
        return self.space.start(key)

    def rivals(self, candidates: int) -> tuple[Rival, ...]:
        """Return the start, untuned, and the best of so many random draws around it."""
        if not candidates:
            return ()
        import jax

        start = jax.tree.map(lambda x: x[None], self.space.start(jax.random.key(0)))
        keys = jax.random.split(jax.random.key(1), candidates)
        drawn = jax.vmap(self.space.draw_widely)(keys)
        return (
            Rival("untuned", "untuned", start, (0.0,)),
            Rival(
                "random_search", f"best of {candidates} random", drawn, tuple(map(float, range(candidates)))
            ),
        )

    def describe(self, theta: Theta) -> dict[str, float]:
        """Return the hyperparameters' values by name."""
        return self.space.flat(theta)

    def about(self) -> dict[str, Any]:
        """Return what was tuned for what."""
        fields = dataclasses.asdict(self)
        return {"tasks": fields.pop("task")} | {name: value for name, value in fields.items() if value != ()}

    def publish(self, theta: Theta, directory: Path, origin: dict[str, Any]) -> Path:
        """Write theta, and hyperparameters.json: the values, and the optimizer as Python."""
        from .published import save_theta

        values, horizon = self.space.flat(theta), origin.get("horizon", [1])
        text = self.tuning.expression(values, horizon[-1])
        found = {"values": values, "set": dict(self.tuning.fixed), "optax": text}
        files = {"hyperparameters.json": json.dumps(found, indent=2) + "\n"}
        return save_theta(theta, directory, "hyperparameters", self.about(), origin, files)

    @functools.cached_property
    def space(self) -> Space:
        """What is tuned."""
        from ..tuning.space import Space, choose, parse_names

        names = parse_names(self.tune)
        tuned = choose(
            self.known,
            names,
            parse_pairs(self.bounds, "--bounds"),
            parse_pairs(self.start, "--start"),
        )
        for name in parse_pairs(self.set, "--set"):
            if name in names:
                raise UsageError(f"--set has {name}, which --tune names: a value to start from is --start's")
        return Space(tuned, tuple(self.groups))

    @functools.cached_property
    def known(self) -> Mapping[str, Hyperparameter]:
        """Every hyperparameter that there is, of all tasks if they are several."""
        from ..tuning.known import LOSS

        optimizer, schedule = self._parts
        own: dict[str, Any] = {}
        for task in self._tasks.values():
            own |= task.hyperparameters
        return {**LOSS, **schedule.hyperparameters, **optimizer.hyperparameters, **own}

    @functools.cached_property
    def tuning(self) -> Tuning:
        """What is tuned, of which optimizer under which schedule."""
        from ..tuning.written import Tuning

        return Tuning(self.space, self.optimizer, self.schedule, self._fixed)

    @functools.cached_property
    def _fixed(self) -> tuple[tuple[str, float], ...]:
        """Values that are not tuned: those of `set`, and the schedule's."""
        given = {}
        for name, text in parse_pairs(self.set, "--set").items():
            one = lopt.look_up("hyperparameter", self.known, name)
            try:
                given[name] = float(text)
                allowed = one.constraint.allows(given[name]) or given[name] == 0
            except ValueError:
                allowed = False
            if not allowed:
                raise UsageError(f"--set: {name} must be {one.constraint}, not {text}")
        tuned = {one.name for one in self.space.tuned}
        usual = {
            name: one.range[0] for name, one in self._parts[1].hyperparameters.items() if name not in tuned
        }
        return tuple((usual | given).items())

    @functools.cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Which leaves of the parameters have values of their own, by label; {"": ()} where all share one.

        Raises:
            UsageError: when the tasks of a mixture have parameters of different names.
        """
        from ..tuning.groups import group_leaves
        from ..tuning.space import parse_names

        scopes = set(parse_names(self.tune).values())
        if scopes == {"all"}:
            return {"": ()}
        if {"layer", "tensor"} <= scopes:
            raise UsageError("--tune takes NAME@layer or NAME@tensor, not both at once")
        found = [group_leaves(task, scopes - {"all"}) for task in self._tasks.values()]
        if any(list(one) != list(found[0]) for one in found[1:]):
            raise UsageError("values per layer or tensor need tasks whose parameters have the same names")
        return found[0]

    @functools.cached_property
    def _parts(self) -> Any:
        from ..tuning.optimizers import OPTIMIZERS
        from ..tuning.schedules import SCHEDULES

        optimizer = lopt.look_up("optimizer", OPTIMIZERS, self.optimizer)
        return optimizer, lopt.look_up("schedule", SCHEDULES, self.schedule)

    @functools.cached_property
    def _tasks(self) -> dict[str, Task]:
        return {name: tasks.build(name) for name in self.task}

    @functools.cached_property
    def _made(self) -> dict[str, TunedTraining]:
        from ..tuning.tuned_training import TunedTraining

        members = tuple(self.groups.values())
        members = () if members == ((),) else members
        return {
            name: TunedTraining(task, self.tuning, members, self.measured_on, self.measure)
            for name, task in self._tasks.items()
        }
