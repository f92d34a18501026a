"""Reading of a run's `config.json`, of this version or of an older one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from lopt import UsageError

from .json_form import FORMAT, from_values
from .options import Options
from .run import Run

_FLAT = "lopt-run 1"
"""The format with flat options; files of still older runs have no format entry."""


def run_from_json(text: str) -> Run:
    """Read a run's configuration.

    Raises:
        UsageError: for text that is not a run's configuration, in one sentence.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        said = values.get("format", _FLAT)
        if type(said) is int:
            raise UsageError("it is a published optimizer's")
        if said == _FLAT:
            return _read_flat(values).run()
        if said != FORMAT:
            raise UsageError(f"its format is {said!r}, and this version of lopt reads {FORMAT!r}")
        return from_values(Run, {name: value for name, value in values.items() if name != "format"})
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UsageError(f"not the configuration of a run ({error})") from error


def is_older(text: str) -> bool:
    """Return whether a configuration is of a version whose checkpoints this version can't resume."""
    try:
        return json.loads(text).get("format", _FLAT) == _FLAT
    except (ValueError, AttributeError, RecursionError):
        return False


def _read_flat(values: dict[str, Any]) -> Options:
    """Read the configuration of an older run: one flat object, which omits defaults.

    Raises:
        UsageError: for names that are not options.
    """
    given = {name: value for name, value in values.items() if name != "format"}
    if "task" not in given:
        raise UsageError("it names no task")
    if isinstance(given["task"], str):  # still older
        given["task"] = [given["task"]]
    groups: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(Options):
        names = {one.name for one in dataclasses.fields(getattr(Options(), field.name))}
        groups[field.name] = {name: given.pop(name) for name in [*given] if name in names}
    if given:
        raise UsageError(f"a run has no {min(given)!r}")
    groups["problem"]["kind"] = "learned-optimizer"
    return from_values(Options, groups)
