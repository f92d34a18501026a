"""The numbers of a benchmark: plain dataclasses that can be converted to JSON and back unchanged."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal

from lopt import UsageError, strict_json

from ..file_names import file_stem
from ..training.costs import Cost
from ..training.curve_metrics import seeds_won, typical_speed_up

Kind = Literal["learned", "tuned", "untuned"]
Floats = tuple[float, ...]
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """One optimizer on one task. Non-finite losses are stored as infinity."""

    optimizer: str
    """Its name in the benchmark."""
    label: str
    """Its name in reports."""
    kind: Kind
    rate: float | None
    """The learning rate of a baseline; None for a learned optimizer."""
    sweep: tuple[Floats, ...]
    """(learning rate, mean training loss over horizon and seeds) for every rate tried; () unless tuned."""
    mean_loss: Floats
    """Per seed: the mean training loss over the horizon."""
    final_loss: Floats
    """Per seed: the training loss at the end of the horizon."""
    held_out_loss: Floats
    """Per seed: the held-out loss after the last inner step."""
    steps_to_target: tuple[float | None, ...]
    """Per seed: inner steps to the reference's target; None for never."""
    speed_up: tuple[float | None, ...]
    """Per seed: the ratio of the reference's steps to its target to these; None for never."""
    diverged: tuple[bool, ...]
    """Per seed."""
    train_curves: tuple[Floats, ...]
    """Per seed: the training loss at the task's `curve_steps`."""
    held_out_curves: tuple[Floats, ...]
    """Per seed: the held-out loss at the task's `held_out_steps`."""
    held_out_accuracy: Floats = ()
    """Per seed: the share of held-out examples that are classified correctly after the last inner step; () if
    the task has none, or for a cached baseline from before it was measured."""
    seconds_per_step: float | None = None
    """Seconds of an inner step (gradient and update) of a single run on this machine, for subjects and the
    reference."""

    @property
    def at_grid_end(self) -> bool:
        """Whether the best rate is at an end of the grid, so a better one may be outside."""
        return bool(self.sweep) and self.rate in (self.sweep[0][0], self.sweep[-1][0])

    @property
    def typical_speed_up(self) -> float | None:
        """The median over seeds (see `curve_metrics.typical_speed_up`); None for never."""
        median = typical_speed_up([math.nan if x is None else x for x in self.speed_up])
        return None if math.isnan(median) else median

    @property
    def typical_steps(self) -> float | None:
        """The median over seeds of steps to the target, the higher one if there are two; None for never."""
        ordered = sorted(math.inf if steps is None else steps for steps in self.steps_to_target)
        median = ordered[len(ordered) // 2]
        return median if math.isfinite(median) else None

    def seeds_won(self, reference: Row) -> int:
        """Return the number of seeds on which the mean training loss is lower than another row's."""
        return seeds_won(self.mean_loss, reference.mean_loss)


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """The results of all optimizers on one task."""

    task: str
    horizon: int
    """Length of the runs in inner steps."""
    curve_steps: Floats
    """Inner steps, from 1, of the points of `train_curves`; in a long run, each point averages several
    steps."""
    held_out_steps: tuple[int, ...]
    """Inner steps done at the points of `held_out_curves`."""
    rows: tuple[Row, ...]
    declared: float = 1.0
    """The horizon given to learned optimizers that need one, as a multiple of the true one."""
    part: str = ""
    """The suite that the task comes from, in a suite that joins several."""

    @property
    def name(self) -> str:
        """The task's name, with the declared horizon if it is not the true one."""
        return self.task if self.declared == 1 else f"{self.task} (declared {self.declared:g}x)"

    @property
    def stem(self) -> str:
        """The stem of the names of its files and series, unique within a benchmark."""
        declared = "" if self.declared == 1 else f"-declared-{self.declared:g}x"
        return file_stem(f"{self.task}-{self.horizon}{declared}")

    def row(self, optimizer: str) -> Row:
        """Return an optimizer's row."""
        return next(row for row in self.rows if row.optimizer == optimizer)


@dataclasses.dataclass(frozen=True)
class Results:
    """A benchmark."""

    suite: str
    tests: str
    """What the suite tests."""
    subjects: tuple[str, ...]
    """The optimizers that are benchmarked; the other rows are baselines."""
    reference: str
    """The baseline that speed-ups and seeds won refer to."""
    seeds: int
    """Training runs per optimizer, rate and task."""
    seed: int
    """The seed of all runs."""
    held_out: str
    """The split that held-out losses are measured on."""
    tasks: tuple[TaskResult, ...]
    origins: dict[str, Any]
    """The provenance of learned optimizers (meta-training tasks, commit, ...), as far as known."""
    environment: dict[str, Any]
    """Command, commit, versions, devices, platform."""
    costs: dict[str, Cost] = dataclasses.field(default_factory=dict)
    """Costs of an update, for the learned optimizers and the reference; empty without learned optimizers."""

    def to_json(self) -> str:
        """Return JSON text, in which non-finite losses and "never" are null."""
        values = {"format": _FORMAT} | dataclasses.asdict(self)
        return json.dumps(strict_json.encode(values), indent=1, allow_nan=False) + "\n"

    def without_curves(self) -> Results:
        """Return the results without curves, which is a hundredth of the size."""
        bare = {"train_curves": (), "held_out_curves": ()}
        tasks = (
            dataclasses.replace(
                task,
                curve_steps=(),
                held_out_steps=(),
                rows=tuple(dataclasses.replace(row, **bare) for row in task.rows),
            )
            for task in self.tasks
        )
        return dataclasses.replace(self, tasks=tuple(tasks))

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Read a result of `to_json`.

        Raises:
            UsageError: for text that is not the results of a benchmark.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise UsageError(f"this version of lopt reads format {_FORMAT}")
            tasks = tuple(_read_task(task) for task in values.pop("tasks"))
            costs = {name: Cost(**cost) for name, cost in values.pop("costs", {}).items()}
            return cls(**values | {"tasks": tasks, "subjects": tuple(values["subjects"]), "costs": costs})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"not the results of a benchmark: {error}") from error


_LOSSES = ("sweep", "mean_loss", "final_loss", "held_out_loss", "train_curves", "held_out_curves")


def _read_task(values: dict[str, Any]) -> TaskResult:
    rows = tuple(Row(**{k: _tuples(v, k in _LOSSES) for k, v in row.items()}) for row in values["rows"])
    return TaskResult(**{k: _tuples(v, False) for k, v in values.items() if k != "rows"}, rows=rows)


def _tuples(value: Any, losses: bool) -> Any:
    if losses:
        value = strict_json.decode(value, math.inf)
    return tuple(_tuples(item, False) for item in value) if isinstance(value, list) else value
