"""Estimators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lopt import look_up

from .base import Estimator

ESTIMATORS: dict[str, type[Estimator]] = {}
"""Every registered estimator by its name."""

T = TypeVar("T", bound=type[Estimator])


def register(name: str) -> Callable[[T], T]:
    """Register an estimator under `name`, for configs and commands.

    Raises:
        ValueError: when the name is taken, or the class is no dataclass of its own.
    """

    def add(cls: T) -> T:
        if name in ESTIMATORS:
            raise ValueError(f"an estimator called {name!r} is registered already")
        if "__dataclass_params__" not in cls.__dict__:
            raise ValueError(f"{cls.__name__} needs @dataclasses.dataclass(frozen=True) below @register")
        ESTIMATORS[name] = cls
        return cls

    return add


def create_estimator(name: str, **options: Any) -> Estimator:
    """Make an estimator by name.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or an option that it does not take.
    """
    estimator = look_up("estimator", ESTIMATORS, name)
    try:
        return estimator(**options)
    except TypeError as error:
        raise ValueError(f"estimator {name}: {error}") from error
