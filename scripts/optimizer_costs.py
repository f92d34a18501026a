"""The table of `scripts/benchmark.py optimizers`: the cost of a jitted update of an exported optimizer."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import optax
import update_compiling
import update_runner
import update_timing
from parameter_trees import TREES
from rich.console import Console
from rich.table import Table
from separate_process import start

import lopt
from meta_train import usable_cores

LEGEND = (
    "(x): as a multiple of optax.adam, compiled before and after in the same process, and run in turn.\n"
    "Times are processor time, except in the columns of wall time; those of updates are medians.\n"
    "HLO operations are those of the optimised module. Temporaries and state are bytes per parameter.\n"
    "Resident is the process's peak; with many operations, most of it is for compilation."
)
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(10**11), "MALLOC_MMAP_MAX_": "0", "MALLOC_ARENA_MAX": "1"}
"""Makes glibc keep freed memory. Otherwise it is returned and mapped again at every update: zeroing new pages
took a third of the time of the larger rules, and half of Adam's, varying at random."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A measurement in the table."""

    heading: str
    key: str
    format: str


COLUMNS = (
    Column("ns / parameter", "ns_per_parameter", ".2f"),
    Column("update ms, wall", "update_ms", ".2f"),
    Column("trace s", "trace_cpu_s", ".1f"),
    Column("compile s", "compile_cpu_s", ".1f"),
    Column("compile s, wall", "compile_s", ".1f"),
    Column("HLO operations", "hlo_operations", ",.0f"),
    Column("temporaries B", "temporary_bytes", ".1f"),
    Column("state B", "state_bytes", ".2f"),
    Column("resident MB", "resident_mb", ",.0f"),
)


def run(
    names: Sequence[str] | None,
    trees: Sequence[str] | None,
    seconds: float,
    limit: float,
    path: Path | None,
) -> int:
    """Measure every optimizer on every tree, each in fresh processes; print a table per tree.

    Args:
        names: optimizers; None for all. Adam always comes first, as the reference.
        trees: names of parameter trees; None for all except `tiny`.
        seconds: time to repeat each case for.
        limit: seconds after which a process is stopped.
        path: file for all results as JSON, rewritten after each case.

    Returns:
        The exit status: 1 if a case failed or its updates were not finite.
    """
    known = update_runner.optimizers()
    try:
        for name in names or ():
            lopt.look_up("optimizer", known, name)
        for name in trees or ():
            lopt.look_up("parameter tree", TREES, name)
    except ValueError as error:
        sys.exit(str(error))
    chosen = dict.fromkeys(["adam", *(names or known)])
    results: list[dict[str, Any]] = []
    origin = describe()
    for tree in trees or [name for name in TREES if name != "tiny"]:
        rows = []
        for name in chosen:
            case = {"optimizer": name, "tree": tree}
            rows.append(with_memory_ratio(case | measure(case, seconds, limit), rows))
            print(f"{tree}: {' '.join(_cells(rows[-1]))}", file=sys.stderr, flush=True)
            if path:
                path.write_text(json.dumps({**origin, "cases": results + rows}, indent=1) + "\n")
        # Otherwise rich limits the table to 80 columns for a pipe or a file.
        Console(width=None if sys.stdout.isatty() else 150).print(table(tree, rows))
        results += rows
    print(LEGEND)
    return int(any(not result.get("finite") for result in results))


def measure(case: dict[str, Any], seconds: float, limit: float) -> dict[str, Any]:
    """Measure a case, or return an error: compile in one process, and run in another."""
    with tempfile.TemporaryDirectory() as place:
        arguments = case | {"program": str(Path(place, "program"))}
        costs = _start(update_compiling, arguments, limit, {"JAX_ENABLE_COMPILATION_CACHE": "false"})
        if "error" in costs:
            return costs
        times = _start(update_timing, arguments | {"seconds": seconds}, limit, KEEP_MEMORY)
    return merged(costs, times)


def merged(costs: dict[str, Any], times: dict[str, Any]) -> dict[str, Any]:
    """Return what a compiling process and a timing one found, or the error of the latter."""
    if "error" in times:
        return times
    both = {name: costs[name] | times[name] for name in ("adam", "ratios")}
    return {**costs, **times, **both, "finite": costs["finite"] and times["finite"]}


def _start(
    module: ModuleType, arguments: dict[str, Any], limit: float, environment: dict[str, str]
) -> dict[str, Any]:
    """Call a module's `measure` in a separate process; return its result, or an error."""
    result = start(Path(str(module.__file__)), arguments, limit, environment)
    if log := result.pop("log", ""):
        print(log, file=sys.stderr)
    return result


def with_memory_ratio(result: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the ratio of peak memories; a process has only one peak, so Adam's comes from its own case."""
    reference = (rows or [result])[0].get("resident_mb")
    if reference and "ratios" in result:
        result["ratios"]["resident_mb"] = result["resident_mb"] / reference
    return result


def table(tree: str, rows: list[dict[str, Any]]) -> Table:
    """Return the table of results on one tree."""
    sizes = next(
        (f": {r['parameters']:,} parameters, {r['tensors']} tensors" for r in rows if "finite" in r), ""
    )
    laid = Table("optimizer", title=tree + sizes)
    for column in COLUMNS:
        laid.add_column(f"{column.heading} (x)", justify="right")
    for result in rows:
        laid.add_row(*_cells(result))
    return laid


def _cells(result: dict[str, Any]) -> list[str]:
    if "error" in result:
        return [f"{result['optimizer']}: {result['error']}"]
    name = result["optimizer"] + ("" if result["finite"] else ", NOT FINITE")
    return [name, *(_cell(result, column) for column in COLUMNS)]


def _cell(result: dict[str, Any], column: Column) -> str:
    ratio = result["ratios"].get(column.key)
    return f"{result[column.key]:{column.format}} ({_multiple(ratio)})"


def _multiple(ratio: float | None) -> str:
    if ratio is None or ratio >= 1000:  # Adam's value is almost zero
        return "-"
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def describe() -> dict[str, Any]:
    """Return a description of the machine and the versions."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": usable_cores(),
            "backend": jax.default_backend(),
            "load": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "optax": optax.__version__,
            "lopt": str(Path(lopt.__file__).parent),
        },
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
