"""The names under which a run's numbers are logged, in groups, and what they mean.

The meta-step and the probes name their numbers plainly; `grouped` gives them the names that trackers see.
`METRICS` lists every name that a run can log: dashboards are made from it, and a test holds runs to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

METRICS: dict[str, str] = {
    "inner_steps": "inner steps done so far, over all particles and members: the other axis",
    "meta/loss": "mean loss of the inner steps; in a mixture, the tasks' mean by their weights",
    "meta/objective": "mean objective of the episodes that ended; in a mixture, by the tasks' weights",
    "meta/silent": "share of meta-steps in which theta stays, as nothing is known yet: the first ones, with "
    "--phase random; in a mixture the very first",
    "meta/finished": "share of episodes that reached their horizon, per window",
    "meta/age": "mean age of the episodes, in inner steps",
    "meta/valid_objective": "objective of the unperturbed theta on fixed episodes, a mean over --validate-on",
    "meta/tuned_adam": "the same of Adam with the best of its learning rates: a line to get below",
    "tasks/{task}/loss": "in a mixture: mean loss of the task's inner steps",
    "tasks/{task}/objective": "in a mixture: mean objective of the task's episodes that ended",
    "tasks/{task}/diverged": "in a mixture: share of the task's episodes that diverged",
    "tasks/{task}/particle_norm": "in a mixture: mean norm of an estimate, before it is normalised",
    "tasks/{task}/scale": "in a mixture: running mean of that norm, by which estimates are divided",
    "tasks/{task}/valid_objective": "where theta is judged on several tasks: its objective on the one",
    "tasks/{task}/tuned_adam": "the same of Adam, tuned on this one",
    "tasks/{task}/curve": "loss over inner steps in the validation, of theta and of tuned Adam",
    "tasks/{task}/final_loss": "loss of the validation's last window",
    "estimator/gradient_norm": "norm of the mean estimate; in a mixture, of normalised ones",
    "estimator/particle_norm": "mean norm of a particle's estimate; in a mixture, over its task's scale",
    "estimator/particle_variance": "trace of the covariance of a particle's estimate; in a mixture, weighted",
    "estimator/signal_to_noise": "squared norm of the expected gradient over the mean estimate's variance; "
    "in a mixture a lower bound, as what sets the tasks apart is taken for noise",
    "estimator/particle_cosine": "agreement of two particles' estimates, weighted by norms",
    "estimator/variance_growth": "elasticity of an estimate's mean square with the age of its episode",
    "estimator/hysteresis": "what theta's motion within episodes does to the estimates, relative",
    "theta/norm": "norm of theta",
    "theta/update_norm": "mean norm of what a meta-step adds to theta",
    "theta/value/{leaf}": "a leaf of theta that is a single number",
    "theta/histogram/{leaf}": "distribution of a leaf of theta",
    "time/inner_steps_per_second": "inner steps per second, since the last record",
    "time/host_share": "share of the time since the last record in which the host did not wait for devices",
    "time/checkpoint_seconds": "time that the last checkpoint held up training",
    "time/validation_seconds": "time that the last validation and its probes took",
    "time/eta_seconds": "time to the last meta-step, at the present rate",
    "robust/diverged": "share of episodes with a loss that was not finite or at the task's ceiling",
    "robust/valid_diverged": "the same of the validation's episodes",
    "robust/clipped": "share of particles' estimates that were clipped",
    "robust/dropped": "share of particles' estimates that were not finite, and left out",
    "robust/gradient_clipped": "share of meta-steps whose mean gradient was clipped",
    "robust/skipped": "share of meta-steps left out, since theta would not have stayed finite",
}
"""Every name that a run can log. {task} is a task's name, {leaf} a leaf of theta.

What is judged at a horizon of its own, NAME:HORIZON, is logged as the task NAME-HORIZON.
"""

OF_A_MIXTURE = tuple(name for name, about in METRICS.items() if about.startswith("in a mixture: "))
"""Names that only mixtures log, for each task that is trained on."""
OF_A_VALIDATION = ("tasks/{task}/curve", "tasks/{task}/final_loss")
"""Names for each task that theta is judged on."""
OF_SEVERAL_VALIDATIONS = ("tasks/{task}/valid_objective", "tasks/{task}/tuned_adam")
"""Names for each of these where there are several."""

_GROUPS = {name.rpartition("/")[2]: name for name in METRICS if "{" not in name}
_RENAMED = {"theta_norm": "theta/norm", "update_norm": "theta/update_norm"}


def grouped(values: Mapping[str, Value]) -> dict[str, Value]:
    """Give plainly named numbers the names that trackers see.

    What is grouped already stays as it is; what nobody knows is an estimator's own, and goes to `estimator/`.
    """
    known = _GROUPS | _RENAMED
    return {n if "/" in n else known.get(n, f"estimator/{n}"): value for n, value in values.items()}
