"""How rivals did on a run's trials, kept in its directory: `reference.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lopt import UsageError

from ..host.files import read_object, write_whole
from .validation import Reference

References = dict[str, dict[str, Reference]]
"""By the rival's name, and then by the trial's label."""


def write_references(file: Path, options: Mapping[str, Any], found: References) -> None:
    """Keep what was found under given options of the validation."""
    rivals = {
        name: {label: one._asdict() for label, one in by_trial.items()} for name, by_trial in found.items()
    }
    write_whole(file, json.dumps({"options": options, "rivals": rivals}, indent=1) + "\n")


def read_references(
    file: Path, options: Mapping[str, Any], rivals: Iterable[str], points: Mapping[str, int]
) -> References | None:
    """Read what was kept, if it is of the same options, rivals and trials.

    Args:
        file: where it was kept.
        options: of the validation.
        rivals: their names.
        points: how many points the curve of each trial has, by its label.

    Returns:
        None where it is not, or where the file is damaged or not there: then they are judged anew.
    """
    try:
        kept = read_object(file) or {}
        if kept["options"] != options:
            return None
        found = kept["rivals"]
        return {
            name: {label: _reference(found[name][label], count) for label, count in points.items()}
            for name in rivals
        }
    except (ValueError, KeyError, TypeError):
        return None


def _reference(values: Any, points: int) -> Reference:
    """Make a reference of JSON's values.

    Raises:
        ValueError, KeyError, TypeError: for what is none.
    """
    curve = values["curve"]
    numbers = (values["setting"], values["objective"], *curve)
    if (
        not isinstance(curve, list)
        or len(curve) != points
        or any(type(x) not in (int, float) for x in numbers)
    ):
        raise UsageError("other numbers")
    if not math.isfinite(values["objective"]):
        raise UsageError("not finite")
    return Reference(float(values["setting"]), float(values["objective"]), tuple(map(float, curve)))
