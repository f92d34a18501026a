"""`lopt-tune`: tune the hyperparameters of a network's training."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.options import Options
from ..host.usage import USAGE_ERRORS
from ..problems.hyperparameters import HyperparameterTuning
from .train import read, tell

_USAGE = """lopt-tune TASK... --tune NAME,NAME,... --run-dir DIR [--steps N] [options]

Tune hyperparameters of the training of a task, or of several at once, by the gradient of what is measured on
the way. A run directory that holds a checkpoint is resumed. In the end it prints the best values and the
optimizer as Python, and writes both to DIR/tuned, with a picture.

  lopt-tune tunable-digits-mlp --tune learning_rate,momentum --run-dir runs/rate

`lopt-tune TASK --help` shows the main options, and --help-all every option; `lopt-train --list` shows the
tasks. --surface N draws the loss over N x N values where two numbers are tuned (default 12; 0: no surface).
"""
_ABOUT = """Tune hyperparameters of a task's training; a run directory that holds a checkpoint is resumed.
Besides the options below, --surface N draws the loss over N x N values where two numbers are tuned (default:
12; 0: no surface)."""
_FOLDER = "tuned"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, as that of `lopt-train`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, end="")
        return 0 if arguments else 2
    names = arguments[: _first_option(arguments)]
    own = argparse.ArgumentParser(prog="lopt-tune", add_help=False, allow_abbrev=False)
    own.add_argument("--surface", type=int, default=12)
    given, rest = own.parse_known_args(arguments[len(names) :])
    try:
        preset = tuning_options(tuple(names)) if names else tuning_options()
        options, run_dir, launch = read("lopt-tune TASK", preset, rest, _ABOUT)
    except USAGE_ERRORS as error:
        return tell("lopt-tune", error)
    from .session import run

    status = run(options, run_dir, launch, "lopt-tune " + shlex.join(arguments))
    return status or _finish(run_dir, options.loop.steps, given.surface)


def tuning_options(task: tuple[str, ...] = HyperparameterTuning.task) -> Options:
    """Return the options of a run that tunes hyperparameters: theta is few numbers, each free."""
    return Options.of(
        HyperparameterTuning(task),
        horizon="constant",
        horizon_high=200,
        window=10,
        sigma=0.1,
        particles=32,
        learning_rate=0.05,
        warmup=0,
        steps=500,
        validate_every=25,
        hysteresis_particles=0,
    )


def _first_option(arguments: Sequence[str]) -> int:
    return next((n for n, text in enumerate(arguments) if text.startswith("-")), len(arguments))


def _finish(run_dir: Path, steps: int, surface: int) -> int:
    """Publish the best values of a run that is done, and draw how it came there."""
    from ..host.processes import is_main
    from ..runs.checkpoints import CheckpointError
    from ..runs.directory import RunDirectory
    from ..runs.export import export_run
    from ..runs.files import steps_in
    from .tuned_picture import draw

    directory = RunDirectory(run_dir)
    if not is_main() or max(steps_in(directory.checkpoints), default=0) < steps:
        return 0
    try:
        out = export_run(run_dir, run_dir / _FOLDER, best=True)
        draw(directory, out / "tuned.png", surface)
    except (CheckpointError, OSError, *USAGE_ERRORS) as error:
        return tell("lopt-tune", error)
    found = json.loads((out / "hyperparameters.json").read_text())
    width = max(map(len, found["values"]))
    print(f"the best values by validation, also in {out}:")
    for name, value in found["values"].items():
        print(f"  {name:{width}}  {value:g}")
    print(f"\n{found['optax']}")
    return 0
