"""Architectures by name; `architectures.py` fills the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from jaxtyping import Array, Key

from .base import LearnedOptimizer
from .errors import UsageError
from .names import check_class, check_free, check_name, look_up

ARCHITECTURES: dict[str, type[LearnedOptimizer]] = {}
"""Every registered architecture by its name."""

T = TypeVar("T", bound=type[LearnedOptimizer])


def register(name: str) -> Callable[[T], T]:
    """Register an architecture under `name`, for configs, commands and published optimizers.

    Raises:
        UsageError: if the name is taken or not text, or the class is not a complete LearnedOptimizer.
    """

    def add(cls: T) -> T:
        check_class(cls, LearnedOptimizer, name)
        check_free("architecture", name, ARCHITECTURES)
        ARCHITECTURES[name] = cls
        return cls

    check_name(name)
    return add


def architecture(name: str) -> type[LearnedOptimizer]:
    """Look an architecture up by name.

    Raises:
        UsageError: for an unknown name; the message suggests similar ones.
    """
    return look_up("optimizer architecture", ARCHITECTURES, name)


def create(name: str, key: Key[Array, ""], **static: Any) -> LearnedOptimizer:
    """Create an architecture by name with an initial theta drawn from `key`."""
    return architecture(name).create(key, **static)


def architecture_name(optimizer: LearnedOptimizer) -> str:
    """Return the name that an optimizer's class is registered under.

    Raises:
        UsageError: if its class is not registered.
    """
    for name, cls in ARCHITECTURES.items():
        if type(optimizer) is cls:
            return name
    raise UsageError(
        f"{type(optimizer).__name__} is not registered: decorate it with @lopt.register('its-name')"
    )
