"""A plugin of pytest for `check_gpu.py`: write a line of JSON for each test as soon as it is over.

Started with `-p outcome_lines`; LOPT_OUTCOMES names the file.
The outcomes are known even if pytest is stopped.
"""

from __future__ import annotations

import json
import os
from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Write the outcome of a test, or why it could not begin or end."""
    if report.when == "call" or report.outcome != "passed":
        _write(report)


def pytest_collectreport(report: Any) -> None:
    """Write why a file could not be read."""
    if report.outcome == "failed":
        _write(report)


def _write(report: Any) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the process that started this one hears of it, too
    crash = getattr(report.longrepr, "reprcrash", None)
    why = "" if report.outcome != "failed" else crash.message if crash else str(report.longrepr)
    line = {"test": report.nodeid, "outcome": report.outcome, "why": why[-500:]}
    with open(os.environ["LOPT_OUTCOMES"], "a") as file:
        file.write(json.dumps(line) + "\n")
