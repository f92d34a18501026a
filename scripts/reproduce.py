#!/usr/bin/env python
"""Rerun an experiment of the papers: `scripts/reproduce.py NAME [--quick] [--out DIR]`.

Without a name, lists the experiments. `all` runs all of them but those that need a GPU. Prints a table beside
reference numbers, and checks; writes outcome.json and figures. The exit status is 1 if a check of a full run
fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from eval import reproductions
from lopt import UsageError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    listing = "\n".join(f"  {name:21}{about}" for name, about in reproductions.CATALOGUE.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"experiments:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="an experiment, or `all`; without it, they are listed")
    parser.add_argument("--quick", action="store_true", help="run a small version, in less than a minute")
    parser.add_argument("--out", type=Path, help="directory to write to; default: runs/reproduce/NAME/")
    parser.add_argument(
        "--optimizers",
        nargs="+",
        metavar="NAME",
        help="for transformer: what to compare with tuned baselines, by names or paths as in lopt-eval; "
        "@ARCHITECTURE is an untrained one; default: small",
    )
    parser.add_argument(
        "--from-json",
        type=Path,
        metavar="FILE",
        help="for transformer: only draw the figures, from this outcome.json",
    )
    given = parser.parse_args(arguments)
    if given.name is None:
        print(listing)
        return 0
    try:
        if given.from_json:
            out = given.out or Path("runs/reproduce", given.name)
            reproductions.redraw(given.name, given.from_json, out)
            print(f"{out}/*.png")
            return 0
        return run(given)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    """Run the experiments that were asked for; return the exit status."""
    from meta_train import keep_compiled_programs

    keep_compiled_programs()
    names = [given.name]
    if given.name == "all":
        names = [name for name in reproductions.CATALOGUE if name not in reproductions.NEED_GPU]
    options = {"optimizers": tuple(given.optimizers)} if given.optimizers else {}
    base = given.out or Path("runs/reproduce")
    failed = False
    for name in names:
        out = base if given.out and given.name != "all" else base / name
        began = time.perf_counter()
        outcome = reproductions.reproduce(
            *(name, given.quick, out), lambda line: print(f"  {line}", file=sys.stderr), **options
        )
        print_outcome(name, outcome)
        print(f"{time.perf_counter() - began:.0f} seconds; {out}/outcome.json and figures")
        failed = failed or not outcome.holds
    # A quick run is too small to check the claims.
    return 1 if failed and not given.quick else 0


def print_outcome(name: str, outcome: reproductions.Outcome) -> None:
    """Print an experiment's settings, table and checks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in outcome.settings.items()))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for number, column in enumerate(outcome.columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in outcome.rows:
        table.add_row(*(cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for check in outcome.checks:
        print(f"{'✓' if check.holds else '✗'} {check.promise}: {check.measured:.6g} ({check.bounds})")


if __name__ == "__main__":
    sys.exit(main())
