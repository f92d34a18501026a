"""Benchmarks: training curves, tuned baselines, metrics, suites and reports."""

from typing import TYPE_CHECKING

from lopt import lazily

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
        register_baseline,
        tune,
    )
    from .training.costs import Cost, measure_costs
    from .training.curves import Curves, run_keys, stack, sweep_curves, training_curves
    from .training.entries import Entry, Suite
    from .training.optimizers import Found, OptimizerNotFoundError, find, find_all
    from .training.partial_results import PartialResults
    from .training.suites import SUITES, register_suite, suite
    from .training.timing import seconds_per_step
    from .training.tuned_cache import Runs, TunedCache
else:
    __getattr__, __dir__ = lazily(__name__)

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
    "register_baseline",
    "register_suite",
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
