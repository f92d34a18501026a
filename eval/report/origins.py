"""What is known of a learned optimizer's meta-training: its tasks, its horizon, what it took."""

from __future__ import annotations

from typing import Any

from ..statistics.results import Results

MARK = "†"
"""Stands behind a task that an optimizer was meta-trained on, by that very name."""
UNKNOWN = "unknown"


def trained_tasks(results: Results, optimizer: str) -> tuple[str, ...]:
    """Return the names of the tasks that an optimizer was meta-trained on; () where they are not known."""
    tasks = _origin(results, optimizer).get("tasks", ())
    return (tasks,) if isinstance(tasks, str) else tuple(tasks)


def trained_horizon(results: Results, optimizer: str) -> int | None:
    """Return the longest horizon of the meta-training, in inner steps; None where it is not known."""
    horizon = _origin(results, optimizer).get("horizon")
    return max(horizon) if horizon else None


def origin_sentences(results: Results) -> list[str]:
    """Return a sentence per learned subject: what it was meta-trained on, and with how much compute."""
    learned = {row.optimizer for row in results.tasks[0].rows if row.kind == "learned"}
    return [_sentence(results, name) for name in results.subjects if name in learned]


def duration(seconds: float) -> str:
    """Write a duration in its two largest units."""
    whole = round(seconds)
    for size, large, small, inner in ((86400, "d", "h", 3600), (3600, "h", "min", 60), (60, "min", "s", 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // inner} {small}"
    return f"{whole} s"


def _sentence(results: Results, optimizer: str) -> str:
    origin, tasks = _origin(results, optimizer), trained_tasks(results, optimizer)
    if origin.get("meta_steps") == 0 and not tasks:
        return f"{optimizer} was not meta-trained: its theta is as it is drawn."
    seconds, devices = origin.get("seconds"), origin.get("devices")
    low_high = origin.get("horizon")
    horizon = UNKNOWN if not low_high else " to ".join(f"{x:,}" for x in dict.fromkeys(low_high))
    marked = {task.task for task in results.tasks} & set(tasks)
    where = f" (marked {MARK})" if marked else " (none of them here by that name)" if tasks else ""
    return (
        f"{optimizer} was meta-trained on {', '.join(tasks) or UNKNOWN + ' tasks'}{where}; "
        f"meta-steps: {_count(origin.get('meta_steps'))}, inner steps: {_count(origin.get('inner_steps'))}, "
        f"horizon: {horizon}, wall time: {UNKNOWN if seconds is None else duration(seconds)}, "
        f"devices: {', '.join(devices) if devices else UNKNOWN}."
    )


def _origin(results: Results, optimizer: str) -> dict[str, Any]:
    origin = results.origins.get(optimizer)
    return origin if isinstance(origin, dict) else {}


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"
