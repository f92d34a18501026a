"""Strict JSON, in which null stands for numbers that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def encode(value: Any) -> Any:
    """Convert a value for strict JSON (`json.dumps(..., allow_nan=False)`).

    Args:
        value: dicts, lists, tuples, arrays, numpy scalars, and JSON's own types. A number that is not finite
            becomes None; tuples and arrays become lists, and keys text.
    """
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, float):
        # numpy's float64 is a float; its other scalar types are not.
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    return encode(value.tolist()) if callable(getattr(value, "tolist", None)) else value


def decode(value: Any, null: float) -> Any:
    """Return a number, or nested lists of numbers, as before `encode`.

    Args:
        value: a parsed JSON value.
        null: the value that null stands for, such as infinity for losses.
    """
    if isinstance(value, list):
        return [decode(item, null) for item in value]
    return null if value is None else value
