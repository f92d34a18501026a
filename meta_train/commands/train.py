"""`lopt-train`: launch or resume a meta-training run."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

import lopt

from ..config.options import Options
from ..config.presets import PRESETS, get_preset
from ..host.usage import USAGE_ERRORS
from ..problems.base import Problem
from ..problems.builtin import PROBLEMS
from ..problems.system import SystemProblem
from .help_pages import Option, is_asked, page, wide_enough
from .launch import Launch
from .option_groups import GROUPS, all_options

_ABOUT = (
    "Meta-train a learned optimizer, or what --problem says; a run directory that holds a checkpoint is "
    "resumed."
)
_KIND = "What the run trains: learned-optimizer, a system of --list, or a problem of your own."
_RUN_DIR = "Directory for the run's configuration, metrics and checkpoints."
_GROUPS = ("method", "loop", "placement", "show")
_USAGE = """lopt-train [PRESET] --run-dir DIR [--steps N] [--seed S] [options]

Meta-train a learned optimizer, or with --problem NAME something else. A run directory that holds a checkpoint
is resumed. `lopt-train PRESET --help` shows the main options with the preset's values, and --help-all every
option; `lopt-train --list` shows all names (with --import FILE... also your own).

presets:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 complete or stopped, 1 an error reported in one sentence, 2 bad usage, 70 a crash
        in a job of several processes.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, PRESETS))
        print(_USAGE + "\n".join(f"  {name:{width}} {_about(name)}" for name in PRESETS))
        return 0 if arguments else 2
    if arguments[0] == "--list":
        return _list_names(arguments[1:])
    try:
        options, run_dir, launch = parse(arguments)
    except USAGE_ERRORS as error:
        return tell("lopt-train", error)
    from .session import run

    return run(options, run_dir, launch, "lopt-train " + shlex.join(arguments))


def parse(arguments: list[str]) -> tuple[Options, Path, Launch]:
    """Read a command line.

    Raises:
        ValueError: for unknown presets and problems, and invalid values.
        SystemExit: for unknown options, and for --help and --help-all.
    """
    named = arguments[:1] if not arguments[0].startswith("-") else []
    preset = get_preset(named[0]) if named else Options()
    return read(" ".join(("lopt-train", *named)), preset, arguments[len(named) :])


def read(program: str, preset: Options, rest: list[str], about: str = _ABOUT) -> tuple[Options, Path, Launch]:
    """Read options that stand on a command line; the others are a preset's. Errors are those of `parse`.

    Args:
        program: what help and errors call the command.
        preset: the values of options that are not given.
        rest: the options.
        about: what help says of the command.
    """
    if chosen := _values(rest, "--problem")[-1:]:
        problem = _problem(chosen[0], _values(rest, "--import"))
        if isinstance(problem, SystemProblem) or type(problem) is not type(preset.problem):
            preset = dataclasses.replace(preset, problem=problem)
    if which := is_asked(rest):
        kind = Option("kind", "--problem NAME", f"{_KIND} (default: {PROBLEMS.name_of(preset.problem)})")
        run_dir = Option("run_dir", "--run-dir RUN_DIR", f"{_RUN_DIR} (required)")
        options = all_options(preset, kind, run_dir)
        print(page(f"{program} --run-dir RUN_DIR [options]", about, options, GROUPS, which), end="")
        raise SystemExit(0)
    with wide_enough():
        command = tyro.cli(
            _command(preset),
            prog=program,
            args=rest,
            config=(tyro.conf.AvoidSubcommands,),
            description=about,
        )
    parts = {field.name: getattr(command, field.name) for field in dataclasses.fields(Options)}
    return Options(**parts), command.run_dir, command.launch


def _command(preset: Options) -> Any:
    """Return a dataclass of all options, with a preset's values as defaults, for the preset's problem."""
    kind = PROBLEMS.name_of(preset.problem)
    values = {"problem": preset.problem} | {name: getattr(preset, name) for name in _GROUPS}
    # Without a prefix, so options are called `--window`, and errors of their checks are reported in one
    # sentence.
    bare = tyro.conf.arg(name="")
    fields = [
        ("run_dir", Annotated[Path, tyro.conf.arg(help=_RUN_DIR, metavar="RUN_DIR")]),
        ("kind", Annotated[str, tyro.conf.arg(name="problem", help=_KIND)], _default(kind)),
        *((n, Annotated[type(value), bare], _default(value)) for n, value in values.items()),
        ("launch", Annotated[Launch, bare], _default(Launch())),
    ]
    return dataclasses.make_dataclass("Command", fields, frozen=True)


def _default(value: Any) -> Any:
    return dataclasses.field(default=value)


def _values(arguments: Sequence[str], option: str) -> list[str]:
    """Return an option's values. They decide the defaults and options with which tyro reads the rest."""
    found: list[str] = []
    taking = False
    for argument in arguments:
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            taking = name == option
            found += [value] if taking and equals else []
        elif taking:
            found.append(argument)
    return found


def _problem(name: str, imports: Sequence[str]) -> Problem:
    """Return the problem of a name, with its defaults; a system's name gives a `SystemProblem`.

    Raises:
        ValueError: for an unknown name, with similar ones, and for files that can't be imported.
    """
    from ..host.imports import import_all
    from ..systems.catalogue import SYSTEMS

    if name not in PROBLEMS and name not in SYSTEMS:
        import_all(imports)  # one of them may register it
    if name in SYSTEMS:
        return SystemProblem(name)
    return lopt.look_up("problem", PROBLEMS | dict.fromkeys(SYSTEMS, SystemProblem), name)()


def tell(program: str, error: Exception) -> int:
    """Tell of an error in one sentence; return the exit status for it."""
    from lopt import plain

    print(f"{program}: {plain(error, 1000)}", file=sys.stderr)
    return 1


def _about(name: str) -> str:
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0]


def _list_names(rest: Sequence[str]) -> int:
    from lopt import ARCHITECTURES
    from tasks import TASKS

    from ..estimators import ESTIMATORS
    from ..horizons import HORIZONS
    from ..host.imports import import_all
    from ..objectives import OBJECTIVES
    from ..systems.catalogue import SYSTEMS

    if rest and rest[0] != "--import":
        print(f"lopt-train: --list takes nothing but --import FILE..., not {rest[0]}", file=sys.stderr)
        return 2
    try:
        import_all(rest[1:])
    except USAGE_ERRORS as error:
        return tell("lopt-train", error)
    problems = (PROBLEMS.keys() - {"system"}) | SYSTEMS.keys()
    for kind, names in (
        *(("problem", problems), ("task", TASKS), ("optimizer", ARCHITECTURES), ("estimator", ESTIMATORS)),
        *(("horizon", HORIZONS), ("objective", OBJECTIVES)),
    ):
        print(f"--{kind}: " + ", ".join(sorted(names)))
    return 0
