"""Architectures by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxtyping import Array, Key

from .base import LearnedOptimizer

ARCHITECTURES: dict[str, type[LearnedOptimizer]] = {}
"""Every registered architecture by its name."""

T = TypeVar("T", bound=type[LearnedOptimizer])
V = TypeVar("V")


def register(name: str) -> Callable[[T], T]:
    """Register an architecture under `name`, for configs, commands and published optimizers.

    Raises:
        ValueError: when the name is taken.
    """

    def add(cls: T) -> T:
        if name in ARCHITECTURES:
            raise ValueError(f"an architecture called {name!r} is registered already")
        ARCHITECTURES[name] = cls
        return cls

    return add


def architecture(name: str) -> type[LearnedOptimizer]:
    """Look an architecture up by name.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    return look_up("optimizer architecture", ARCHITECTURES, name)


def look_up(kind: str, table: Mapping[str, V], name: str) -> V:
    """Take what is called `name` from a table of things of a kind.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise ValueError(f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?")
    return table[name]


def create(name: str, key: Key[Array, ""], **static: Any) -> LearnedOptimizer:
    """Create an architecture by name with an initial theta drawn from `key`."""
    return architecture(name).create(key, **static)


def architecture_name(optimizer: LearnedOptimizer) -> str:
    """Return the name that an optimizer's class is registered under.

    Raises:
        ValueError: when its class is not registered.
    """
    for name, cls in ARCHITECTURES.items():
        if type(optimizer) is cls:
            return name
    raise ValueError(
        f"{type(optimizer).__name__} is not registered: decorate it with @lopt.register('its-name')"
    )
