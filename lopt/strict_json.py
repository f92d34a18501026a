"""Numbers that are not finite in JSON, which has none: null stands for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def encode(value: Any) -> Any:
    """Return a value as strict JSON holds it (`json.dumps(..., allow_nan=False)`).

    Args:
        value: dicts, lists, tuples, arrays, numpy's numbers, and whatever JSON has itself. A number that is
            not finite becomes None; tuples and arrays become lists, and keys text.
    """
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float):
        # Numpy's float64 is a float, too; numpy's others are not.
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    return encode(value.tolist()) if callable(getattr(value, "tolist", None)) else value


def decode(value: Any, null: float) -> Any:
    """Return a number, or lists of numbers within each other, as they were before `encode`.

    Args:
        value: what JSON gave.
        null: what null stands for, as infinity for losses.
    """
    if isinstance(value, list):
        return [decode(item, null) for item in value]
    return null if value is None else value
