"""The results of references on a run's trials, stored in its directory: `reference.json`."""

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
"""Results by the reference's name, and then by the trial's label."""


def write_references(file: Path, options: Mapping[str, Any], found: References) -> None:
    """Store results with the validation's options."""
    rivals = {
        name: {label: one._asdict() for label, one in by_trial.items()} for name, by_trial in found.items()
    }
    write_whole(file, json.dumps({"options": options, "rivals": rivals}, indent=1) + "\n")


def read_references(
    file: Path, options: Mapping[str, Any], rivals: Iterable[str], points: Mapping[str, int]
) -> References | None:
    """Read stored results, if they are of the same options, references and trials.

    Args:
        file: the file.
        options: the options of the validation.
        rivals: the references' names.
        points: number of points of each trial's curve, by label.

    Returns:
        The results, or None if they are of others, or the file is damaged or missing.
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
    """Create a reference from JSON values.

    Raises:
        ValueError, KeyError, TypeError: for values of another form.
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
