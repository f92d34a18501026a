"""One session of a run: from locking its directory to the last save."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import jax
import numpy as np

from lopt import plain

from ..config.json_form import encode
from ..config.options import Options
from ..config.run import Run
from ..estimators import ESTIMATORS
from ..host.compile_times import keep_seconds_to_compile, seconds_to_compile
from ..host.compiled_programs import compiled_programs, keep_compiled_programs
from ..host.cores import usable_cores
from ..host.imports import import_all
from ..host.processes import CRASHED, from_main, is_main, leave_after_crash, leave_at_once
from ..host.robustness import DivergedError
from ..host.standard_error import forgiving_standard_error
from ..host.stopping import StopOnSignal
from ..host.usage import USAGE_ERRORS, is_of_the_disk
from ..problems.learned_optimizer import LearnedOptimizerTraining
from ..runs.checkpoints import CheckpointError
from ..runs.directory import RunDirectory, RunDirectoryError
from ..runs.export import export_run
from ..runs.orbax_noise import leave_errors_to_us
from ..runs.parts import Parts, build
from ..runs.trainer import Trainer
from ..trackers.base import NoTracker, Several, Tracker
from ..trackers.json_lines import JsonLines
from ..trackers.metrics import LOSS
from ..trackers.progress import ProgressBar
from ..trackers.wandb import WandB, WandBOptions
from .farewell import again, farewell
from .launch import JoinError, Launch

_SHARED_PATIENCE = 30.0
"""Seconds to wait until a file written by process 0 is visible to the others on a network file system."""
_WANDB_PATIENCE = 15.0
"""Seconds that W&B may take at the end: a stopped run has `Launch.stop_seconds` for everything."""


def run(options: Options, run_dir: Path, launch: Launch, line: str) -> int:
    """Start or resume a run, until it is complete or stopped by a signal.

    Args:
        options: the run's options.
        run_dir: the run's directory.
        launch: how this process was started.
        line: the command line, for the message that says how to resume.

    Returns:
        The exit status of `lopt-train`.
    """
    directory, program = RunDirectory(run_dir), line.partition(" ")[0]

    def fail(error: Exception, status: int = 1) -> int:
        return _fail(program, error, status)

    seconds = f"{launch.stop_seconds:g} seconds"
    late = f"not done in {seconds}, and stopped: the newest checkpoint remains; {again(launch, line)}"
    leave_errors_to_us()
    try:
        with ExitStack() as stack:
            stack.enter_context(forgiving_standard_error())
            stop = stack.enter_context(StopOnSignal(launch.stop_seconds, launch.stopped_status, late))
            try:
                # In this order, so that nothing is written for a run that can't start.
                _place(options, launch)
                import_all(launch.imports)
                run = options.run()
                directory.check(run)
                parts = build(run.kept_in(run_dir))
                if is_main():
                    stack.enter_context(directory.locked(line))
                trainer, tracker = _begin(run, directory, parts, line)
            except JoinError as error:
                return fail(error, CRASHED)
            except CheckpointError as error:
                return fail(error, _maybe_of_others())
            except USAGE_ERRORS as error:
                return fail(error)
            except OSError as error:
                if not is_of_the_disk(error):
                    raise
                return fail(error)
            try:
                _train(run, trainer, tracker, stop)
                return _end(run, trainer, tracker, directory, launch, line)
            except DivergedError as error:
                return fail(error)
            except (CheckpointError, *USAGE_ERRORS) as error:
                return fail(error, _maybe_of_others())
            except OSError as error:
                if not is_of_the_disk(error):
                    raise
                return fail(error, _maybe_of_others())
    except BaseException:
        leave_after_crash()
        raise


def _maybe_of_others() -> int:
    """Return the exit status of an error that the end of another process may have caused."""
    return CRASHED if jax.process_count() > 1 else 1


def _fail(program: str, error: Exception, status: int) -> int:
    print(f"{program}: {plain(error, 1000)}", file=sys.stderr)
    leave_at_once(status)
    return status


def _place(options: Options, launch: Launch) -> None:
    """Connect to the other processes; a single process splits a CPU into several devices, one per core."""
    if launch.several:
        launch.join()
    elif options.placement.backend != "vmap":
        cores = options.placement.devices or usable_cores()
        if options.placement.devices is None:
            counts = options.method.task_particles or (options.method.particles,)
            cores = max(n for n in range(1, cores + 1) if not any(p % n for p in counts))
        jax.config.update("jax_num_cpu_devices", cores)
    keep_compiled_programs()


def _begin(run: Run, directory: RunDirectory, parts: Parts, line: str) -> tuple[Trainer, Tracker]:
    run_id = _claim(directory, run, line)
    if is_main():
        run.problem.keep(directory.path, parts.theta)
    trainer = Trainer(run, directory, parts, run_id)
    if trainer.meta_step and is_main():
        print(f"resuming {directory.path} at meta-step {trainer.meta_step}", file=sys.stderr)
    return trainer, _tracker(run, directory, trainer.meta_step, run_id)


def _claim(directory: RunDirectory, run: Run, line: str) -> str:
    """Open the directory for this run in process 0; return the run's id in all processes."""
    mine = directory.open(run, line) if is_main() else "0"
    run_id = f"{int(from_main(np.uint32(int(mine, 16)))):08x}"
    patience = time.monotonic() + _SHARED_PATIENCE
    while not directory.identity.is_file() or directory.read_id() != run_id:
        if time.monotonic() > patience:
            raise RunDirectoryError(
                f"process {jax.process_index()} does not see what process 0 wrote to {directory.path}: "
                "--run-dir must be on a file system that all processes share"
            )
        time.sleep(0.5)
    return run_id


def _tracker(run: Run, directory: RunDirectory, done: int, run_id: str) -> Tracker:
    """Create the trackers of process 0: the JSON lines first, because W&B catches up from them."""
    if not is_main():
        return NoTracker()
    trackers: list[Tracker] = [JsonLines(directory.metrics, done)]
    if run.show.tracker == "wandb":
        about = encode(run) | {"provenance": directory.read_identity()}
        options = wandb_options(run, directory)
        trackers.append(
            WandB(
                *(directory.path, options, about, run_id, directory.metrics, done),
                finish_timeout=_WANDB_PATIENCE,
            )
        )
    if run.show.progress:
        # Last, because a display drawn before another tracker fails would stay on the screen.
        seconds = seconds_to_compile(compiled_programs(), _program(run))
        trackers.append(ProgressBar(run.loop.steps, done, compiling=seconds))
    return Several(trackers)


def _program(run: Run) -> str:
    """Return a description of what a run compiles."""
    estimator, shape = run.method.estimator, (run.problem, run.method.particles)
    return plain(f"{ESTIMATORS.name_of(estimator)} {estimator.window} {shape}", 1000)


def wandb_options(run: Run, directory: RunDirectory) -> WandBOptions:
    """Return the W&B options of a run."""
    show = run.show
    return WandBOptions(
        mode=show.wandb_mode,
        project=show.wandb_project,
        entity=show.wandb_entity,
        group=show.wandb_group,
        name=show.wandb_name or os.environ.get("WANDB_NAME") or directory.path.resolve().name,
        tags=show.wandb_tags,
        notes=show.wandb_notes,
    )


def log_theta(tracker: Tracker, directory: RunDirectory, exported: Path) -> None:
    """Store an exported theta as an artifact of its run."""
    origin = json.loads((exported / "config.json").read_text())["provenance"]
    kind = theta_kind(directory.read_config())
    tracker.log_artifact(exported, f"{directory.path.resolve().name}-{kind}", kind, origin)


def theta_kind(run: Run) -> str:
    """Return the word for a run's theta where it is published: "optimizer" or "theta"."""
    return "optimizer" if isinstance(run.problem, LearnedOptimizerTraining) else "theta"


def _train(run: Run, trainer: Trainer, tracker: Tracker, stop: StopOnSignal) -> None:
    began: float | None = time.monotonic()
    try:
        for record in trainer.records(stop):
            tracker.log(record.meta_step, record.values)
            if began is not None and LOSS.name in record.values:
                cache = compiled_programs() if is_main() else None
                keep_seconds_to_compile(cache, _program(run), time.monotonic() - began)
                began = None
        trainer.close()
    except BaseException:
        tracker.close()
        if jax.process_count() == 1:  # several would wait for one another
            with suppress(CheckpointError):
                trainer.close()
        raise


def _end(
    run: Run,
    trainer: Trainer,
    tracker: Tracker,
    directory: RunDirectory,
    launch: Launch,
    line: str,
) -> int:
    over = trainer.meta_step >= run.loop.steps
    if is_main() and over and run.show.tracker == "wandb":
        log_theta(tracker, directory, export_run(directory.path, directory.path / theta_kind(run)))
    tracker.close()
    if is_main():
        kind = theta_kind(run)
        print(
            farewell(trainer.meta_step, over, directory.path, kind, launch, line, run.problem.names),
            file=sys.stderr,
        )
    return 0 if over else launch.stopped_status
