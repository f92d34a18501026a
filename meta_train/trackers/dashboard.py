"""The W&B dashboard as data: sections of panels over the names of `metrics.METRICS`.

A name with {task} or {leaf} stands for the metrics of all tasks, or of all leaves of theta.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from lopt import UsageError

from ..config.files import run_from_json
from ..config.run import Run
from ..host.files import is_run_id, read_object, read_whole
from ..objectives import MeanLogLoss
from .metrics import METRICS, TUNED, TUNED_ADAM, Scope, names_of
from .wandb_start import default_project

META_STEP = "meta_step"  # every record has it: the axis of all panels except one
REFERENCE = TUNED_ADAM.name


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: the title.
        metrics: the metrics that it shows.
        kind: `lines` for numbers in one chart, `each` for a chart per metric, `media` for pictures.
        log: whether the y axis is logarithmic.
        x: the x axis.
    """

    title: str
    metrics: tuple[str, ...]
    kind: Literal["lines", "each", "media"] = "lines"
    log: bool = False
    x: str = META_STEP


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled group of panels, with a sentence that explains it."""

    name: str
    about: str
    panels: tuple[Panel, ...]


_META_LOSS = ("meta/loss", "meta/valid_objective", REFERENCE)

SECTIONS = (
    Section(
        "meta",
        "The meta-objective: the validation should get below the line of tuned Adam.",
        (
            Panel("Meta-loss: train, validation, tuned Adam", _META_LOSS, log=True),
            Panel("The same over inner steps", _META_LOSS, log=True, x="inner_steps"),
            Panel("Objective of the episodes that ended", ("meta/objective",), log=True),
            Panel("Episodes that ended, meta-steps in silence (shares)", ("meta/finished", "meta/silent")),
            Panel("Age of the episodes (inner steps)", ("meta/age",)),
        ),
    ),
    Section(
        "tasks",
        "How theta trains each task, beside tuned Adam, and in a mixture each task's numbers: unless the "
        "objective is a mean of logarithms, tasks with large losses dominate the averages in meta.",
        (
            Panel("Curves", ("tasks/{task}/curve",), "media"),
            Panel("Final losses", ("tasks/{task}/final_loss",), log=True),
            Panel("Validation of each", ("tasks/{task}/valid_objective",), log=True),
            Panel("Tuned Adam on each", ("tasks/{task}/tuned_adam",), log=True),
            Panel("Training loss of each", ("tasks/{task}/loss",), log=True),
            Panel("Objective of each", ("tasks/{task}/objective",), log=True),
            Panel("Diverged episodes of each", ("tasks/{task}/diverged",)),
            Panel("Norms of each task's estimates", ("tasks/{task}/particle_norm",), log=True),
            Panel("Scales of the tasks", ("tasks/{task}/scale",), log=True),
        ),
    ),
    Section(
        "estimator",
        "The quality of the meta-gradient's estimates: a signal-to-noise ratio far below 1 "
        "calls for more particles or another sigma, variance that grows with age for shorter episodes.",
        (
            Panel("Signal-to-noise ratio", ("estimator/signal_to_noise",)),
            Panel("Norms", ("estimator/gradient_norm", "estimator/particle_norm"), log=True),
            Panel("Variance of a particle", ("estimator/particle_variance",), log=True),
            Panel("Agreement of particles", ("estimator/particle_cosine",)),
            Panel("Growth of the variance with age", ("estimator/variance_growth",)),
            Panel("Hysteresis", ("estimator/hysteresis",)),
        ),
    ),
    Section(
        "theta",
        "Theta, and its change per meta-step.",
        (
            Panel("Norm", ("theta/norm",)),
            Panel("Norm of an update", ("theta/update_norm",), log=True),
            Panel("Numbers", ("theta/value/{leaf}",)),
            Panel("Distribution", ("theta/histogram/{leaf}",), "each"),
        ),
    ),
    Section(
        "tuned",
        "The hyperparameters of a run that tunes any.",
        (Panel("Values", ("tuned/{leaf}",), "each"),),
    ),
    Section(
        "time",
        "Where the time goes: a host's share near 1 means that the devices wait.",
        (
            Panel("Inner steps per second", ("time/inner_steps_per_second",)),
            Panel("Share of the host", ("time/host_share",)),
            Panel("Interruptions (seconds)", ("time/checkpoint_seconds", "time/validation_seconds")),
            Panel("Time left, and time since the start (seconds)", ("time/eta_seconds", "time/seconds")),
        ),
    ),
    Section(
        "robust",
        "What was clipped or left out: look into anything that rises here.",
        (
            Panel("Diverged episodes", ("robust/diverged", "robust/valid_diverged")),
            Panel("Particles clipped or dropped", ("robust/clipped", "robust/dropped")),
            Panel("Meta-steps clipped or skipped", ("robust/gradient_clipped", "robust/skipped")),
        ),
    ),
)
"""The sections of the dashboard, in order."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """The project and run of a dashboard.

    Attributes:
        project: W&B's project.
        entity: the project's owner; W&B's default if empty.
        known: the known metrics that a name with {task} or {leaf} stands for.
        run_id: the run whose tuned Adam is drawn as a dashed line.
        positive: whether objectives are positive, so that logarithmic axes are possible.
    """

    project: str = "lopt"
    entity: str = ""
    known: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    run_id: str | None = None
    positive: bool = True

    def with_names(self, templates: Iterable[str], tasks: Iterable[str]) -> Subject:
        """Add the names that templates with {task} stand for; none if there are no tasks."""
        known, tasks = dict(self.known), tuple(tasks)
        for template in templates:
            added = (template.format(task=task) for task in tasks)
            known[template] = tuple(dict.fromkeys((*known.get(template, ()), *added)))
        return dataclasses.replace(self, known=known)

    def with_tasks(self, tasks: Sequence[str]) -> Subject:
        """Add the names for tasks that theta is validated on, if there are any."""
        return self.with_names(names_of(Scope.TRIAL), tasks) if tasks else self

    def of_run(self, run: Run) -> Subject:
        """Add the names that a run logs for its tasks; templates that it does not log expand to nothing."""
        tasks, judged = run.problem.names, run.problem.labels
        subject = self.with_names(names_of(Scope.MEMBER), tasks[1:] and tasks)
        subject = subject.with_names(names_of(Scope.TRIAL), judged)
        subject = dataclasses.replace(subject, known={TUNED.name: ()} | dict(subject.known))
        return subject.with_names(names_of(Scope.TRIALS), judged[1:] and judged)

    def expand(self, metrics: Iterable[str]) -> tuple[str, ...]:
        """Replace names with {task} or {leaf} by the known ones; the others stay."""
        return tuple(known for name in metrics for known in self.known.get(name, (name,)))


def panel_metrics(subject: Subject = Subject(), sections: Sequence[Section] = SECTIONS) -> set[str]:
    """Return all metrics of panels and axes; names with {task} or {leaf} stay if they are not known."""
    panels = [panel for section in sections for panel in section.panels]
    shown = {name for panel in panels for name in subject.expand(panel.metrics)}
    return shown | {panel.x for panel in panels} - {META_STEP}


def read_subject(run_dir: Path) -> Subject:
    """Read the subject of a run's dashboard from its configuration, its id, and the names logged so far.

    Raises:
        UsageError: if it is not a run directory.
    """
    try:
        run = run_from_json(read_whole(run_dir / "config.json"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{run_dir} is not a run directory: it has no config.json of a run") from error
    run_id = (read_object(run_dir / "run.json") or {}).get("id")
    subject = Subject(
        run.show.wandb_project or default_project(),
        run.show.wandb_entity or os.environ.get("WANDB_ENTITY") or "",
        known=match_templates(_logged(run_dir / "metrics.jsonl")),
        run_id=run_id if is_run_id(run_id) else None,
        positive=not isinstance(run.method.estimator.objective, MeanLogLoss),
    )
    return subject.of_run(run)


def match_templates(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Group metrics by the name with {task} or {leaf} that stands for them."""
    names = sorted(names)
    matched = {t: tuple(n for n in names if re.fullmatch(pattern(t), n)) for t in METRICS if "{" in t}
    return {template: found for template, found in matched.items() if found}


def pattern(template: str) -> str:
    """Return a regular expression for the metrics that a name with {task} or {leaf} stands for."""
    return re.sub(r"\{[a-z]+\}", ".+", template)


def _logged(metrics: Path) -> set[str]:
    names: set[str] = set()
    if metrics.is_file():
        with metrics.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(
                    ValueError, AttributeError, RecursionError
                ):  # cut short, or not a record
                    names |= json.loads(line).keys()
    return names
