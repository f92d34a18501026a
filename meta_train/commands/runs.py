"""`lopt-runs`: list, show, compare, watch and prune runs. It reads their files, and imports no JAX."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..host.usage import USAGE_ERRORS
from .help_pages import parser_of, with_one_help

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ABOUT = """Look at runs: what they are, how far they are, and which is better.

  lopt-runs list                       # the runs in runs/ and its folders
  lopt-runs show runs/mine             # curves, newest numbers, settings, provenance
  lopt-runs compare runs/a runs/b      # compare.png and compare.html
  lopt-runs watch runs/mine            # live
  lopt-runs prune runs/old             # remove all checkpoints but the newest and the best

A run that trains meanwhile is not disturbed; it may train on another machine, on a shared disk.
`lopt-runs COMMAND --help` shows a command's options.
"""
_WIDE = 160
"""Columns where there is no terminal."""
_CURVES = 100
"""Columns of a curve at most."""
_FORMATS = ("table", "csv", "json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 an error reported in one sentence, 2 bad usage, 130 ctrl-C.
    """
    given = _parser().parse_args(with_one_help(sys.argv[1:] if arguments is None else arguments))
    if given.run is None:
        print(_ABOUT, end="")
        return 2
    try:
        return given.run(given)
    except (OSError, *USAGE_ERRORS) as error:
        if isinstance(error, BrokenPipeError):
            raise
        from .train import tell

        return tell("lopt-runs", error)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("lopt-runs", _ABOUT)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=about, description=about, formatter_class=parser.formatter_class)
        one.set_defaults(run=run)
        return one

    one = command("list", _list, "List the runs in a directory and its folders, the newest first.")
    one.add_argument("dir", metavar="DIR", nargs="?", type=Path, default=Path("runs"), help="default: runs")
    one.add_argument("--format", choices=_FORMATS, default="table")
    one = command("show", _show, "Show a run: its curves, newest numbers, settings and provenance.")
    one.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    one.add_argument("--format", choices=_FORMATS, default="table", help="csv: a row per record")
    one = command("compare", _compare, "Compare runs: curves, who is ahead where, settings that differ.")
    one.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", type=Path)
    one.add_argument("--format", choices=_FORMATS, default="table", help="csv: a row per run")
    one.add_argument(
        "--out", metavar="OUT_DIR", type=Path, default=Path("runs", "compare"),
        help="directory for compare.png and compare.html; default: runs/compare",
    )  # fmt: skip
    one = command("watch", _watch, "Watch a run until it is done, or until ctrl-C.")
    one.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    one.add_argument("--every", metavar="SECONDS", type=float, default=1.0, help="default: 1")
    one = command("prune", _prune, "Remove old checkpoints of runs that nobody trains.")
    one.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", type=Path)
    one.add_argument(
        "--keep-last", metavar="N", type=int, default=1,
        help="newest checkpoints to keep, besides the best by validation; default: 1",
    )  # fmt: skip
    one.add_argument("--yes", action="store_true", help="don't ask")
    return parser


def _list(given: argparse.Namespace) -> int:
    from ..runs.summary import find_runs
    from ..views.run_tables import as_csv, as_json, list_table, print_all

    runs = find_runs(given.dir)
    if given.format != "table":
        rows = [one.as_dict() for one in runs]
        print(as_json(rows) if given.format == "json" else as_csv(rows))
        return 0
    if not runs:
        print(f"there is no run in {shlex.quote(str(given.dir))}; lopt-train makes one")
        return 0
    console = _console()
    names = [os.path.relpath(one.path, given.dir) if one.path != given.dir else str(one.path) for one in runs]
    print_all(console, list_table(runs, names, console.width))
    for one, name in zip(runs, names, strict=True):
        if one.why:
            from lopt import plain

            print(plain(f"{name}: {one.why}", 1000))
    return 0


def _show(given: argparse.Namespace) -> int:
    from ..host.files import read_object
    from ..runs.history import History, read_history
    from ..runs.summary import summarize_run
    from ..runs.written_settings import read_settings
    from ..views import run_tables, run_view

    one = summarize_run(given.run_dir)
    try:
        settings = read_settings(one.path / "config.json").by_flag
        history = read_history(one.path)
    except USAGE_ERRORS:
        settings, history = {}, History()  # the summary says what is damaged
    identity = read_object(one.path / "run.json") or {}
    if given.format == "csv":
        print(run_tables.as_csv(history.rows()))
        return 0
    if given.format == "json":
        facts = {"run": one.as_dict(), "settings": settings, "provenance": identity}
        print(run_tables.as_json(facts | {"newest": history.last(), "records": history.rows()}))
        return 0
    console = _console()
    curves = run_view.curve_lines(history, min(console.width, _CURVES), 8, _is_ascii(console))
    parts: list[RenderableType] = [run_view.state_line(one, str(given.run_dir)), *curves]
    if history.steps:
        parts.append(run_view.numbers_table(history, console.width))
    parts += [run_view.settings_table(settings)] if settings else []
    parts += [run_view.origin_table(identity)] if identity else []
    run_tables.print_all(console, *parts)
    return 0


def _compare(given: argparse.Namespace) -> int:
    from lopt import plain

    from ..runs.comparison import compare_runs
    from ..views import comparison_views, run_tables

    found = compare_runs(given.run_dirs)
    if given.format == "json":
        print(
            run_tables.as_json(
                {
                    "runs": {name: one.as_dict() for name, one in found.runs.items()},
                    "differences": found.differences,
                    "ahead": {axis: [vars(one) for one in each] for axis, each in found.ahead.items()},
                    "unlike": found.unlike,
                    "provenance": found.identities,
                }
            )
        )
        return 0
    if given.format == "csv":
        rows = [
            {"run": name, **one.as_dict(), **{flag: each[name] for flag, each in found.differences.items()}}
            for name, one in found.runs.items()
        ]
        print(run_tables.as_csv(rows))
        return 0
    png = comparison_views.comparison_png(found)
    picture, page = given.out / "compare.png", given.out / "compare.html"
    given.out.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(png)
    page.write_text(comparison_views.comparison_page(found, png), encoding="utf-8")
    console = _console()
    print("\n".join(plain("".join(line), 1000) for line in comparison_views.verdict(found)))
    rows, differences = comparison_views.run_rows(found), comparison_views.difference_rows(found)
    run_tables.print_all(
        console, run_tables.pairs_table(comparison_views.RUN_HEADER, rows, numbers=(3, 4, 5, 6))
    )
    if differences:
        run_tables.print_all(console, run_tables.pairs_table(("setting", *found.runs), differences))
    print(f"figure  {picture}\npage    {page}")
    return 0


def _watch(given: argparse.Namespace) -> int:
    from .watch import watch

    return watch(given.run_dir, given.every, _console())


def _prune(given: argparse.Namespace) -> int:
    from ..runs.pruning import plan_pruning, prune
    from ..views.run_tables import size

    plans = [plan_pruning(path, given.keep_last) for path in given.run_dirs]
    for plan in plans:
        kept = ", ".join(map(str, plan.kept)) or "none"
        print(f"{plan.run_dir}: {len(plan.removed)} to remove, {size(plan.size)}; checkpoints kept: {kept}")
    plans = [plan for plan in plans if plan.removed]
    if not plans:
        print("there is nothing to remove")
        return 0
    if not given.yes and not _agreed(size(sum(plan.size for plan in plans))):
        print("nothing was removed")
        return 1
    for plan in plans:
        prune(plan)
    print(f"removed {sum(len(plan.removed) for plan in plans)}, {size(sum(plan.size for plan in plans))}")
    return 0


def _agreed(much: str) -> bool:
    """Ask on the terminal; where nobody can answer, the answer is no."""
    print(f"remove {much} for good? [y/N] ", end="", flush=True)
    answer = sys.stdin.readline().strip().lower()
    if not sys.stdin.isatty():
        print()
    return answer in ("y", "yes")


def _console() -> Console:
    from rich.console import Console

    width = None
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns  # as in `lopt-runs list | less`
        except (OSError, ValueError):
            width = _WIDE
    return Console(width=width, highlight=False)


def _is_ascii(console: Console) -> bool:
    return not (console.encoding or "").lower().startswith("utf")
