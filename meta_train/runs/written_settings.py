"""The settings in a run's `config.json`, by their flags, without creating the run's objects.

So a run is read in milliseconds, also one of an older format, and one whose classes are registered by a file
that is not imported here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lopt import UsageError, plain

from ..config.options import Options, flag_of
from ..config.ranges import flag
from ..host.files import read_whole

_PREFIX = "lopt-run "
_NESTED = ("problem", "method", "loop")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run was started with.

    Attributes:
        problem: what theta is trained on, in a few words.
        meta_steps: meta-steps of the whole run.
        by_flag: each setting by its flag on the command line; lists and numbers as in JSON.
        older: whether the file has the format of an older version.
    """

    problem: str
    meta_steps: int
    by_flag: dict[str, Any]
    older: bool = False


def is_published(values: object) -> bool:
    """Return whether the contents of a `config.json` are those of a published optimizer."""
    return isinstance(values, dict) and type(values.get("format")) is int


def read_settings(config: Path) -> Settings:
    """Read a run's `config.json`.

    Raises:
        UsageError: if it can't be read, or is not the configuration of a run; the message begins with the
            file's name.
    """
    try:
        values = json.loads(read_whole(config))
    except OSError as error:
        raise UsageError(f"its {config.name} can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"its {config.name} is not the configuration of a run ({plain(error)})") from error
    try:
        return _settings(values)
    except (TypeError, LookupError, AttributeError, ValueError) as error:
        raise UsageError(f"its {config.name} is not the configuration of a run ({plain(error)})") from error


def _settings(values: Any) -> Settings:
    said = values.get("format", "")
    if is_published(values):
        raise UsageError("it is a published optimizer's")
    if not ((isinstance(said, str) and said.startswith(_PREFIX)) or said == ""):
        raise UsageError(f"its format is {said!r}")
    older = not all(isinstance(values.get(name), dict) for name in _NESTED)
    by_flag = _flat(values) if older else _nested(values)
    steps = by_flag["--steps"]
    if type(steps) is not int or steps < 1:
        raise UsageError(f"--steps can't be {steps!r}")
    return Settings(_problem(by_flag), steps, by_flag, older)


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    by_flag: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                add(f"{path}.{name}", one)
        else:
            by_flag[flag_of(path)] = value

    for name, group in values.items():
        if isinstance(group, dict):
            add(name, group)
    return by_flag


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Read the flat object of an older run, which omits defaults."""
    if "task" not in values:
        raise UsageError("it names no task")
    default = Options()
    groups = (getattr(default, field.name) for field in dataclasses.fields(default))
    given = {one.name: getattr(group, one.name) for group in groups for one in dataclasses.fields(group)}
    given |= {name: value for name, value in values.items() if name != "format"}
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    if isinstance(listed["task"], str):  # still older
        listed["task"] = [listed["task"]]
    return {"--problem": "learned-optimizer"} | {flag(name): value for name, value in listed.items()}


def _problem(by_flag: dict[str, Any]) -> str:
    """Return in a few words what a run trains."""
    kind, where = by_flag["--problem"], _listed(by_flag.get("--task"))
    if kind == "learned-optimizer":
        start = by_flag.get("--init-from")
        what = Path(str(start)).name if start else str(by_flag["--optimizer"])
    elif kind == "hyperparameters":
        what = f"{', '.join(map(str, by_flag['--tune']))} of {by_flag['--optimizer']}"
    elif kind == "system":
        return str(by_flag["--system"])
    else:
        what = str(kind)
    return f"{what} on {where}" if where else what


def _listed(tasks: Any) -> str:
    """Return one task's name, or the number of several."""
    if not tasks or not isinstance(tasks, list):
        return ""
    return str(tasks[0]) if len(tasks) == 1 else f"{len(tasks)} tasks"
