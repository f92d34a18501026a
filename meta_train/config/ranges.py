"""Ranges of numbers, written as annotations of fields: `steps: Annotated[int, Range(1)] = 1000`."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from lopt import UsageError

MOST = 2**31 - 1
"""The largest count: counters on devices are int32."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers between two ends.

    Attributes:
        low: the smallest value.
        high: the largest value.
        positive: whether 0 is excluded, if `low` is 0.
    """

    low: float = 0
    high: float = MOST
    positive: bool = False

    def complaint(self, value: Any) -> str | None:
        """Return what a number must be, or None if it is in the range; NaN never is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "must be a finite number"
        if self.positive and value <= 0:
            return "must be positive"
        if value < self.low:
            return "must not be negative" if self.low == 0 else f"must be at least {self.low}"
        return f"must be at most {self.high}" if value > self.high else None


COUNT = Range(1)
"""A count of at least one."""
SIZE = Range(0, 1e18, positive=True)
"""A positive number whose square is a finite float32."""


def flag(name: str) -> str:
    """Return a field's flag on the command line."""
    return "--" + name.replace("_", "-")


def check_ranges(values: Any) -> None:
    """Check the fields of a dataclass that have a range; of a tuple, each number.

    Raises:
        UsageError: if one is out of range; the message names the flag, the range and the value.
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
