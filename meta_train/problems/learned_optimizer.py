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
"""Folder of a run for the optimizer that it started from."""


@PROBLEMS.register("learned-optimizer")
@dataclasses.dataclass(frozen=True)
class LearnedOptimizerTraining(Problem):
    """Meta-train a learned optimizer on inner tasks."""

    task: tuple[str, ...] = ("digits-mlp-family",)
    """Inner task or family to train on; several make a mixture; `lopt-train --list` shows all."""
    task_weights: tuple[float, ...] = ()
    """Weight of each task in a mixture, in the order of the tasks; default: equal weights."""
    optimizer: str = "star"
    """Architecture of the learned optimizer."""
    optimizer_options: tuple[str, ...] = ()
    """Static fields of the architecture, as NAME=VALUE."""
    init_from: str | None = None
    """Published optimizer (name, directory or hf://USER/NAME) whose theta is the initial theta; default: a
    random theta. Its architecture is the run's; --optimizer-options may change fields that leave theta's
    shapes as they are."""
    freeze: tuple[str, ...] = ()
    """What of theta is not trained, as patterns of the names of its arrays: mlp, or mlp.*.bias. Frozen arrays
    are neither perturbed nor updated."""
    train_only: tuple[str, ...] = ()
    """What of theta is trained, as patterns like those of --freeze; everything else is frozen."""
    measured_on: Literal["train", "inner_valid"] = "train"
    """Data that the losses are measured on; inner_valid costs one more forward pass per inner step."""
    validate_on: tuple[str, ...] = ()
    """Tasks to validate theta on, such as held-out ones, as NAME or NAME:HORIZON (inner steps), all with the
    same weight; they decide the best checkpoint. Default: the training tasks, by their weights, at the
    longest horizon."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", (self.task,))
        parse_options(self.optimizer_options, "--optimizer-options")
        check_names(self.task, "--task")
        check_numbers(self.task_weights, len(self.task), "--task-weights")
        parse_validations(self.validate_on)
        if self.freeze and self.train_only:
            raise UsageError("--freeze and --train-only both say what is trained: give one of them")

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
        """The validations, in order."""
        given = parse_validations(self.validate_on)
        return given or tuple(Validation(*pair) for pair in self.weights.items())

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the validation tasks, which include their horizons if given."""
        return tuple(one.label for one in self.validations)

    def check(self, estimator: Estimator) -> None:
        """Check that the horizons of validations are multiples of the window."""
        for entry in self.validations:
            entry.check(estimator.window)

    def members(self) -> dict[str, Training]:
        """Return the tasks' inner trainings.

        Raises:
            UsageError: for an unknown task, with similar ones.
            tasks.DatasetNotPreparedError: if a task needs data that is not on this machine.
        """
        return {name: Training(self._made[name], weight) for name, weight in self.weights.items()}

    def trials(self, estimator: Estimator) -> tuple[Trial, ...]:
        """Return the inner trainings of --validate-on, or of the training tasks at the longest horizon."""
        longest, made = estimator.horizon.bounds()[1], self._made
        return tuple(Trial(e.label, made[e.task], e.horizon or longest, e.weight) for e in self.validations)

    def rivals(self, candidates: int) -> tuple[Rival, ...]:
        """Return Adam with so many learning rates, logarithmically spaced from 1e-4 to 1."""
        if not candidates:
            return ()
        import jax
        import jax.numpy as jnp

        rates = lopt.log_grid(*lopt.ADAM_RATES, candidates)
        create = jax.vmap(lambda rate: lopt.LearnableAdam.create(jax.random.key(0), learning_rate=rate))
        return (Rival("tuned_adam", "tuned Adam", create(jnp.asarray(rates)), rates),)

    def theta(self, key: Any) -> LearnedOptimizer:
        """Return the learned optimizer that a run starts from: a published one, or one drawn at random."""
        options = parse_options(self.optimizer_options, "--optimizer-options")
        if self.init_from is not None:
            return _with_fields(lopt.load(self._start_directory), options)
        return _create(self.optimizer, options, key)

    def trained(self, theta: LearnedOptimizer) -> Any:
        """Return what `freeze` and `train_only` leave to train."""
        return lopt.trainable(theta, self.freeze, self.train_only)

    def keep(self, run_dir: Path, theta: LearnedOptimizer) -> None:
        """Copy the published optimizer of `init_from`, so that the original may be moved or changed.

        Raises:
            lopt.PublishedOptimizerError: if it can't be written.
        """
        if self.init_from is not None and not _is_kept(run_dir):
            lopt.save(theta, run_dir / _START, lopt.read_config(self._start_directory)["provenance"])

    def kept_in(self, run_dir: Path) -> LearnedOptimizerTraining:
        """Return the problem that starts from the copy, if there is one."""
        if self.init_from is None or not _is_kept(run_dir):
            return self
        return dataclasses.replace(self, init_from=str((run_dir / _START).resolve()))

    def about(self) -> dict[str, Any]:
        """Return the tasks, their weights if there are several, and what was trained if not all of theta."""
        several = {"task_weights": list(self.weights.values())} if self.task[1:] else {}
        chosen = {name: list(getattr(self, name)) for name in ("freeze", "train_only") if getattr(self, name)}
        return {"tasks": list(self.task)} | several | chosen

    def publish(self, theta: LearnedOptimizer, directory: Path, origin: dict[str, Any]) -> Path:
        """Write config.json and theta.safetensors, which `lopt.load` and `lopt.as_optax` read.

        Raises:
            lopt.PublishedOptimizerError: if the directory holds something else, or can't be written.
        """
        return lopt.save(theta, directory, origin)

    @functools.cached_property
    def _start_directory(self) -> Path:
        """The directory of `init_from`; what is on the Hub is looked up once."""
        assert self.init_from is not None
        return lopt.locate(self.init_from)

    @functools.cached_property
    def _made(self) -> dict[str, InnerTraining]:
        """The inner training of each task, made once even if a task is trained and validated on."""
        from .inner_training import InnerTraining

        names = dict.fromkeys((*self.task, *(entry.task for entry in self.validations)))
        return {name: InnerTraining(tasks.build(name), self.measured_on) for name in names}


def _is_kept(run_dir: Path) -> bool:
    """Return whether the copy of the initial optimizer is complete: its config is written last."""
    return (run_dir / _START / "config.json").exists()


def _create(name: str, options: dict[str, Any], key: Any) -> LearnedOptimizer:
    try:
        return lopt.create(name, key, **options)
    except TypeError as error:
        raise UsageError(f"optimizer {name}: {error}") from error


def _with_fields(rule: LearnedOptimizer, options: dict[str, Any]) -> LearnedOptimizer:
    """Return a published optimizer with other static fields.

    Raises:
        UsageError: for a name that is no static field, and for a value with which theta would not fit.
    """
    if not options:
        return rule
    import jax

    fields, name = lopt.static_fields(rule), lopt.architecture_name(rule)
    for option in options.keys() - fields.keys():
        raise UsageError(f"with --init-from, --optimizer-options can set {', '.join(fields)}, not {option}")
    shapes = jax.eval_shape(functools.partial(_create, name, fields | options), jax.random.key(0))
    fits = [leaf.shape for leaf in jax.tree.leaves(shapes)] == [leaf.shape for leaf in jax.tree.leaves(rule)]
    if not fits:
        given = " ".join(f"{key}={value}" for key, value in options.items())
        raise UsageError(f"the theta of --init-from does not fit {name} with {given}: leave such sizes out")
    return rule.replace(**options)
