"""Estimators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..registry import Registry
from .base import Estimator

ESTIMATORS: Registry[Estimator] = Registry("estimator", Estimator)
"""Every registered estimator by its name."""

T = TypeVar("T", bound=type[Estimator])


def register(name: str) -> Callable[[T], T]:
    """Register an estimator under `name`, for configs and commands.

    Raises:
        ValueError: when the name is taken, or the class is no estimator, or no dataclass of its own.
    """
    return ESTIMATORS.register(name)


def create_estimator(name: str, **options: Any) -> Estimator:
    """Make an estimator by name.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or an option that it does not take.
    """
    return ESTIMATORS.create(name, **options)
