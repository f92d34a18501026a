"""Sends a benchmark to W&B: its numbers, its curves, and its files as artifacts."""

from __future__ import annotations

from typing import Any

import numpy as np

from meta_train import Curves, WandB, WandBOptions

from ..file_names import file_stem
from ..statistics.results import Results, TaskResult
from .report_files import Report


def track(results: Results, report: Report, options: WandBOptions) -> None:
    """Log a benchmark as a separate W&B run, of the job type "eval".

    Args:
        results: the numbers.
        report: the files to send; W&B's own files are stored beside them.
        options: the run's place in W&B.

    Raises:
        ValueError: if W&B is not installed or can't start; the message says what to do.
    """
    about = {
        "suite": results.suite,
        "optimizers": list(results.subjects),
        "seeds": results.seeds,
        "provenance": results.environment,
        "origins": results.origins,
    }
    with WandB(report.json.parent, options, about, job_type="eval") as tracker:
        tracker.log(0, {name: value for task in results.tasks for name, value in _values(task).items()})
        for path in report.files:
            tracker.log_artifact(path, f"{file_stem(results.suite)}-{path.name}", "evaluation")


def _values(task: TaskResult) -> dict[str, Any]:
    """Return a task's numbers, means over seeds, and its curves."""
    place = f"eval/{task.stem}"
    values: dict[str, Any] = {}
    for row in task.rows:
        for name in ("mean_loss", "final_loss", "held_out_loss"):
            values[f"{place}/{name}/{row.optimizer}"] = float(np.mean(getattr(row, name)))
        if row.held_out_accuracy:
            values[f"{place}/held_out_accuracy/{row.optimizer}"] = float(np.mean(row.held_out_accuracy))
        if row.typical_speed_up is not None:
            values[f"{place}/speed_up/{row.optimizer}"] = row.typical_speed_up
    lines = {row.label: tuple(map(float, np.mean(row.train_curves, axis=0))) for row in task.rows}
    return values | {f"{place}/curve": Curves(task.curve_steps, lines)}
