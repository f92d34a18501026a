"""Training a learned optimizer: theta is the rule, on one task or on several.

Importing this module imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lopt
import tasks
from lopt import UsageError

from .base import PROBLEMS, Problem, Rival, Training, Trial
from .options import check_names, check_numbers, parse_options
from .validations import Validation, parse_validations

if TYPE_CHECKING:
    from lopt import LearnedOptimizer

    from ..estimators.base import Estimator
    from .inner_training import InnerTraining


_START = "start"
"""Where a run keeps what it started from."""


@PROBLEMS.register("learned-optimizer")
@dataclasses.dataclass(frozen=True)
class LearnedOptimizerTraining(Problem):
    """Meta-train a learned optimizer on the training of some networks."""

    task: tuple[str, ...] = ("digits-mlp-family",)
    """Inner task or family to train on, or several, a mixture; `lopt-train --list` shows all."""
    task_weights: tuple[float, ...] = ()
    """Weight of each task in a mixture, in the order of the tasks; default: all the same."""
    optimizer: str = "star"
    """Architecture of the learned optimizer."""
    optimizer_options: tuple[str, ...] = ()
    """Static fields of the architecture, as NAME=VALUE."""
    init_from: str | None = None
    """Published optimizer (name or directory) whose theta to start from; default: a random theta."""
    measured_on: Literal["train", "inner_valid"] = "train"
    """Which data the losses are measured on; inner_valid costs a forward pass per inner step."""
    validate_on: tuple[str, ...] = ()
    """Tasks to judge theta on, held-out ones say, as NAME or NAME:HORIZON (inner steps), all with the same
    weight: what is best on these is the best checkpoint. Default: the tasks trained on, by their weights, at
    the longest horizon."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", (self.task,))
        parse_options(self.optimizer_options, "--optimizer-options")
        check_names(self.task, "--task")
        check_numbers(self.task_weights, len(self.task), "--task-weights")
        parse_validations(self.validate_on)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks."""
        return self.task

    @property
    def weights(self) -> dict[str, float]:
        """The tasks' weights; they sum to 1."""
        given = self.task_weights or (1.0,) * len(self.task)
        return {name: weight / sum(given) for name, weight in zip(self.task, given, strict=True)}

    @property
    def validations(self) -> tuple[Validation, ...]:
        """What theta is judged on, in order."""
        given = parse_validations(self.validate_on)
        return given or tuple(Validation(*pair) for pair in self.weights.items())

    @property
    def labels(self) -> tuple[str, ...]:
        """The tasks to be judged on, with their horizons where they have their own."""
        return tuple(one.label for one in self.validations)

    def check(self, estimator: Estimator) -> None:
        """Refuse a horizon to be judged at that is no multiple of the window."""
        for entry in self.validations:
            entry.check(estimator.window)

    def members(self) -> dict[str, Training]:
        """Return the tasks' inner trainings.

        Raises:
            UsageError: for an unknown task, with the nearest ones.
            tasks.DatasetNotPreparedError: when a task needs data that is not on this machine.
        """
        return {name: Training(self._made[name], weight) for name, weight in self.weights.items()}

    def trials(self, estimator: Estimator) -> tuple[Trial, ...]:
        """Return the inner trainings of --validate-on, or of the tasks trained on at the longest horizon."""
        longest, made = estimator.horizon.bounds()[1], self._made
        return tuple(Trial(e.label, made[e.task], e.horizon or longest, e.weight) for e in self.validations)

    def rivals(self, candidates: int) -> tuple[Rival, ...]:
        """Return Adam at so many learning rates, evenly spaced in their logarithm from 1e-4 to 1."""
        if not candidates:
            return ()
        import jax
        import jax.numpy as jnp

        rates = lopt.log_grid(*lopt.ADAM_RATES, candidates)
        create = jax.vmap(lambda rate: lopt.LearnableAdam.create(jax.random.key(0), learning_rate=rate))
        return (Rival("tuned_adam", "tuned Adam", create(jnp.asarray(rates)), rates),)

    def theta(self, key: Any) -> LearnedOptimizer:
        """Return the learned optimizer that a run starts from: a published one, or one of random weights."""
        if self.init_from is not None:
            return lopt.load(self.init_from)
        options = parse_options(self.optimizer_options, "--optimizer-options")
        try:
            return lopt.create(self.optimizer, key, **options)
        except TypeError as error:
            raise UsageError(f"optimizer {self.optimizer}: {error}") from error

    def keep(self, run_dir: Path, theta: LearnedOptimizer) -> None:
        """Keep the published optimizer of `init_from`, so that the original may move or change.

        Raises:
            lopt.PublishedOptimizerError: when it can't be written.
        """
        if self.init_from is not None and not _is_kept(run_dir):
            lopt.save(theta, run_dir / _START, lopt.read_config(self.init_from)["provenance"])

    def kept_in(self, run_dir: Path) -> LearnedOptimizerTraining:
        """Return the problem that starts from the copy, where there is one."""
        if self.init_from is None or not _is_kept(run_dir):
            return self
        return dataclasses.replace(self, init_from=str((run_dir / _START).resolve()))

    def about(self) -> dict[str, Any]:
        """Return the tasks, and their weights where they are several."""
        several = {"task_weights": list(self.weights.values())} if self.task[1:] else {}
        return {"tasks": list(self.task)} | several

    def publish(self, theta: LearnedOptimizer, directory: Path, origin: dict[str, Any]) -> Path:
        """Write config.json and theta.safetensors, which `lopt.load` and `lopt.as_optax` read.

        Raises:
            lopt.PublishedOptimizerError: when the directory holds something else, or can't be written.
        """
        return lopt.save(theta, directory, origin)

    @functools.cached_property
    def _made(self) -> dict[str, InnerTraining]:
        """The inner trainings of all tasks, each made once: what is trained on may be judged on, too."""
        from .inner_training import InnerTraining

        names = dict.fromkeys((*self.task, *(entry.task for entry in self.validations)))
        return {name: InnerTraining(tasks.build(name), self.measured_on) for name in names}


def _is_kept(run_dir: Path) -> bool:
    """Tell whether the copy of what a run started from is whole: its config is written last."""
    return (run_dir / _START / "config.json").exists()
