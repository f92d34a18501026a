"""Conversion of runs to and from JSON: nested objects; registered classes have their name as "kind"."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import lopt
from lopt import UsageError

from ..estimators import ESTIMATORS
from ..horizons import HORIZONS
from ..objectives import OBJECTIVES
from ..problems.builtin import PROBLEMS
from ..registry import Registry
from .run import Run

FORMAT = "lopt-run 2"
"""The format entry in files of runs, which distinguishes them from published optimizers."""
T = TypeVar("T")
_REGISTRIES: tuple[Registry[Any], ...] = (ESTIMATORS, HORIZONS, OBJECTIVES, PROBLEMS)


def run_to_json(run: Run) -> str:
    """Return a run as JSON text.

    Raises:
        UsageError: for an estimator, horizon, objective or problem that is not registered.
    """
    return json.dumps({"format": FORMAT} | encode(run), indent=2, allow_nan=False) + "\n"


def from_values(cls: type[T], values: Mapping[str, Any]) -> T:
    """Create an object from JSON values.

    Args:
        cls: a dataclass, such as `Run`.
        values: the result of `encode`, or a part of it.

    Raises:
        UsageError: for values that don't fit the class, in one sentence.
    """
    return _decode(cls, dict(values), "")


def encode(value: Any) -> Any:
    """Convert a frozen dataclass and its contents to JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        registry = _registry_of(type(value))
        named = {} if registry is None else {"kind": registry.name_of(value)}
        return named | {field.name: encode(getattr(value, field.name)) for field in _fields(type(value))}
    if isinstance(value, (tuple, list)):
        return [encode(one) for one in value]
    if (
        value is None
        or isinstance(value, (bool, int, str))
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise UsageError(f"{value!r} can't be kept in a run's configuration: use strings, numbers and tuples")


def _registry_of(cls: Any) -> Registry[Any] | None:
    if not isinstance(cls, type):
        return None
    return next((registry for registry in _REGISTRIES if issubclass(cls, registry.base)), None)


def _fields(cls: Any) -> list[Any]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _decode(hint: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to the type of a type hint."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = hint.__origin__
    registry = _registry_of(hint)
    if registry is not None or dataclasses.is_dataclass(hint):
        return _decode_object(hint, registry, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_decode(arguments[0] if arguments else Any, one, where) for one in value)
    if origin is Literal:
        fits = any(type(value) is type(one) and value == one for one in arguments)
    elif hint is float:
        fits = type(value) in (int, float)
    elif hint in (int, str, bool, type(None)):
        fits = type(value) is hint
    else:
        fits = origin is not tuple
    if not fits:
        raise UsageError(f"{where} can't be {value!r}")
    return value


def _decode_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    for argument in arguments:
        try:
            return _decode(argument, value, where)
        except ValueError:
            continue
    raise UsageError(f"{where} can't be {value!r}")


def _decode_object(hint: Any, registry: Registry[Any] | None, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise UsageError(f"{where or 'it'} is no object")
    given, cls, kind = dict(value), hint, ""
    if registry is not None:
        kind = given.pop("kind", None)
        if not isinstance(kind, str):
            raise UsageError(f"{where} says no kind")
        cls = lopt.look_up(registry.kind, registry, kind)
    hints = _hints(cls)
    names = [field.name for field in _fields(cls)]
    if unknown := sorted(given.keys() - set(names)):
        raise UsageError(f"{where or 'a run'} has no {unknown[0]!r}")
    place = f"{where}." if where else ""
    options = {name: _decode(hints.get(name, Any), one, place + name) for name, one in given.items()}
    return cls(**options) if registry is None else registry.create(kind, **options)


def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # a name that is imported for type checkers only
        return {}
