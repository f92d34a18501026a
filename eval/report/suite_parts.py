"""Results on the parts of a suite, which one number over all tasks would hide."""

from __future__ import annotations

import dataclasses

from ..statistics.against_reference import Comparison, compare, tasks_won
from ..statistics.results import Results
from .columns import (
    AGAINST_UNTUNED,
    DIVERGED,
    GROUP,
    OPTIMIZER,
    SPEED_UP,
    WON_FINAL,
    WON_MEAN,
    WORST_TASK,
    Table,
)
from .number_formats import of_summary, ratio, times
from .origins import trained_horizon, trained_tasks

UNTUNED = "adam-1e-3"
"""The untuned baseline that wins are also counted against, if it was run."""
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Group:
    """Some of a benchmark's tasks."""

    name: str
    tasks: tuple[int, ...]
    """Their indices in the results."""


def groups(results: Results, optimizer: str) -> list[Group]:
    """Return the tasks in groups: the suite's parts, groups by the meta-training, and all tasks.

    Args:
        results: the benchmark.
        optimizer: the optimizer with this meta-training.
    """
    tasks = dict(enumerate(results.tasks))
    named: dict[str, list[int]] = {}
    for at, task in tasks.items():
        named.setdefault(task.part or results.suite, []).append(at)
    if len(named) == 1:
        named = {}
    horizon, trained = trained_horizon(results, optimizer), trained_tasks(results, optimizer)
    if horizon is not None:
        longer = [at for at, task in tasks.items() if task.horizon > horizon]
        if 0 < len(longer) < len(tasks):
            named[f"up to {horizon} steps, as meta-trained"] = [at for at in tasks if at not in longer]
            named[f"more than {horizon} steps"] = longer
    others = [at for at, task in tasks.items() if task.task not in trained]
    if 0 < len(others) < len(tasks):
        named["not meta-trained on"] = others
    return [Group(name, tuple(places)) for name, places in named.items()] + [Group(ALL, tuple(tasks))]


def parts_table(results: Results) -> Table:
    """Return a row per subject and group of tasks; no rows if the only group is all tasks.

    Wins are counted by the mean over the seeds; ties are not won.
    """
    untuned = next((row.label for row in results.tasks[0].rows if row.optimizer == UNTUNED), None)
    subjects = [name for name in results.subjects if name != results.reference]
    named = len(subjects) > 1
    rows = []
    for subject in subjects:
        found = groups(results, subject)
        rows += [_row(results, subject, group, named, untuned) for group in found if len(found) > 1]
    against = () if untuned is None else (AGAINST_UNTUNED.headed(f"against {untuned}"),)
    who = (OPTIMIZER,) if named else ()
    columns = (GROUP, *who, WON_MEAN, WON_FINAL, SPEED_UP, DIVERGED, *against, WORST_TASK)
    return Table(columns, tuple(rows))


def _row(results: Results, subject: str, group: Group, named: bool, untuned: str | None) -> tuple[str, ...]:
    (one,) = compare(results, optimizers=(subject,), tasks=group.tasks)
    return (
        group.name,
        *((one.label,) if named else ()),
        f"{one.tasks_won}/{one.tasks}",
        f"{one.tasks_won_final}/{one.tasks}",
        of_summary(one.speed_up, times),
        f"{one.diverged}/{one.runs}",
        *((_against_untuned(results, subject, group),) if untuned is not None else ()),
        _worst(one),
    )


def _worst(one: Comparison) -> str:
    return "-" if one.worst_task is None else f"{one.worst_task[0]} ({ratio(one.worst_task[1])})"


def _against_untuned(results: Results, subject: str, group: Group) -> str:
    won = [tasks_won(results, subject, UNTUNED, loss, group.tasks) for loss in ("mean_loss", "final_loss")]
    return ", ".join(f"{count}/{len(group.tasks)}" for count in won)
