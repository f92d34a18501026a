"""Benchmarks: training curves, tuned baselines, metrics, suites and reports.

Names are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import reproductions
    from .protocol import benchmark
    from .report.report_files import Report, write_report
    from .report.terminal import print_results
    from .statistics import many_runs
    from .statistics.against_reference import Comparison, Summary, compare
    from .statistics.results import Results, Row, TaskResult
    from .training import curve_metrics, suites
    from .training.baselines import (
        BASELINES,
        REFERENCE,
        STANDARD,
        Baseline,
        Tuned,
        choose,
        families,
        log_grid,
        tune,
    )
    from .training.costs import Cost, measure_costs
    from .training.curves import Curves, run_keys, stack, sweep_curves, training_curves
    from .training.optimizers import Found, OptimizerNotFoundError, find, find_all
    from .training.partial_results import PartialResults
    from .training.rules import OptaxRule
    from .training.suites import SUITES, Entry, Suite, suite
    from .training.timing import seconds_per_step
    from .training.tuned_cache import Runs, TunedCache

_HOMES = {
    "training.baselines": (
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
    "statistics.against_reference": ("Comparison", "Summary", "compare"),
    "training.costs": ("Cost", "measure_costs"),
    "training.curves": ("Curves", "run_keys", "stack", "sweep_curves", "training_curves"),
    "training.optimizers": ("Found", "OptimizerNotFoundError", "find", "find_all"),
    "training.partial_results": ("PartialResults",),
    "protocol": ("benchmark",),
    "report.report_files": ("Report", "write_report"),
    "statistics.results": ("Results", "Row", "TaskResult"),
    "training.rules": ("OptaxRule",),
    "training.suites": ("SUITES", "Entry", "Suite", "suite"),
    "report.terminal": ("print_results",),
    "training.timing": ("seconds_per_step",),
    "training.tuned_cache": ("Runs", "TunedCache"),
}

_MODULES = {
    "many_runs": ".statistics.many_runs",
    "curve_metrics": ".training.curve_metrics",
    "reproductions": ".reproductions",
    "suites": ".training.suites",
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
    "benchmark",
    "choose",
    "compare",
    "curve_metrics",
    "families",
    "find",
    "find_all",
    "log_grid",
    "many_runs",
    "measure_costs",
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
    if name in _MODULES:
        return importlib.import_module(_MODULES[name], __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
