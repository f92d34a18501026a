"""Ranges of numbers, written where the numbers are: `steps: Annotated[int, Range(1)] = 1000`."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from lopt import UsageError

MOST = 2**31 - 1
"""The largest count: devices count in 32 bits."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers between two ends.

    Attributes:
        low: the least.
        high: the most.
        positive: whether 0 is too little, where `low` is 0.
    """

    low: float = 0
    high: float = MOST
    positive: bool = False

    def complaint(self, value: Any) -> str | None:
        """Say what a number must be, or None where it is that; NaN is never in a range."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "must be a finite number"
        if self.positive and value <= 0:
            return "must be positive"
        if value < self.low:
            return "must not be negative" if self.low == 0 else f"must be at least {self.low}"
        return f"must be at most {self.high}" if value > self.high else None


COUNT = Range(1)
"""A number of things, at least one."""
SIZE = Range(0, 1e18, positive=True)
"""A positive number whose square is a number in 32 bits too."""


def flag(name: str) -> str:
    """Return a field's option on the command line."""
    return "--" + name.replace("_", "-")


def check_ranges(values: Any) -> None:
    """Check the fields of a dataclass that have a range, and each number of a tuple.

    Raises:
        UsageError: naming the option, what it must be and what it is.
    """
    for name, hint in typing.get_type_hints(type(values), include_extras=True).items():
        limits = [limit for limit in getattr(hint, "__metadata__", ()) if isinstance(limit, Range)]
        value = getattr(values, name)
        if not limits or (value is None and type(None) in typing.get_args(hint.__origin__)):
            continue
        for one in value if isinstance(value, tuple) else (value,):
            for limit in limits:
                if complaint := limit.complaint(one):
                    raise UsageError(f"{flag(name)} {complaint}, not {one}")
