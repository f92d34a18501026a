"""The command `lopt-eval`: compare optimizers with tuned baselines on a suite of tasks."""

# Only the standard library and tyro at the top, so that --help is fast; handlers import the rest.
from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from meta_train import help_pages

from .file_names import file_stem

if TYPE_CHECKING:
    from .report.report_files import Report
    from .statistics.results import Results
    from .training.entries import Suite

_ABOUT = """Compare optimizers with tuned baselines, and with untuned ones, on a suite of tasks.

An OPTIMIZER is the name of a published one, a directory written by lopt-export, a run directory of lopt-train
(its newest theta), an architecture (untrained), or a baseline. Numbers, report and plots go to --out.

Suites:

    digits, quadratics, images, in-distribution, new-data, new-architecture, wider, deeper, longer, rescaled,
    noisy, wrong-horizon, and hyper-free, which joins all suites from in-distribution on

    transformers, small-starts, long and large, which are difficult: no preset meta-trains on their tasks

Baselines, each with its learning rate tuned per task over 15 values:

    adam, sgd-momentum, sgd, adamw-cosine, nadamw, lion, adafactor, muon, schedule-free-adamw, prodigy

and untuned ones, at their default rate:

    adam-1e-3, sgd-default, sgd-momentum-default, adamw-cosine-default, nadamw-default, lion-default,
    adafactor-default, muon-default, schedule-free-adamw-default, prodigy-default

Tuning results are cached in --tuned, and reused for the same task, horizon, seeds and split. An interrupted
benchmark continues when the same command is run again.

    lopt-eval runs/demo --suite digits
"""


_GROUPS = {
    "benchmark": {
        "short": ("suite", "baselines", "seeds", "horizon", "out", "imports"),
        "more": ("only", "seed", "held_out"),
    },
    "tuning of the baselines": {"short": ("tuned",), "more": ("retune",)},
    "W&B": {"short": ("tracker",), "more": ("wandb_mode", "wandb_project", "wandb_entity")},
}
_UNFINISHED = "partial"
"""Folder in --out for finished runs until the report is written."""


@dataclasses.dataclass(frozen=True)
class Command:
    """The options."""

    optimizers: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="OPTIMIZER...")]
    """Names or directories."""
    suite: Annotated[str, tyro.conf.arg(metavar="SUITE")]
    """Tasks to compare on."""
    seeds: int = 5
    """Training runs per optimizer, learning rate and task."""
    seed: int = 0
    """Seed of instances, initialisations and batches."""
    horizon: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Length of the training runs in inner steps; default: the suite's."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN...")] = ()
    """Run only the suite's entries whose TASK or TASK-HORIZON matches, such as 'char-*', and write no report.
    So several processes can share a suite; the same command without --only then joins their results."""
    held_out: Literal["test", "outer_valid"] = "test"
    """Split of the held-out loss; choose among optimizers on outer_valid, report on test."""
    baselines: Annotated[tuple[str, ...], tyro.conf.arg(metavar="{standard,strong,all,NAME...}")] = (
        "standard",
    )
    """Baselines to compare with: standard is adam, sgd-momentum and adam-1e-3; strong is these, adamw-cosine,
    muon and schedule-free-adamw; all takes about five times as long as standard. Adam is always included,
    because speed-ups are relative to it."""
    retune: tyro.conf.FlagCreatePairsOff[bool] = False
    """Tune all baselines again, and write the results to --tuned."""
    tuned: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs", "tuned")
    """Directory for tuning results; those that come with lopt are used if it has none."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory to write to; default: runs/eval/SUITE."""
    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="FILE...")] = ()
    """Your own Python files, or modules, that register tasks, optimizers, baselines or suites."""
    tracker: Literal["none", "wandb"] = "none"
    """Tracker to send the report to, besides --out."""
    wandb_mode: Literal["online", "offline", "disabled"] | None = None
    """W&B's mode; default: WANDB_MODE, or else online."""
    wandb_project: str | None = None
    """W&B project; default: WANDB_PROJECT, or else lopt."""
    wandb_entity: str | None = None
    """W&B user or team; default: WANDB_ENTITY, or else yours."""


class _Failure(Exception):
    """An error to be reported in one sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: command line without the program's name; None takes it from the process.

    Returns:
        The exit status: 0 done, 1 an error reported on stderr in one sentence, 2 bad usage, 130 ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if which := help_pages.is_asked(arguments):
        usage = "lopt-eval OPTIMIZER... --suite SUITE [options]"
        print(help_pages.page(usage, _ABOUT, help_pages.options_of(Command), _GROUPS, which), end="")
        return 0
    try:
        with help_pages.wide_enough():
            command = tyro.cli(Command, prog="lopt-eval", description=_ABOUT, args=arguments)
    except SystemExit as stop:  # tyro exits by itself after --help (0) and bad usage (2).
        return stop.code if isinstance(stop.code, int) else 2
    if complaint := _bad_usage(command):
        return _tell(complaint, 2)
    line = f"lopt-eval {shlex.join(arguments)}"
    try:
        return _run(command, line)
    except _Failure as failure:
        return _tell(str(failure), 1)
    except KeyboardInterrupt:
        places = f"{command.tuned} and {_out(command) / _UNFINISHED}"
        tuning = " (--retune would tune everything again)" if command.retune else ""
        return _tell(f"stopped; finished results are kept in {places}; to go on{tuning}, type\n  {line}", 130)


def _bad_usage(command: Command) -> str:
    if not command.optimizers:
        return "name at least one optimizer, as in: lopt-eval adam --suite quadratics"
    for name in ("seeds", "horizon"):
        value = getattr(command, name)
        if value is not None and value < 1:
            return f"--{name} must be at least 1, not {value}"
    if not 0 <= command.seed < 2**32:
        return f"--seed must be between 0 and 4294967295, not {command.seed}"
    if command.only and command.tracker != "none":
        return "--only writes no report that --tracker could send: leave one of them out"
    return ""


def _out(command: Command) -> Path:
    return command.out or Path("runs", "eval", file_stem(command.suite))


def _tell(message: str, code: int) -> int:
    from .report.quoting import on_terminal

    print(f"lopt-eval: {on_terminal(message)}", file=sys.stderr)
    return code


def _run(command: Command, line: str) -> int:
    """Run a parsed command; return the exit status."""
    from meta_train import USAGE_ERRORS, CheckpointError, import_all, keep_compiled_programs

    from .progress import shown_progress
    from .protocol import benchmark
    from .report.report_files import write_report
    from .report.terminal import print_results
    from .training.baselines import choose
    from .training.optimizers import find_all
    from .training.partial_results import PartialResults
    from .training.tuned_cache import TunedCache

    keep_compiled_programs()
    with _one_sentence(OSError, CheckpointError, *USAGE_ERRORS):
        import_all(command.imports)
        chosen = _suite(command)
        baselines = choose(command.baselines)
        found = find_all(command.optimizers)
        out = _out(command)
        out.mkdir(parents=True, exist_ok=True)  # Before the runs, which an error would lose.
    unfinished = PartialResults(out / _UNFINISHED, line, partial(_tell, code=0))
    # Only these: any other error in there is a bug, and needs its traceback.
    with _one_sentence(*USAGE_ERRORS), shown_progress() as progress:
        results = benchmark(
            {one.name: one.optimizer for one in found},
            chosen,
            command.seeds,
            command.seed,
            progress,
            held_out=command.held_out,
            baselines=baselines,
            cache=TunedCache(command.tuned, command.retune, line, partial(_tell, code=0)),
            unfinished=unfinished,
            origins={one.name: one.origin for one in found if one.origin},
            command=line,
            timings=not command.only,
        )
    if command.only:
        print(f"Results are kept in {command.tuned} and {unfinished.directory}, for a run without --only.")
        return 0
    with _one_sentence(OSError):
        report = write_report(results, out)
        unfinished.remove()
    try:
        print_results(results, report)
    finally:  # The output pipe may be closed, as in `lopt-eval ... | head`.
        if command.tracker == "wandb":
            _track(command, results, report)
    return 0


def _suite(command: Command) -> Suite:
    from .training.suites import suite

    chosen = suite(command.suite)
    chosen = chosen if command.horizon is None else chosen.at_horizon(command.horizon)
    return chosen.only(command.only) if command.only else chosen


def _track(command: Command, results: Results, report: Report) -> None:
    from meta_train import USAGE_ERRORS, WandBOptions

    from .report.tracking import track

    options = WandBOptions(command.wandb_mode, command.wandb_project, command.wandb_entity)
    with _one_sentence(*USAGE_ERRORS):
        track(results, report, options)


@contextmanager
def _one_sentence(*errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise _Failure(" ".join(str(error).split())) from error


if __name__ == "__main__":
    sys.exit(main())
