"""`lopt-train`: launch or resume a meta-training run."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from ..config.presets import PRESETS, get_preset
from ..config.run import RunConfig
from .launch import Launch

_USAGE = """lopt-train PRESET --run-dir DIR [--steps N] [--seed S] [options]

Meta-train a learned optimizer. A run directory that holds a checkpoint is resumed.
`lopt-train PRESET --help` shows every option with the preset's values; `lopt-train --list` shows names
(with --import FILE... those of your own, too).

presets:
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """Meta-train a learned optimizer; a run directory that holds a checkpoint is resumed."""

    run_dir: Path
    """Where the run's configuration, metrics and checkpoints go."""
    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    launch: Annotated[Launch, tyro.conf.arg(name="")] = Launch()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done or stopped, 1 an error told in one sentence, 2 bad usage, 70 a crash in a job
        of several processes.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE + "\n".join(f"  {name:12} {_about(name)}" for name in PRESETS))
        return 0 if arguments else 2
    if arguments[0] == "--list":
        return _list_names(arguments[1:])
    try:
        preset = get_preset(arguments[0])
        command = tyro.cli(
            Command,
            prog=f"lopt-train {arguments[0]}",
            args=arguments[1:],
            default=Command(tyro.MISSING, preset),
            config=(tyro.conf.AvoidSubcommands,),
        )
    except ValueError as error:
        print(f"lopt-train: {error}", file=sys.stderr)
        return 1
    from .session import run

    line = "lopt-train " + shlex.join(arguments)
    return run(command.config, command.run_dir, command.launch, line)


def _about(name: str) -> str:
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0]


def _list_names(rest: Sequence[str]) -> int:
    from lopt import ARCHITECTURES
    from tasks import TASKS

    from ..estimators import ESTIMATORS
    from ..host.imports import import_all

    if rest and rest[0] != "--import":
        print(f"lopt-train: --list takes nothing but --import FILE..., not {rest[0]}", file=sys.stderr)
        return 2
    try:
        import_all(rest[1:])
    except ValueError as error:
        print(f"lopt-train: {error}", file=sys.stderr)
        return 1
    for kind, names in (("task", TASKS), ("optimizer", ARCHITECTURES), ("estimator", ESTIMATORS)):
        print(f"--{kind}: " + ", ".join(sorted(names)))
    return 0
