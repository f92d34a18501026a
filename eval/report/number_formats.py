"""Number formats of tables."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..statistics.against_reference import Summary
from ..statistics.many_runs import Estimate


def counted(number: int, noun: str) -> str:
    """Format a count with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def loss(value: float) -> str:
    """Format a loss with three digits."""
    return f"{value:#.3g}".rstrip(".") if math.isfinite(value) else "diverged"


def rate(value: float | None) -> str:
    """Format a learning rate: 0.001 to 999 plainly, others with an exponent."""
    return "" if value is None else f"{value:.3g}"


def times(value: float | None) -> str:
    """Format a speed-up; "never" if the target was not reached."""
    return "never" if value is None else f"{value:.2f}x"


def ratio(value: float) -> str:
    """Format a ratio of losses with three digits."""
    return f"{value:#.3g}".rstrip(".")


def with_interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    """Format a number, with its interval if it has one."""
    if estimate.interval is None:
        return write(estimate.value)
    low, high = (write(bound).removesuffix("x") for bound in estimate.interval)
    return f"{write(estimate.value)} [{low}, {high}]"


def with_rate(value: float, learning_rate: float | None) -> str:
    """Format a loss, with its learning rate if given."""
    return loss(value) if learning_rate is None else f"{loss(value)} ({rate(learning_rate)})"


def with_spread(values: tuple[float, ...]) -> str:
    """Format the mean, lowest and highest loss over seeds."""
    if len(values) == 1 or not math.isfinite(mean(values)):
        return loss(mean(values))
    return f"{loss(mean(values))} [{loss(min(values))}, {loss(max(values))}]"


def with_accuracy(shares: tuple[float, ...]) -> str:
    """Format the mean, lowest and highest accuracy over seeds; a dash if there is none."""
    if not shares:
        return "-"
    middle, *ends = (f"{100 * share:.1f}" for share in (mean(shares), min(shares), max(shares)))
    return f"{middle}% [{', '.join(ends)}]" if len(shares) > 1 else f"{middle}%"


def of_summary(summary: Summary | None, write: Callable[[float], str]) -> str:
    """Format a score's interquartile mean, with its interval if it has one."""
    return "-" if summary is None else with_interval(summary.interquartile_mean, write)


def mean(values: tuple[float, ...]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
