"""The results of a benchmark in sentences: the main one first."""

from __future__ import annotations

from collections.abc import Callable

from ..statistics.against_reference import compare
from ..statistics.many_runs import LEVEL, Estimate
from ..statistics.paired_scores import task_names
from ..statistics.results import Results
from .number_formats import counted, rate, ratio, times
from .quoting import Name, Number, Sentence
from .tables import reference_label, tuned_runs


def headlines(results: Results) -> list[Sentence]:
    """Return the result, a sentence per subject: how many times as fast as the reference it is."""
    reference = Name(reference_label(results))
    said = [_headline(results, name, reference) for name in results.subjects if name != results.reference]
    return said or [(reference, " was run alone: there is nothing to compare it with.")]


def _headline(results: Results, name: str, reference: Name) -> Sentence:
    (one,) = compare(results, optimizers=(name,))
    runs = f"{counted(one.tasks, 'task')} x {counted(results.seeds, 'seed')}"
    if one.speed_up is None:
        return (Name(name), " has no speed-up over ", reference, f" on {runs}.")
    speed_up = one.speed_up.interquartile_mean
    if speed_up.value > 0 or one.final_loss is None:
        number, between = _told(speed_up, times)
        words = (" as fast as ", reference, " in steps to the same loss")
        return (Name(name), " is ", number, *words, f" ({between}over {runs}).")
    # No number of steps tells apart those that never reach the target.
    number, between = _told(one.final_loss.interquartile_mean, ratio)
    never = " does not reach the training loss of ", reference, " in most runs; the final loss of "
    return (Name(name), *never, reference, " is ", number, f" times its own ({between}over {runs}).")


def _told(estimate: Estimate, write: Callable[[float], str]) -> tuple[Number, str]:
    """Return a number, and words on its interval if it has one."""
    if estimate.interval is None:
        return Number(write(estimate.value)), ""
    low, high = map(write, estimate.interval)
    return Number(write(estimate.value)), f"{LEVEL:.0%} interval {low} to {high}, "


def verdicts(results: Results) -> list[Sentence]:
    """Return a sentence per subject on the tasks that it won, and the warnings."""
    said: list[Sentence] = []
    for name in results.subjects:
        if name == results.reference:
            continue
        (one,) = compare(results, optimizers=(name,))
        reference = Name(reference_label(results))
        won = f" on {one.tasks_won} of {counted(one.tasks, 'task')}, and a lower final one on "
        said.append(
            (Name(name), " has a lower mean training loss than ", reference, won, f"{one.tasks_won_final}.")
        )
    for name, task in tuned_runs(results):
        outside = ", an end of its grid: a better learning rate may lie outside."
        said += [
            ("Warning: ", Name(row.label), f" is best at {rate(row.rate)} on ", Name(name), outside)
            for row in task.rows
            if row.at_grid_end
        ]
    for name, task in zip(task_names(results), results.tasks, strict=True):
        for row in task.rows:
            if any(row.diverged) and (row.kind == "learned" or row.optimizer in results.subjects):
                share = f" diverged on {sum(row.diverged)} of {counted(results.seeds, 'seed')} of "
                said.append(("Warning: ", Name(row.label), share, Name(name), "."))
    return said
