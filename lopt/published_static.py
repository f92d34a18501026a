"""Checks of a published optimizer's static fields against the architecture's defaults."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import jax

from .base import LearnedOptimizer, static_fields
from .errors import UsageError
from .plain_text import quoted, reason

_LARGE = 10_000
"""Integers up to this are accepted for any size of theta."""


def check_static(static: Mapping[str, Any], cls: type[LearnedOptimizer], numbers: int) -> None:
    """Check static fields before an architecture is created with them.

    A number must be finite, and not negative if its default is not; a float must be above zero if its default
    is. `struct.field(..., metadata={"signed": True})` lifts the restriction of the sign.

    Args:
        static: the fields by name, as parsed from JSON.
        cls: the architecture.
        numbers: size of the theta that they belong to.

    Raises:
        UsageError: if one is wrong; the message says which, and why.
    """
    defaults = _default_static(cls)
    for name, value in static.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise UsageError(f"{quoted(name)} is not a static field of this architecture, which has {known}")
        default = defaults[name]
        if wrong := _unlike(value, default, cls, name) or _outside(
            value, default, _signed(cls, name), numbers
        ):
            raise UsageError(f"{name} is {quoted(value)}, but should be {wrong}")


def hashable(value: Any) -> Any:
    """Turn the lists of a parsed value into tuples: static fields are hashed, and JSON has only lists."""
    return tuple(hashable(item) for item in value) if isinstance(value, list) else value


@functools.cache
def _default_static(cls: type[LearnedOptimizer]) -> dict[str, Any]:
    """Return the default static fields of an architecture."""
    try:
        return static_fields(jax.eval_shape(lambda: cls.create(jax.random.key(0))))
    except TypeError as error:
        raise UsageError(f"every option of `create` needs a default: {reason(error)}") from error


def _signed(cls: type[LearnedOptimizer], name: str) -> bool:
    return cls.__dataclass_fields__[name].metadata.get("signed", False)


def _unlike(value: Any, default: Any, cls: type[LearnedOptimizer], name: str) -> str:
    """Return a description of the type that a value should have, or "" if it has it."""
    if default is None:
        is_text = str(cls.__dataclass_fields__[name].type) == "str | None"
        return "text or null" if is_text and not isinstance(value, str | None) else ""
    like = {float: (int, float), tuple: (list, tuple)}.get(type(default), type(default))
    same = isinstance(value, like) and isinstance(value, bool) == isinstance(default, bool)
    return "" if same else f"like {quoted(default)}"


def _outside(value: Any, default: Any, signed: bool, numbers: int) -> str:
    """Return a description of the range that a number should be in, or "" if it is."""
    if not _is_number(value):
        return ""
    if not abs(value) <= sys.float_info.max:  # catches NaN, and works for integers of any size
        return "finite"
    if not signed and isinstance(default, int | float) and default >= 0:
        if value < 0:
            return "0 or more"
        if isinstance(default, float) and default > 0 and value == 0:
            return "above 0"
    # A size can't be larger than theta; `create` with a billion layers would not return.
    if type(default) is int and default > 0 and value > max(numbers, 10 * default, _LARGE):
        return f"in keeping with theta, which has {numbers} numbers in all"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
