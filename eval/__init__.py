"""Benchmarks: training curves, tuned baselines, metrics, suites and reports.

Names are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import aggregates, metrics, reproductions, suites
    from .baselines import BASELINES, REFERENCE, STANDARD, Baseline, Tuned, choose, families, log_grid, tune
    from .comparisons import Comparison, Summary, compare
    from .costs import Cost, measure_costs
    from .curves import Curves, run_keys, stack, sweep_curves, training_curves
    from .optimizers import Found, OptimizerNotFoundError, find, find_all
    from .partial_results import PartialResults
    from .protocol import benchmark
    from .report import Report, write_report
    from .results import Results, Row, TaskResult
    from .rules import OptaxRule
    from .suites import SUITES, Entry, Suite, suite
    from .terminal import print_results
    from .timing import seconds_per_step
    from .tuned_cache import Runs, TunedCache

_HOMES = {
    "baselines": (
        "BASELINES",
        "REFERENCE",
        "STANDARD",
        "Baseline",
        "Tuned",
        "choose",
        "families",
        "log_grid",
        "tune",
    ),
    "comparisons": ("Comparison", "Summary", "compare"),
    "costs": ("Cost", "measure_costs"),
    "curves": ("Curves", "run_keys", "stack", "sweep_curves", "training_curves"),
    "optimizers": ("Found", "OptimizerNotFoundError", "find", "find_all"),
    "partial_results": ("PartialResults",),
    "protocol": ("benchmark",),
    "report": ("Report", "write_report"),
    "results": ("Results", "Row", "TaskResult"),
    "rules": ("OptaxRule",),
    "suites": ("SUITES", "Entry", "Suite", "suite"),
    "terminal": ("print_results",),
    "timing": ("seconds_per_step",),
    "tuned_cache": ("Runs", "TunedCache"),
}

__all__ = [
    "BASELINES",
    "REFERENCE",
    "STANDARD",
    "SUITES",
    "Baseline",
    "Comparison",
    "Cost",
    "Curves",
    "Entry",
    "Found",
    "OptaxRule",
    "OptimizerNotFoundError",
    "PartialResults",
    "Report",
    "Results",
    "Row",
    "Runs",
    "Suite",
    "Summary",
    "TaskResult",
    "Tuned",
    "TunedCache",
    "aggregates",
    "benchmark",
    "choose",
    "compare",
    "families",
    "find",
    "find_all",
    "log_grid",
    "measure_costs",
    "metrics",
    "print_results",
    "reproductions",
    "run_keys",
    "seconds_per_step",
    "stack",
    "suite",
    "suites",
    "sweep_curves",
    "training_curves",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    if name in ("aggregates", "metrics", "reproductions", "suites"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
