"""Runs in a few facts each: what `lopt-runs list` shows."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lopt import UsageError, plain

from ..host.files import is_run_id, read_object
from ..trackers import metrics
from ..trackers.json_lines import read_record
from .files import size_of, steps_in
from .liveness import is_running, last_change
from .lost_checkpoints import are_lost
from .written_settings import Settings, is_published, read_settings

State = Literal["running", "stopped", "done", "damaged"]
_MARKS = frozenset(("config.json", "run.json", "metrics.jsonl", "checkpoints"))
"""Files of a run; a directory with two of them is one."""
_DEPTH = 8
"""Folders below the one that is searched."""
_VALID, _INNER = metrics.VALID_OBJECTIVE.name, metrics.INNER_STEPS.name


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A run in a few facts; None for what is not known.

    Attributes:
        path: its directory.
        state: "running" if a process trains there now; "done" after the last meta-step; "damaged" if a file
            is missing or odd; else "stopped".
        why: what is damaged, in one sentence; else empty.
        preset: the preset that it was started from; empty without one.
        problem: what it trains, in a few words.
        meta_step: meta-steps done.
        meta_steps: meta-steps of the whole run.
        best: the lowest objective of a validation.
        inner_steps: inner steps done.
        changed: when it last wrote something, in seconds since the epoch.
        size: bytes of its directory.
        id: its id, which W&B has, too.
    """

    path: Path
    state: State
    why: str = ""
    preset: str = ""
    problem: str = ""
    meta_step: int | None = None
    meta_steps: int | None = None
    best: float | None = None
    inner_steps: int | None = None
    changed: float = 0.0
    size: int = 0
    id: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts in JSON's types; `changed` as ISO 8601."""
        when = datetime.datetime.fromtimestamp(self.changed, datetime.UTC).isoformat(timespec="seconds")
        return dataclasses.asdict(self) | {"path": str(self.path), "changed": when}


def find_runs(directory: str | Path) -> list[RunSummary]:
    """Return the runs in a directory and its folders, the newest first; the directory may itself be a run.

    Raises:
        UsageError: if there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"there is no directory {root}")
    found = [summarize_run(path) for path in _runs_below(root, _DEPTH)]
    return sorted(found, key=lambda one: -one.changed)


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError:
        return
    if is_run(folder):
        yield folder
    elif depth:
        for one in entries:
            if one.is_dir(follow_symlinks=False) and not one.name.startswith("."):
                yield from _runs_below(folder / one.name, depth - 1)


def is_run(folder: Path) -> bool:
    """Return whether a directory is a run's, even a damaged one; a published optimizer is none."""
    names = {name for name in _MARKS if os.path.lexists(folder / name)}
    config = read_object(folder / "config.json") or {}
    if is_published(config):
        return False
    return len(names) > 1 or str(config.get("format", "")).startswith("lopt-run")


def summarize_run(run_dir: str | Path) -> RunSummary:
    """Return the facts of one run. Odd files make it "damaged"; they are not errors.

    Raises:
        UsageError: if the directory is not a run's.
    """
    path = Path(run_dir)
    if not path.is_dir() or not is_run(path):
        what = "not a run directory: it has no config.json of a run" if path.exists() else "not there"
        raise UsageError(f"{path} is {what}")
    identity = read_object(path / "run.json") or {}
    settings, wrong = _or_why(path)
    log = _Log.read(path / "metrics.jsonl")
    steps = steps_in(path / "checkpoints")
    done = max([log.meta_step or 0, *steps[-1:]]) if log.meta_step is not None or steps else None
    complaint = wrong or log.why or _complaint(path, identity)
    return RunSummary(
        path=path,
        state=_state(path, complaint, done, settings),
        why=complaint,
        preset=_preset(identity.get("command")),
        problem=settings.problem if settings else "",
        meta_step=done,
        meta_steps=settings.meta_steps if settings else None,
        best=log.best,
        inner_steps=log.inner_steps,
        changed=last_change(path),
        size=size_of(path),
        id=identity["id"] if is_run_id(identity.get("id")) else "",
    )


def _or_why(path: Path) -> tuple[Settings | None, str]:
    try:
        return read_settings(path / "config.json"), ""
    except UsageError as error:
        return None, plain(error, 1000)


def _state(path: Path, complaint: str, done: int | None, settings: Settings | None) -> State:
    if is_running(path):
        return "running"
    if complaint or settings is None:
        return "damaged"
    return "done" if (done or 0) >= settings.meta_steps else "stopped"


def _complaint(path: Path, identity: dict[str, Any]) -> str:
    if not is_run_id(identity.get("id")):
        return "its run.json is missing or damaged: lopt-train makes it again if it is removed"
    checkpoints = path / "checkpoints"
    try:
        if steps_in(checkpoints):
            return ""
        if (path / "damaged").exists():
            return "all its checkpoints are damaged"
        lost = are_lost(checkpoints, path / "metrics.jsonl")
    except OSError as error:
        return f"its checkpoints can't be read ({error.strerror})"
    return "it has done meta-steps, but has no checkpoint" if lost else ""


def _preset(command: object) -> str:
    """Return the preset in a command line of `lopt-train`."""
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return ""
    return words[1] if words[1:] and words[0] == "lopt-train" and not words[1].startswith("-") else ""


@dataclasses.dataclass
class _Log:
    """What the list needs of a `metrics.jsonl`; most lines, which may be long, are not parsed."""

    meta_step: int | None = None
    inner_steps: int | None = None
    best: float | None = None
    why: str = ""

    @classmethod
    def read(cls, path: Path) -> _Log:
        found = cls()
        if not os.path.lexists(path):
            return found
        if not path.is_file():
            return cls(why=f"its {path.name} is not a regular file")
        try:
            with path.open("rb") as lines:
                last = b""
                for line in lines:
                    if _VALID.encode() in line:
                        found._add(line)
                    last = line if line.endswith(b"\n") else last
                found._add(last)
        except OSError as error:
            found.why = f"its {path.name} can't be read ({error.strerror})"
        except UsageError as error:
            found.why = f"its {path.name} has a line that is not a record of a run ({plain(error)})"
        return found

    def _add(self, line: bytes) -> None:
        record = read_record(line)
        if record is None:
            return
        step, values = record
        if type(step) is not int:
            raise UsageError(f"its meta-step is {json.dumps(step)}")
        self.meta_step = step
        inner, valid = values.get(_INNER, 0), values.get(_VALID)
        self.inner_steps = int(inner) if isinstance(inner, (int, float)) and math.isfinite(inner) else None
        if isinstance(valid, (int, float)) and math.isfinite(valid):
            self.best = float(valid) if self.best is None else min(self.best, float(valid))
