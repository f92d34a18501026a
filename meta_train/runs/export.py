"""The theta of a run with its provenance, as a value or exported to a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from lopt import LearnedOptimizer, UsageError

from ..config.run import Run
from ..dynamics import Theta
from ..estimators import ESTIMATORS
from .directory import RunDirectory, RunDirectoryError
from .files import belongs_to_run
from .stored_theta import read_about, restore_theta


def load_run_optimizer(
    run_dir: str | Path, step: int | None = None, best: bool = False, average: int = 1
) -> LearnedOptimizer:
    """Return the learned optimizer of a run; the arguments are those of `read_theta`."""
    return read_run(run_dir, step, best, average)[0]


def read_run(
    run_dir: str | Path, step: int | None = None, best: bool = False, average: int = 1
) -> tuple[LearnedOptimizer, dict[str, Any]]:
    """Return the learned optimizer of a run and its provenance, like `read_theta`.

    Raises:
        RunDirectoryError: also if the run trains something else.
    """
    theta, origin = read_theta(run_dir, step, best, average)
    if not isinstance(theta, LearnedOptimizer):
        about = ", ".join(RunDirectory(Path(run_dir)).read_config().problem.names)
        raise RunDirectoryError(f"{run_dir} trains {about}: it holds no learned optimizer")
    return theta, origin


def read_theta(
    run_dir: str | Path, step: int | None = None, best: bool = False, average: int = 1
) -> tuple[Theta, dict[str, Any]]:
    """Return the theta of a run and its provenance.

    Args:
        run_dir: a directory written by `lopt-train`.
        step: meta-step of the checkpoint to read; None for the newest.
        best: whether to read the best checkpoint by validation instead.
        average: how many thetas to take the mean of: that of this checkpoint, and those of the ones before.

    Returns:
        Theta and its provenance: the result of `provenance`, the problem's description of itself, the
        estimator, the horizon (the fewest and the most inner steps), and the meta-steps, inner steps and
        seconds up to that checkpoint; of a mean also `averaged`, the meta-steps of its thetas.

    Raises:
        RunDirectoryError: if it is not a run directory.
        CheckpointError: if it holds no checkpoint, or fewer than `average`.
        UsageError: if the structure of theta can't be created here; the message says what to do.
    """
    theta, origin, _ = _read(run_dir, step, best, average)
    return theta, origin


def export_run(
    run_dir: str | Path,
    out_dir: str | Path,
    step: int | None = None,
    best: bool = False,
    average: int = 1,
) -> Path:
    """Export a run's theta in the form of its problem: `lopt.load` reads a learned optimizer.

    Args:
        run_dir: a directory written by `lopt-train`.
        out_dir: the target; a separate directory, which may be inside the run's.
        step: meta-step of the checkpoint to export; None for the newest.
        best: whether to export the best checkpoint by validation instead.
        average: how many thetas to take the mean of, as for `read_theta`.

    Raises:
        RunDirectoryError: if `out_dir` belongs to the run.
        lopt.PublishedOptimizerError: if it holds something else, or can't be written.
    """
    if belongs_to_run(Path(run_dir), Path(out_dir)):
        other = Path(run_dir, "optimizer")
        raise RunDirectoryError(f"{out_dir} belongs to the run {run_dir}: take another OUT_DIR, {other} say")
    theta, origin, run = _read(run_dir, step, best, average)
    return run.problem.publish(theta, Path(out_dir), origin)


def _read(
    run_dir: str | Path, step: int | None, best: bool, average: int
) -> tuple[Theta, dict[str, Any], Run]:
    directory = RunDirectory(Path(run_dir))
    run, identity = directory.read_config(), directory.read_identity()
    method, estimator = run.method, run.method.estimator
    try:
        # Only theta's structure: the run's data and devices need not be on this machine.
        structure = run.problem.kept_in(directory.path).theta(jax.random.key(method.seed))
    except ValueError as error:
        raise UsageError(f"{run_dir} can't be read: {error}{directory.import_hint()}") from error
    theta, averaged = restore_theta(directory.checkpoints, structure, step, best, average)
    meta_step = averaged[-1]
    taken = read_about(directory.checkpoints, meta_step) or {}
    origin = {key: value for key, value in identity.items() if key != "id"} | run.problem.about()
    return (
        theta,
        origin
        | {
            "estimator": ESTIMATORS.name_of(estimator),
            "horizon": list(estimator.horizon.bounds()),
            "meta_steps": meta_step,
            "inner_steps": meta_step
            * sum(method.populations(run.problem.names).values())
            * estimator.steps_per_window,
            "seconds": taken.get("seconds"),
        }
        | ({"averaged": averaged} if average > 1 else {}),
        run,
    )
