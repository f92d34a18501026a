"""The main results of a benchmark, in sentences."""

from __future__ import annotations

from ..statistics.against_reference import compare
from ..statistics.paired_scores import task_names
from ..statistics.results import Results
from .number_formats import counted, rate
from .origins import origin_sentences
from .tables import reference_label, tuned_runs


def verdicts(results: Results) -> list[str]:
    """Return a sentence or two per subject, and the warnings."""
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
    for name, task in tuned_runs(results):
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
