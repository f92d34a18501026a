"""How a learned optimizer was meta-trained, as far as known: tasks, horizon, compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..statistics.results import Results
from .quoting import Name, Sentence

MARK = "†"
"""Marks a task that an optimizer was meta-trained on, by exactly that name."""
UNKNOWN = "unknown"
_TOO_MANY = 10**18
"""Counts above this are implausible, and treated as unknown."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Information about a meta-training; None and () mean unknown."""

    tasks: tuple[str, ...] = ()
    """Names of the tasks."""
    horizon: tuple[int, ...] = ()
    """The shortest and the longest horizon, in inner steps."""
    meta_steps: int | None = None
    inner_steps: int | None = None
    seconds: float | None = None
    devices: tuple[str, ...] = ()
    changed_after: tuple[str, ...] = ()
    """Settings and arrays that were set by hand afterwards."""


def origin_of(results: Results, optimizer: str) -> Origin:
    """Read an optimizer's origin. It may come from anyone, so invalid values count as unknown."""
    origin = results.origins.get(optimizer)
    values = origin if isinstance(origin, dict) else {}
    changed = values.get("changed_after")
    return Origin(
        tasks=_words(values.get("tasks")),
        horizon=tuple(x for x in _listed(values.get("horizon")) if _is_count(x)),
        meta_steps=_whole(values.get("meta_steps")),
        inner_steps=_whole(values.get("inner_steps")),
        seconds=_seconds(values.get("seconds")),
        devices=_words(values.get("devices")),
        changed_after=_words(list(changed) if isinstance(changed, dict) else None),
    )


def trained_tasks(results: Results, optimizer: str) -> tuple[str, ...]:
    """Return the names of the tasks that an optimizer was meta-trained on; () if unknown."""
    return origin_of(results, optimizer).tasks


def trained_horizon(results: Results, optimizer: str) -> int | None:
    """Return the longest horizon of the meta-training, in inner steps; None if unknown."""
    return max(origin_of(results, optimizer).horizon, default=None)


def origin_sentences(results: Results) -> list[Sentence]:
    """Return a sentence per learned subject: the tasks it was meta-trained on, and the compute used."""
    learned = {row.optimizer for row in results.tasks[0].rows if row.kind == "learned"}
    return [_sentence(results, name) for name in results.subjects if name in learned]


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    whole = round(seconds)
    for size, large, small, inner in ((86400, "d", "h", 3600), (3600, "h", "min", 60), (60, "min", "s", 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // inner} {small}"
    return f"{whole} s"


def _sentence(results: Results, optimizer: str) -> Sentence:
    origin = origin_of(results, optimizer)
    if origin.meta_steps == 0 and not origin.tasks:
        return (Name(optimizer), " was not meta-trained: its theta is as initialised.")
    horizon = " to ".join(f"{x:,}" for x in dict.fromkeys(origin.horizon)) or UNKNOWN
    seconds = UNKNOWN if origin.seconds is None else duration(origin.seconds)
    marked = {task.task for task in results.tasks} & set(origin.tasks)
    where = f" (marked {MARK})" if marked else " (none of them here by that name)" if origin.tasks else ""
    names, changed = _in_a_row(origin.tasks), _in_a_row(origin.changed_after)
    return (
        Name(optimizer),
        " was meta-trained on ",
        *(names or [f"{UNKNOWN} tasks"]),
        f"{where}; meta-steps: {_count(origin.meta_steps)}, inner steps: {_count(origin.inner_steps)}, "
        f"horizon: {horizon}, wall time: {seconds}, devices: {', '.join(origin.devices) or UNKNOWN}",
        *(("; set by hand afterwards: ", *changed) if changed else ()),
        ".",
    )


def _in_a_row(names: Sequence[str]) -> list[Name | str]:
    """Return names with commas between them, as pieces of a sentence."""
    return [piece for name in names for piece in (", ", Name(name))][1:]


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _words(value: Any) -> tuple[str, ...]:
    return tuple(word for word in _listed(value) if isinstance(word, str))


def _whole(value: Any) -> int | None:
    return value if _is_count(value) else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY


def _seconds(value: Any) -> float | None:
    return float(value) if _is_count(value) or (isinstance(value, float) and 0 <= value < _TOO_MANY) else None
