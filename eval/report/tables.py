"""The tables of a report as plain text cells, for Markdown and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..statistics.against_reference import compare
from ..statistics.paired_scores import run_names, task_names
from ..statistics.results import Results, Row, TaskResult
from .columns import (
    ACCURACY,
    AT_END,
    BASELINE,
    BEST_OTHER,
    CHOSEN,
    DIVERGED,
    FINAL_LOSS,
    FINAL_RATIO,
    HELD_OUT_LOSS,
    HORIZON,
    IMPROVEMENT,
    MEAN_LOSS,
    OPERATIONS,
    OPTIMIZER,
    OWN_LOSS,
    RATES,
    SECONDS,
    SEEDS_WON,
    SPEED_UP,
    STATE_BYTES,
    STEP_TIME,
    STEPS,
    TASK,
    TASKS_WON,
    TIME_SPEED_UP,
    TRIALS,
    WON_FINAL,
    WORST_TASK,
    Column,
    Table,
    loss_of,
)
from .number_formats import (
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
from .origins import MARK, trained_tasks

MOST_COLUMNS = 4
"""Largest number of baselines with their own column in the main table."""


def main_table(results: Results) -> Table:
    """Return a row per task and subject: its mean training loss beside the baselines'.

    Losses are means over the horizon and the seeds. With more than `MOST_COLUMNS` baselines, only the
    reference and the best of the others are shown. `MARK` follows a task that the subject was meta-trained
    on.
    """
    rows, best = [], []
    shown = _baseline_columns(results)
    for task, subject in _pairs(results):
        reference, cells = task.row(results.reference), _baseline_cells(results, task, subject)
        rows.append(
            (
                f"{task.name} {MARK}" if is_marked(results, task, subject.optimizer) else task.name,
                str(task.horizon),
                subject.optimizer,
                with_rate(mean(subject.mean_loss), subject.rate if subject.kind == "tuned" else None),
                *cells.values(),
                times(subject.typical_speed_up),
                f"{subject.seeds_won(reference)}/{results.seeds}" if subject is not reference else "-",
            )
        )
        # The subject comes first, so it wins ties; if it is a baseline, it is still in its own column.
        places = {subject.optimizer: OWN_LOSS}
        for name, column in zip(cells, shown, strict=True):
            places.setdefault(name, column)
        losses = {name: mean(task.row(name).mean_loss) for name in places}
        lowest = min(losses, key=lambda name: losses[name])
        best.append(places[lowest] if math.isfinite(losses[lowest]) else None)
    columns = (TASK, HORIZON, OPTIMIZER, OWN_LOSS, *shown, SPEED_UP, SEEDS_WON)
    return Table(columns, tuple(rows), tuple(best))


def is_marked(results: Results, task: TaskResult, optimizer: str) -> bool:
    """Return whether an optimizer was meta-trained on a task of exactly that name."""
    return task.task in trained_tasks(results, optimizer)


def overall_table(results: Results, optimizers: Sequence[str] | None = None) -> Table:
    """Return a row per optimizer, except the reference, with scores over all tasks (see `against_reference`).

    Args:
        results: the benchmark.
        optimizers: the rows to keep; None for all.
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
    columns = (OPTIMIZER, TASKS_WON, WON_FINAL, SPEED_UP, TIME_SPEED_UP, FINAL_RATIO, IMPROVEMENT)
    return Table((*columns, WORST_TASK, DIVERGED, TRIALS), tuple(rows))


def detail_table(results: Results) -> Table:
    """Return a row per task and optimizer: losses, accuracy, steps to target, number of diverged seeds."""
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
    held_out = HELD_OUT_LOSS.headed(f"held-out loss ({results.held_out})")
    columns = (TASK, OPTIMIZER, MEAN_LOSS, FINAL_LOSS, held_out, ACCURACY, STEPS, SPEED_UP, SECONDS, DIVERGED)
    return Table(columns, tuple(rows))


def cost_table(results: Results) -> Table:
    """Return a row per optimizer: the cost of an update, without its gradient."""
    rows = [
        (
            name if name != results.reference else results.tasks[0].row(name).label,
            f"{cost.step_time:.1f}x",
            f"{cost.flops:.0f}",
            f"{cost.state_bytes:.1f}",
        )
        for name, cost in results.costs.items()
    ]
    return Table((OPTIMIZER, STEP_TIME, OPERATIONS, STATE_BYTES), tuple(rows))


def sweep_table(results: Results) -> Table:
    """Return a row per task and tuned baseline: the grid of learning rates and the chosen one."""
    rows = [
        (
            name,
            row.label,
            f"{len(row.sweep)} from {rate(row.sweep[0][0])} to {rate(row.sweep[-1][0])}",
            rate(row.rate),
            loss(min(score for _, score in row.sweep)),
            "yes" if row.at_grid_end else "no",
        )
        for name, task in tuned_runs(results)
        for row in task.rows
        if row.sweep
    ]
    return Table((TASK, BASELINE, RATES, CHOSEN, OWN_LOSS, AT_END), tuple(rows))


def reference_label(results: Results) -> str:
    """Return the label of the baseline that all are compared with."""
    return results.tasks[0].row(results.reference).label


def baseline_rows(results: Results, task: TaskResult) -> list[Row]:
    """Return the rows of a task that are baselines."""
    return [row for row in task.rows if row.kind != "learned"]


def has_many_baselines(results: Results) -> bool:
    """Return whether the main table leaves baselines out."""
    return len(baseline_rows(results, results.tasks[0])) > MOST_COLUMNS


def _baseline_columns(results: Results) -> tuple[Column, ...]:
    """Return the baselines' columns of the main table, in the order of `_baseline_cells`."""
    if has_many_baselines(results):
        return loss_of(results.reference, reference_label(results)), BEST_OTHER
    return tuple(loss_of(row.optimizer, row.label) for row in baseline_rows(results, results.tasks[0]))


def _baseline_cells(results: Results, task: TaskResult, subject: Row) -> dict[str, str]:
    """Return the losses of the baselines beside a subject; a dash for the subject itself."""
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


def tuned_runs(results: Results) -> list[tuple[str, TaskResult]]:
    """Return each task and horizon once: baselines always get the true horizon."""
    found: dict[str, TaskResult] = {}
    for name, task in zip(run_names(results), results.tasks, strict=True):
        found.setdefault(name, task)
    return list(found.items())


def _typical_steps(row: Row) -> str:
    steps = row.typical_steps
    return "never" if steps is None else f"{steps:.0f}"


def _seconds_to_target(row: Row, reference: Row) -> str:
    """Format the seconds of a single run, and the speed-up in time relative to the reference."""
    if row.seconds_per_step is None or reference.seconds_per_step is None:
        return "-"
    if row.typical_steps is None or row.typical_speed_up is None:
        return "never"
    in_time = row.typical_speed_up / (row.seconds_per_step / reference.seconds_per_step)
    return f"{row.typical_steps * row.seconds_per_step:#.3g} ({times(in_time)})"
