"""Estimators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..registry import Registry
from .base import Estimator

ESTIMATORS: Registry[Estimator] = Registry("estimator", Estimator)
"""All registered estimators by name."""

T = TypeVar("T", bound=type[Estimator])


def register(name: str) -> Callable[[T], T]:
    """Register an estimator under `name`, for configs and commands.

    Raises:
        ValueError: if the name is taken, or the class is not an estimator or not a frozen dataclass.
    """
    return ESTIMATORS.register(name)


def create_estimator(name: str, **options: Any) -> Estimator:
    """Create an estimator by name.

    Raises:
        ValueError: for an unknown name, with similar ones, or an unknown option.
    """
    return ESTIMATORS.create(name, **options)
