"""The values that can be logged: numbers, curves and histograms, with their JSON forms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from lopt import UsageError, strict_json


@dataclasses.dataclass(frozen=True)
class Curves:
    """Lines over a common axis.

    Attributes:
        steps: the axis, in inner steps.
        lines: the lines by name, with a value for each step; NaN for a missing value.
    """

    steps: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts between edges.

    Attributes:
        edges: ascending edges, one more than counts.
        counts: number of values between two edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


Value = float | Curves | Histogram
Values = Mapping[str, Value]


def numbers(values: Values) -> dict[str, float]:
    """Return the values that are finite numbers, including numpy's, as Python numbers."""
    return {
        name: int(value) if isinstance(value, Integral) else float(value)
        for name, value in values.items()
        if isinstance(value, Real) and math.isfinite(value)
    }


def to_json(values: Values) -> dict[str, Any]:
    """Convert values to JSON; numbers that are not finite are left out, or null within a curve.

    Raises:
        TypeError: for values that can't be logged, so that nothing is lost silently.
    """
    for name, value in values.items():
        if not isinstance(value, (Real, Curves, Histogram)):
            raise TypeError(f"{name} is no number, Curves or Histogram, and can't be logged: {value!r}")
    return numbers(values) | {
        name: _encode(value) for name, value in values.items() if isinstance(value, (Curves, Histogram))
    }


def from_json(record: Mapping[str, Any]) -> dict[str, Value]:
    """Read a result of `to_json`.

    Raises:
        UsageError: for anything else.
    """
    return {name: _decode(value) for name, value in record.items()}


def _encode(value: Curves | Histogram) -> dict[str, Any]:
    if isinstance(value, Histogram):
        return {"edges": [float(e) for e in value.edges], "counts": [int(c) for c in value.counts]}
    lines = {name: strict_json.encode([float(v) for v in line]) for name, line in value.lines.items()}
    return {"steps": [float(step) for step in value.steps], "lines": lines}


def _decode(value: Any) -> Value:
    match value:
        case int() | float():
            return value
        case {"edges": edges, "counts": counts}:
            return Histogram(tuple(edges), tuple(counts))
        case {"steps": steps, "lines": lines}:
            read = {name: tuple(strict_json.decode(line, math.nan)) for name, line in lines.items()}
            return Curves(tuple(steps), read)
    raise UsageError(f"not a logged value: {value!r}")
