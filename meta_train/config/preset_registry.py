"""The registry of presets."""

from __future__ import annotations

from collections.abc import Callable

from .options import Options

PRESETS: dict[str, Callable[[], Options]] = {}
"""All presets by name."""


def preset(function: Callable[[], Options]) -> Callable[[], Options]:
    """Register a preset under its function's name, with dashes."""
    PRESETS[function.__name__.replace("_", "-")] = function
    return function
