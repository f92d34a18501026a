"""The table of a run's metrics: name, meaning, unit and scope of each.

The meta-step and the probes use names without groups; `grouped` maps them to the names in trackers. Trackers,
the dashboard and the progress display use this table; a test checks that runs log exactly its metrics.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


class Scope(enum.Enum):
    """The scope of a metric: there is one number for each of these."""

    RUN = "a run"
    MEMBER = "each member of a mixture"
    TRIAL = "each trial that theta is validated on"
    TRIALS = "each of several trials"
    LEAF = "each leaf of theta"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        name: the name in trackers, GROUP/NAME; {task} is a member's or a trial's name, {leaf} a leaf's.
        about: the meaning.
        unit: the unit; empty for a plain number, and for the objective's unit.
        scope: the scope.
        best: whether a run is summarised by its lowest value.
    """

    name: str
    about: str
    unit: str = ""
    scope: Scope = Scope.RUN
    best: bool = False

    def of(self, name: str) -> str:
        """Return the metric's name for a member, a trial or a leaf."""
        return self.name.format(task=name, leaf=name)


METRICS: dict[str, Metric] = {}
"""All metrics that a run can log, by name.

A validation with its own horizon, NAME:HORIZON, is logged as the task NAME-HORIZON.
"""


def _row(name: str, about: str, unit: str = "", scope: Scope = Scope.RUN, best: bool = False) -> Metric:
    METRICS[name] = Metric(name, about, unit, scope, best)
    return METRICS[name]


def names_of(scope: Scope) -> tuple[str, ...]:
    """Return the names of the metrics of a scope."""
    return tuple(name for name, metric in METRICS.items() if metric.scope is scope)


INNER_STEPS = _row(
    "inner_steps",
    "inner steps done so far, over all particles and members: the other x-axis",
    unit="inner steps",
)
LOSS = _row(
    "meta/loss",
    "mean loss of the inner steps; in a mixture, the tasks' mean by their weights",
    best=True,
)
_row("meta/objective", "mean objective of the episodes that ended; in a mixture, by the tasks' weights")
_row(
    "meta/silent",
    "share of meta-steps without an update, before there are usable estimates: the first ones with "
    "--phase random; in a mixture the first",
    unit="share",
)
_row("meta/finished", "share of episodes that reached their horizon, per window", unit="share")
_row("meta/age", "mean age of the episodes, in inner steps", unit="inner steps")
VALID_OBJECTIVE = _row(
    "meta/valid_objective",
    "objective of the unperturbed theta on fixed episodes, a mean over --validate-on",
    best=True,
)
TUNED_ADAM = _row(
    "meta/tuned_adam",
    "the same for Adam with the best of its learning rates: a line to get below",
)
_row("tasks/{task}/loss", "mean loss of the task's inner steps", scope=Scope.MEMBER)
_row("tasks/{task}/objective", "mean objective of the task's episodes that ended", scope=Scope.MEMBER)
_row("tasks/{task}/diverged", "share of the task's episodes that diverged", unit="share", scope=Scope.MEMBER)
_row("tasks/{task}/particle_norm", "mean norm of an estimate, before it is normalised", scope=Scope.MEMBER)
_row("tasks/{task}/scale", "running mean of that norm, by which estimates are divided", scope=Scope.MEMBER)
TRIAL_OBJECTIVE = _row("tasks/{task}/valid_objective", "the objective on this task", scope=Scope.TRIALS)
TRIAL_TUNED_ADAM = _row("tasks/{task}/tuned_adam", "the same for Adam, tuned on it", scope=Scope.TRIALS)
CURVE = _row(
    "tasks/{task}/curve",
    "loss over inner steps in the validation, of theta and of tuned Adam",
    scope=Scope.TRIAL,
)
FINAL_LOSS = _row("tasks/{task}/final_loss", "loss of the validation's last window", scope=Scope.TRIAL)
_row("estimator/gradient_norm", "norm of the mean estimate; in a mixture, of normalised ones")
_row("estimator/particle_norm", "mean norm of a particle's estimate; in a mixture, over its task's scale")
_row(
    "estimator/particle_variance",
    "trace of the covariance of a particle's estimate; in a mixture, weighted",
)
_row(
    "estimator/signal_to_noise",
    "squared norm of the expected gradient over the mean estimate's variance; in a mixture a lower "
    "bound, because differences between the tasks' gradients count as noise",
)
_row("estimator/particle_cosine", "agreement of two particles' estimates, weighted by norms")
_row("estimator/variance_growth", "elasticity of an estimate's mean square with the age of its episode")
HYSTERESIS = _row(
    "estimator/hysteresis",
    "relative change of the estimates due to theta's motion within episodes",
)
_row("theta/norm", "norm of theta")
_row("theta/update_norm", "mean norm of a meta-step's update of theta")
THETA_VALUE = _row("theta/value/{leaf}", "a leaf of theta that is a single number", scope=Scope.LEAF)
THETA_HISTOGRAM = _row("theta/histogram/{leaf}", "distribution of a leaf of theta", scope=Scope.LEAF)
TUNED = _row("tuned/{leaf}", "value of a hyperparameter that is tuned", scope=Scope.LEAF)
SPEED = _row(
    "time/inner_steps_per_second",
    "inner steps per second, over the last five calls",
    unit="inner steps a second",
)
_row(
    "time/host_share",
    "share of the time of the last five calls in which the host did not wait for devices",
    unit="share",
)
CHECKPOINT_SECONDS = _row(
    "time/checkpoint_seconds",
    "time that the last checkpoint blocked training",
    unit="seconds",
)
_row("time/validation_seconds", "time that the last validation and its probes took", unit="seconds")
SECONDS = _row(
    "time/seconds",
    "time since the run began, over all its sessions, with compilations and validations",
    unit="seconds",
)
ETA_SECONDS = _row("time/eta_seconds", "time to the last meta-step, at the current rate", unit="seconds")
DIVERGED = _row(
    "robust/diverged",
    "share of episodes with a loss that was not finite or at the task's ceiling",
    unit="share",
)
VALID_DIVERGED = _row("robust/valid_diverged", "the same for the validation's episodes", unit="share")
_row("robust/clipped", "share of particles' estimates that were clipped", unit="share")
_row("robust/dropped", "share of particles' estimates that were not finite, and left out", unit="share")
_row("robust/gradient_clipped", "share of meta-steps whose mean gradient was clipped", unit="share")
_row("robust/skipped", "share of meta-steps skipped, as theta would have become non-finite", unit="share")


def of_rival(rival: str, trial: str | None = None) -> str:
    """Return the metric of a reference's objective (such as tuned Adam's), on one trial or over all."""
    return f"meta/{rival}" if trial is None else f"tasks/{trial}/{rival}"


_GROUPS = {name.rpartition("/")[2]: name for name in names_of(Scope.RUN)}
_RENAMED = {"theta_norm": "theta/norm", "update_norm": "theta/update_norm"}


def grouped(values: Mapping[str, Value]) -> dict[str, Value]:
    """Map names without groups to the names in trackers.

    Names with a group stay; unknown names are an estimator's own, and go to `estimator/`.
    """
    known = _GROUPS | _RENAMED
    return {n if "/" in n else known.get(n, f"estimator/{n}"): value for n, value in values.items()}
