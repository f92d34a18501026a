"""Tasks by name, built on request: importing this package reads no data."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable

from .base import Task
from .data.prepared import DatasetNotPreparedError
from .errors import UsageError

Builder = Callable[[], Task]
TASKS: dict[str, Builder] = {}
"""The builders of all registered tasks, by name."""


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a function without arguments that builds a task.

    Raises:
        UsageError: if the name is taken or not text, or the function can't build a task.
    """

    def add(builder: Builder) -> Builder:
        if complaint := _complaint(builder):
            raise UsageError(f"the object registered as task {name!r} {complaint}")
        if name in TASKS:
            raise UsageError(f"a task called {name!r} is registered already")
        TASKS[name] = builder
        return builder

    if not (isinstance(name, str) and name.strip()):
        raise UsageError(f"{name!r} is not a name to register: write @register('NAME')")
    return add


def _complaint(builder: object) -> str:
    """Return why an object can't build a task, as far as this can be seen without building one."""
    if isinstance(builder, type) and not issubclass(builder, Task):
        return f"is not a Task: {builder!r}"
    if missing := sorted(getattr(builder, "__abstractmethods__", ())):
        return f"lacks {', '.join(missing)}"
    if not callable(builder):
        return f"is not a function without arguments that returns a Task: {builder!r}"
    try:
        inspect.signature(builder).bind()
    except TypeError as error:
        return f"must take no arguments: {error}"
    except ValueError:
        pass  # it has no signature to inspect
    return ""


def names(pattern: str = "*") -> list[str]:
    """Return the names of registered tasks that match a pattern of the shell (`*`, `?`, `[...]`), sorted."""
    return sorted(fnmatch.filter(TASKS, pattern))


def one_of_each_kind() -> list[str]:
    """Return the name of one task of each kind, a family where there is one, sorted.

    The kind is the class of a task, of the one that it wraps, and so on; tasks of a kind differ in numbers
    alone. Tasks whose data is not on this machine are left out. This builds all tasks, which takes seconds.
    """
    kinds: dict[tuple[str, ...], str] = {}
    for name in sorted(TASKS, key=lambda name: (not name.endswith("-family"), name)):
        try:
            task = build(name)
        except DatasetNotPreparedError:
            continue
        kinds.setdefault(_classes(task), name)
    return sorted(kinds.values())


def _classes(task: Task | None) -> tuple[str, ...]:
    return () if task is None else (type(task).__name__, *_classes(getattr(task, "task", None)))


def build(name: str) -> Task:
    """Build a task by name: a registered one, `sampled-SEED`, or `sampled-group-SEED`.

    Raises:
        UsageError: for an unknown name, with similar ones, or if its builder returns something else.
        DatasetNotPreparedError: if it needs data that is not on this machine.
    """
    if name not in TASKS:
        from .sampler import build_sampled  # it imports all tasks, which register themselves here

        if (sampled := build_sampled(name)) is not None:
            return sampled
        near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4) or sorted(TASKS)
        raise UsageError(f"unknown task {name!r}; did you mean {' or '.join(near)}?")
    task = TASKS[name]()
    if not isinstance(task, Task):
        raise UsageError(f"task {name!r} is not a Task: its builder returned {type(task).__name__}")
    return task
