"""The tables of a report as plain text cells, for Markdown and for the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ..statistics.against_reference import compare
from ..statistics.paired_scores import run_names, task_names
from ..statistics.results import Results, Row, TaskResult
from .number_formats import (
    counted,
    loss,
    mean,
    of_summary,
    rate,
    ratio,
    times,
    with_accuracy,
    with_interval,
    with_rate,
    with_spread,
)
from .origins import MARK, origin_sentences, trained_tasks

MOST_COLUMNS = 4
"""Most baselines that the main table has a column for."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[int | None, ...] = ()
    """Per row, the column of its best loss; () where there is none to point at."""


def main_table(results: Results) -> Table:
    """Return a row per task and subject: its mean training loss beside the baselines'.

    Losses are means over the horizon and the seeds. Of more than `MOST_COLUMNS` baselines, the reference and
    the best of the others are there. `MARK` stands behind a task that the subject was meta-trained on.
    """
    rows, best = [], []
    for task, subject in _pairs(results):
        marked = task.task in trained_tasks(results, subject.optimizer)
        name = f"{task.name} {MARK}" if marked else task.name
        cells = _baseline_cells(results, task, subject)
        own = with_rate(mean(subject.mean_loss), subject.rate if subject.kind == "tuned" else None)
        reference = task.row(results.reference)
        won = f"{subject.seeds_won(reference)}/{results.seeds}" if subject is not reference else "-"
        head = (name, str(task.horizon), subject.optimizer, own)
        rows.append((*head, *cells.values(), times(subject.typical_speed_up), won))
        columns = [subject.optimizer, *cells]
        losses = {name: mean(task.row(name).mean_loss) for name in columns}
        lowest = min(losses, key=lambda name: losses[name])
        best.append(columns.index(lowest) + 3 if math.isfinite(losses[lowest]) else None)
    labels = [row.label for row in baseline_rows(results, results.tasks[0])]
    if has_many_baselines(results):
        labels = [reference_label(results), "best other"]
    header = ("task", "horizon", "optimizer", "its loss", *labels, "speed-up", "seeds won")
    return Table(header, tuple(rows), tuple(best))


def overall_table(results: Results, optimizers: Sequence[str] | None = None) -> Table:
    """Return a row per optimizer but the reference: what all tasks say together (see `against_reference`).

    Args:
        results: the benchmark.
        optimizers: which rows to keep; None for all.
    """
    rows = [
        (
            one.label,
            f"{one.tasks_won}/{one.tasks}",
            f"{one.tasks_won_final}/{one.tasks}",
            of_summary(one.speed_up, times),
            of_summary(one.time_speed_up, times),
            of_summary(one.final_loss, ratio),
            with_interval(one.probability_of_improvement, "{:.2f}".format),
            "-" if one.worst_task is None else f"{one.worst_task[0]} ({ratio(one.worst_task[1])})",
            f"{one.diverged}/{one.runs}",
            _matched(one.typical_trials_matched, one.trials),
        )
        for one in compare(results)
        if one.optimizer != results.reference and (optimizers is None or one.optimizer in optimizers)
    ]
    header = ("optimizer", "tasks won", "won on final loss", "speed-up", "speed-up in time")
    header += ("final-loss ratio", "probability of improvement")
    return Table((*header, "worst task (ratio)", "diverged", "best of k trials"), tuple(rows))


def detail_table(results: Results) -> Table:
    """Return a row per task and optimizer: losses, accuracy, steps to target, how many seeds diverged."""
    rows = []
    for name, task in zip(task_names(results), results.tasks, strict=True):
        reference = task.row(results.reference)
        rows += [
            (
                name,
                row.label if row.kind != "tuned" else f"{row.label} ({rate(row.rate)})",
                with_spread(row.mean_loss),
                with_spread(row.final_loss),
                with_spread(row.held_out_loss),
                with_accuracy(row.held_out_accuracy),
                _typical_steps(row),
                times(row.typical_speed_up),
                _seconds_to_target(row, reference),
                f"{sum(row.diverged)}/{results.seeds}",
            )
            for row in task.rows
        ]
    header = ("task", "optimizer", "mean over the horizon", "final training loss")
    header += (f"held-out loss ({results.held_out})", "held-out accuracy", "steps to target", "speed-up")
    header += ("seconds to target (speed-up)", "diverged")
    return Table(header, tuple(rows))


def cost_table(results: Results) -> Table:
    """Return a row per optimizer: what an update costs, without the gradient that it needs."""
    rows = [
        (
            name if name != results.reference else results.tasks[0].row(name).label,
            f"{cost.step_time:.1f}x",
            f"{cost.flops:.0f}",
            f"{cost.state_bytes:.1f}",
        )
        for name, cost in results.costs.items()
    ]
    return Table(
        ("optimizer", "time of an update", "operations per parameter", "state bytes per parameter"),
        tuple(rows),
    )


def sweep_table(results: Results) -> Table:
    """Return a row per task and tuned baseline: the grid of learning rates and what was chosen."""
    rows = [
        (
            name,
            row.label,
            f"{len(row.sweep)} from {rate(row.sweep[0][0])} to {rate(row.sweep[-1][0])}",
            rate(row.rate),
            loss(min(score for _, score in row.sweep)),
            "yes" if row.at_grid_end else "no",
        )
        for name, task in _runs(results)
        for row in task.rows
        if row.sweep
    ]
    header = ("task", "baseline", "learning rates tried", "chosen", "its loss", "at an end of the grid")
    return Table(header, tuple(rows))


def verdicts(results: Results) -> list[str]:
    """Return a sentence or two per subject, and one per thing that a reader should be warned of."""
    said = origin_sentences(results)
    for name in results.subjects:
        if name == results.reference:
            continue
        (one,) = compare(results, optimizers=(name,))
        reference = reference_label(results)
        said.append(
            f"{name} has a lower mean training loss than {reference} on {one.tasks_won} of "
            f"{counted(one.tasks, 'task')}, and a lower final one on {one.tasks_won_final}."
        )
    for name, task in _runs(results):
        said += [
            f"Warning: {row.label} is best at {rate(row.rate)} on {name}, an end of its grid: "
            "a better learning rate may lie outside."
            for row in task.rows
            if row.at_grid_end
        ]
    for name, task in zip(task_names(results), results.tasks, strict=True):
        for row in task.rows:
            if any(row.diverged) and (row.kind == "learned" or row.optimizer in results.subjects):
                share = f"{sum(row.diverged)} of {counted(results.seeds, 'seed')}"
                said.append(f"Warning: {row.label} diverged on {share} of {name}.")
    return said


def reference_label(results: Results) -> str:
    """Return how reports call the baseline that all are compared with."""
    return results.tasks[0].row(results.reference).label


def baseline_rows(results: Results, task: TaskResult) -> list[Row]:
    """Return the rows of a task that are baselines."""
    return [row for row in task.rows if row.kind != "learned"]


def has_many_baselines(results: Results) -> bool:
    """Tell whether the main table leaves baselines out."""
    return len(baseline_rows(results, results.tasks[0])) > MOST_COLUMNS


def _baseline_cells(results: Results, task: TaskResult, subject: Row) -> dict[str, str]:
    """Return the losses of the baselines beside a subject; one that is itself a baseline is a dash there."""
    baselines = baseline_rows(results, task)
    cells = {
        row.optimizer: with_rate(mean(row.mean_loss), row.rate if row.kind == "tuned" else None)
        for row in baselines
    }
    if subject.optimizer in cells:
        cells[subject.optimizer] = "-"
    if not has_many_baselines(results):
        return cells
    others = [row for row in baselines if row.optimizer not in (results.reference, subject.optimizer)]
    best = min(others, key=lambda row: mean(row.mean_loss))
    name = best.label.removeprefix("tuned ")
    return {
        results.reference: cells[results.reference],
        best.optimizer: f"{loss(mean(best.mean_loss))} ({name})",
    }


def _matched(trials: int | None, of: int) -> str:
    return "-" if trials is None else f"all {of}" if trials == of else f"{trials} of {of}"


def _pairs(results: Results) -> list[tuple[TaskResult, Row]]:
    return [(task, task.row(name)) for task in results.tasks for name in results.subjects]


def _runs(results: Results) -> list[tuple[str, TaskResult]]:
    """Return each task and horizon once: baselines are told the true horizon whatever is declared."""
    found: dict[str, TaskResult] = {}
    for name, task in zip(run_names(results), results.tasks, strict=True):
        found.setdefault(name, task)
    return list(found.items())


def _typical_steps(row: Row) -> str:
    steps = row.typical_steps
    return "never" if steps is None else f"{steps:.0f}"


def _seconds_to_target(row: Row, reference: Row) -> str:
    """Write the seconds of a single run, and how many times sooner that is than the reference's."""
    if row.seconds_per_step is None or reference.seconds_per_step is None:
        return "-"
    if row.typical_steps is None or row.typical_speed_up is None:
        return "never"
    in_time = row.typical_speed_up / (row.seconds_per_step / reference.seconds_per_step)
    return f"{row.typical_steps * row.seconds_per_step:#.3g} ({times(in_time)})"
