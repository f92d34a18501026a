"""`lopt-export`: publish a run's learned optimizer."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .help_pages import wide_enough, with_one_help

if TYPE_CHECKING:
    from ..runs.directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Command:
    """Write a run's learned optimizer as config.json and theta.safetensors."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Run directory written by lopt-train."""
    out_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT_DIR")]
    """Directory to write; lopt.load(OUT_DIR) and lopt.as_optax(OUT_DIR) read it."""
    step: int | None = None
    """Meta-step of the checkpoint to export; default: the newest."""
    best: tyro.conf.FlagCreatePairsOff[bool] = False
    """Export the best checkpoint by validation."""
    average: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Export the mean of theta over N checkpoints: that one, and the N - 1 before it. Meta-gradients are
    noisy, and a mean has less of the noise than any one theta."""
    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="FILE...")] = ()
    """The files that the run was given with --import, which register its optimizer."""
    push: Annotated[str | None, tyro.conf.arg(metavar="USER/NAME")] = None
    """Then upload OUT_DIR to this repository of the Hugging Face Hub, with a model card and the eval.json in
    OUT_DIR, if any; needs `pip install 'lopt[hub]'` and a token (`hf auth login`)."""
    tracker: Literal["none", "wandb"] = "none"
    """With wandb: also store the optimizer as an artifact of the run in W&B."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 done, 1 an error, 2 bad usage."""
    given = with_one_help(sys.argv[1:] if arguments is None else arguments)
    with wide_enough():
        command = tyro.cli(Command, prog="lopt-export", args=given)
    from lopt import plain, push

    from ..host.imports import import_all
    from ..host.usage import USAGE_ERRORS
    from ..runs.checkpoints import CheckpointError
    from ..runs.directory import RunDirectory
    from ..runs.export import export_run

    try:
        import_all(command.imports)
        exported = export_run(command.run_dir, command.out_dir, command.step, command.best, command.average)
        if command.tracker == "wandb":
            _track(RunDirectory(command.run_dir), exported)
        print(plain(f"wrote {command.out_dir}; use it with {_use(command)}", 1000))
        if command.push is not None:
            name = push(command.out_dir, command.push)
            print(f"uploaded it; use it with lopt.as_optax({name!r}, horizon=STEPS)")
    except (CheckpointError, OSError, *USAGE_ERRORS) as error:
        print(f"lopt-export: {plain(error, 1000)}", file=sys.stderr)
        return 1
    return 0


def _use(command: Command) -> str:
    from lopt import published

    from ..problems.learned_optimizer import LearnedOptimizerTraining
    from ..runs.directory import RunDirectory

    out = str(command.out_dir)
    imports = f", after importing {' and '.join(command.imports)}" if command.imports else ""
    if not isinstance(RunDirectory(command.run_dir).read_config().problem, LearnedOptimizerTraining):
        return f"meta_train.load_theta({out!r}){imports}"
    loaded = f"./{out}" if out in published() else out  # a bare name would mean the one that comes with lopt
    return f"lopt.as_optax({loaded!r}, horizon=STEPS){imports}"


def _track(directory: RunDirectory, exported: Path) -> None:
    from ..trackers.wandb import WandB
    from .session import log_theta, wandb_options

    options = wandb_options(directory.read_config(), directory)
    with WandB(directory.path, options, run_id=directory.read_id()) as tracker:
        log_theta(tracker, directory, exported)
