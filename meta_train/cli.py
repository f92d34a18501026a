"""`lopt-train`: launch or resume a meta-training run."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from .config import RunConfig
from .presets import PRESETS, get_preset

_USAGE = """lopt-train PRESET --run-dir DIR [--steps N] [--seed S] [options]

Meta-train a learned optimizer. A run directory that holds a checkpoint is resumed.
`lopt-train PRESET --help` shows every option with the preset's values; `lopt-train --list` shows names.

presets:
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """Meta-train a learned optimizer; a run directory that holds a checkpoint is resumed."""

    run_dir: Path
    """Where the run's configuration, metrics and checkpoints go."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done or stopped, 1 an error, 2 bad usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE + "\n".join(f"  {name:12} {_about(name)}" for name in PRESETS))
        return 0 if arguments else 2
    if arguments[0] == "--list":
        return _list_names()
    try:
        preset = get_preset(arguments[0])
        command = tyro.cli(
            Command,
            prog=f"lopt-train {arguments[0]}",
            args=arguments[1:],
            default=Command(tyro.MISSING, preset),
            config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
        )
    except ValueError as error:
        return _fail(str(error))
    return _run(command, "lopt-train " + shlex.join(arguments))


def _about(name: str) -> str:
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0]


def _list_names() -> int:
    from lopt import ARCHITECTURES
    from tasks import TASKS

    from .estimators import ESTIMATORS

    for kind, names in (("task", TASKS), ("optimizer", ARCHITECTURES), ("estimator", ESTIMATORS)):
        print(f"--{kind}: " + ", ".join(sorted(names)))
    return 0


def _fail(message: str) -> int:
    print(f"lopt-train: {message}", file=sys.stderr)
    return 1


def _run(command: Command, line: str) -> int:
    stop = _StopOnSignal()
    _place(command.config)
    from .build import build
    from .checkpoints import CheckpointError
    from .run_directory import RunDirectory, RunDirectoryError
    from .trainer import DivergedError, Trainer

    directory = RunDirectory(command.run_dir)
    try:
        # In this order, so that nothing is written for a run that can't begin.
        directory.check(command.config)
        parts = build(command.config)
        run_id = directory.open(command.config, line)
        trainer = Trainer(command.config, directory, parts)
    except (ValueError, RuntimeError, ModuleNotFoundError, OSError) as error:
        return _fail(str(error))
    if trainer.meta_step:
        print(f"resuming {command.run_dir} at meta-step {trainer.meta_step}", file=sys.stderr)
    try:
        tracker = _tracker(command, directory, trainer.meta_step, run_id)
        try:
            for record in trainer.records(stop):
                tracker.log(record.meta_step, record.values)
        finally:
            tracker.close()
            trainer.close()
    except (ValueError, DivergedError, CheckpointError, RunDirectoryError) as error:
        return _fail(str(error))
    if stop() and trainer.meta_step < command.config.steps:
        print(f"stopped at meta-step {trainer.meta_step}; resume with\n  {line}", file=sys.stderr)
    else:
        print(
            f"done: {trainer.meta_step} meta-steps in {command.run_dir}; next:\n"
            f"  lopt-export {command.run_dir} OUT_DIR\n  lopt-eval {command.run_dir} --suite digits",
            file=sys.stderr,
        )
    return 0


def _place(config: RunConfig) -> None:
    """Let a CPU stand for several devices, one per core, so that the population uses all of them."""
    import jax

    from .compiled_programs import keep_compiled_programs

    cores = config.devices or os.cpu_count() or 1
    if config.backend != "vmap":
        if config.devices is None:
            cores = max(n for n in range(1, cores + 1) if config.particles % n == 0)
        jax.config.update("jax_num_cpu_devices", cores)
    keep_compiled_programs()


def _tracker(command: Command, directory: Any, done: int, run_id: str) -> Any:
    from .trackers import JsonLines, ProgressBar, Several, WandB

    config = command.config
    makers = {
        "jsonl": lambda: JsonLines(directory.metrics, done),
        "progress": lambda: ProgressBar(config.steps, done),
        "wandb": lambda: WandB(directory.path, config.wandb_project, dataclasses.asdict(config), run_id),
    }
    # The bar comes last: one that was drawn before another tracker failed would stay on the screen.
    names = sorted(config.trackers, key=lambda name: name == "progress")
    return Several([makers[name]() for name in names])


class _StopOnSignal:
    """Ask for a stop at SIGINT or SIGTERM; a second signal stops at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        return self._asked

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._asked:
            Console(stderr=True).print("stopped at once; the newest checkpoint stands")
            os._exit(128 + number)
        self._asked = True
        print("stopping after the call in flight; once more to stop at once", file=sys.stderr)
