"""The tables of a report as plain text cells, for Markdown and for the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from .aggregates import Estimate
from .comparisons import Summary, compare
from .results import Results, Row, TaskResult

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
    the best of the others are there.
    """
    rows, best = [], []
    for task, subject in _pairs(results):
        cells = _baseline_cells(results, task, subject)
        own = with_rate(_mean(subject.mean_loss), subject.rate if subject.kind == "tuned" else None)
        reference = task.row(results.reference)
        won = f"{subject.seeds_won(reference)}/{results.seeds}" if subject is not reference else "-"
        head = (task.task, str(task.horizon), subject.optimizer, own)
        rows.append((*head, *cells.values(), times(subject.typical_speed_up), won))
        columns = [subject.optimizer, *cells]
        losses = {name: _mean(task.row(name).mean_loss) for name in columns}
        lowest = min(losses, key=lambda name: losses[name])
        best.append(columns.index(lowest) + 3 if math.isfinite(losses[lowest]) else None)
    labels = [row.label for row in baseline_rows(results, results.tasks[0])]
    if has_many_baselines(results):
        labels = [results.tasks[0].row(results.reference).label, "best other"]
    header = ("task", "horizon", "optimizer", "its loss", *labels, "speed-up", "seeds won")
    return Table(header, tuple(rows), tuple(best))


def overall_table(results: Results, optimizers: Sequence[str] | None = None) -> Table:
    """Return a row per optimizer but the reference: what all tasks say together (see `comparisons`).

    Args:
        results: the benchmark.
        optimizers: which rows to keep; None for all.
    """
    rows = [
        (
            one.label,
            f"{one.tasks_won}/{one.tasks}",
            _of(one.speed_up, times),
            _of(one.final_loss, ratio),
            with_interval(one.probability_of_improvement, "{:.2f}".format),
            "-" if one.worst_task is None else f"{one.worst_task[0]} ({ratio(one.worst_task[1])})",
            f"{one.diverged}/{one.runs}",
            _matched(one.typical_trials_matched, one.trials),
        )
        for one in compare(results)
        if one.optimizer != results.reference and (optimizers is None or one.optimizer in optimizers)
    ]
    header = ("optimizer", "tasks won", "speed-up", "final-loss ratio", "probability of improvement")
    return Table((*header, "worst task (ratio)", "diverged", "best of k trials"), tuple(rows))


def detail_table(results: Results) -> Table:
    """Return a row per task and optimizer: losses, steps to target, how many seeds diverged."""
    rows = []
    for task in results.tasks:
        rows += [
            (
                task.task,
                row.label if row.kind != "tuned" else f"{row.label} ({rate(row.rate)})",
                with_spread(row.mean_loss),
                with_spread(row.final_loss),
                with_spread(row.held_out_loss),
                _typical_steps(row),
                times(row.typical_speed_up),
                f"{sum(row.diverged)}/{results.seeds}",
            )
            for row in task.rows
        ]
    header = ("task", "optimizer", "mean over the horizon", "final training loss")
    header += (f"held-out loss ({results.held_out})", "steps to target", "speed-up", "diverged")
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
            task.task,
            row.label,
            f"{len(row.sweep)} from {rate(row.sweep[0][0])} to {rate(row.sweep[-1][0])}",
            rate(row.rate),
            loss(min(score for _, score in row.sweep)),
            "yes" if row.at_grid_end else "no",
        )
        for task in results.tasks
        for row in task.rows
        if row.sweep
    ]
    header = ("task", "baseline", "learning rates tried", "chosen", "its loss", "at an end of the grid")
    return Table(header, tuple(rows))


def verdicts(results: Results) -> list[str]:
    """Return a sentence per subject, and one per thing that a reader should be warned of."""
    said = []
    for name in results.subjects:
        if name == results.reference:
            continue
        own = [(task.row(name), task.row(results.reference)) for task in results.tasks]
        won = sum(_mean(row.mean_loss) < _mean(reference.mean_loss) for row, reference in own)
        wins = f"{won} of {counted(len(own), 'task')}"
        said.append(f"{name} has a lower mean training loss than {own[0][1].label} on {wins}.")
    for task in results.tasks:
        for row in task.rows:
            if row.at_grid_end:
                said.append(
                    f"Warning: {row.label} is best at {rate(row.rate)} on {task.task}, an end of its grid: "
                    "a better learning rate may lie outside."
                )
            if any(row.diverged) and (row.kind == "learned" or row.optimizer in results.subjects):
                share = f"{sum(row.diverged)} of {counted(results.seeds, 'seed')}"
                said.append(f"Warning: {row.label} diverged on {share} of {task.task}.")
    return said


def baseline_rows(results: Results, task: TaskResult) -> list[Row]:
    """Return the rows of a task that are baselines."""
    return [row for row in task.rows if row.kind != "learned"]


def has_many_baselines(results: Results) -> bool:
    """Tell whether the main table leaves baselines out."""
    return len(baseline_rows(results, results.tasks[0])) > MOST_COLUMNS


def counted(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def loss(value: float) -> str:
    """Write a loss to three digits."""
    return f"{value:#.3g}".rstrip(".") if math.isfinite(value) else "diverged"


def rate(value: float | None) -> str:
    """Write a learning rate: 0.001 to 999 plainly, others with an exponent."""
    return "" if value is None else f"{value:.3g}"


def times(value: float | None) -> str:
    """Write a speed-up; "never" where the target was not reached."""
    return "never" if value is None else f"{value:.2f}x"


def ratio(value: float) -> str:
    """Write a ratio of losses to three digits."""
    return f"{value:#.3g}".rstrip(".")


def with_interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    """Write a number, and its interval where it has one."""
    if estimate.interval is None:
        return write(estimate.value)
    low, high = (write(bound).removesuffix("x") for bound in estimate.interval)
    return f"{write(estimate.value)} [{low}, {high}]"


def with_rate(value: float, learning_rate: float | None) -> str:
    """Write a loss, and the learning rate that gave it where there is one to name."""
    return loss(value) if learning_rate is None else f"{loss(value)} ({rate(learning_rate)})"


def with_spread(values: tuple[float, ...]) -> str:
    """Write a mean over seeds, and the lowest and highest."""
    if len(values) == 1 or not math.isfinite(_mean(values)):
        return loss(_mean(values))
    return f"{loss(_mean(values))} [{loss(min(values))}, {loss(max(values))}]"


def _baseline_cells(results: Results, task: TaskResult, subject: Row) -> dict[str, str]:
    """Return the losses of the baselines beside a subject; one that is itself a baseline is a dash there."""
    baselines = baseline_rows(results, task)
    cells = {
        row.optimizer: with_rate(_mean(row.mean_loss), row.rate if row.kind == "tuned" else None)
        for row in baselines
    }
    if subject.optimizer in cells:
        cells[subject.optimizer] = "-"
    if not has_many_baselines(results):
        return cells
    others = [row for row in baselines if row.optimizer not in (results.reference, subject.optimizer)]
    best = min(others, key=lambda row: _mean(row.mean_loss))
    name = best.label.removeprefix("tuned ")
    return {
        results.reference: cells[results.reference],
        best.optimizer: f"{loss(_mean(best.mean_loss))} ({name})",
    }


def _of(summary: Summary | None, write: Callable[[float], str]) -> str:
    return "-" if summary is None else with_interval(summary.interquartile_mean, write)


def _matched(trials: int | None, of: int) -> str:
    return "-" if trials is None else f"all {of}" if trials == of else f"{trials} of {of}"


def _pairs(results: Results) -> list[tuple[TaskResult, Row]]:
    return [(task, task.row(name)) for task in results.tasks for name in results.subjects]


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _typical_steps(row: Row) -> str:
    """Write the median over seeds, the higher one of two; a seed that never gets there counts as slowest."""
    ordered = sorted(math.inf if steps is None else steps for steps in row.steps_to_target)
    median = ordered[len(ordered) // 2]
    return f"{median:.0f}" if math.isfinite(median) else "never"
