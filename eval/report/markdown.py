"""A benchmark's report as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..statistics.against_reference import compare
from ..statistics.many_runs import LEVEL, RESAMPLES, TRIM
from ..statistics.results import Results
from ..training.costs import NETWORK_SIZE
from ..training.curve_metrics import FINAL_SHARE, SMOOTHING
from ..training.curves import BATCHES
from .columns import AGAINST_UNTUNED, Table
from .number_formats import counted
from .origins import MARK, origin_sentences
from .plots import Picture
from .quoting import MOST_OF_A_CELL, MOST_OF_A_TEXT, as_caption, as_code, as_prose, as_sentence, in_markdown
from .suite_parts import parts_table
from .tables import (
    cost_table,
    detail_table,
    has_many_baselines,
    is_marked,
    main_table,
    overall_table,
    reference_label,
    sweep_table,
)
from .verdicts import headlines, verdicts


def title(results: Results) -> str:
    """Return the title of the report."""
    return f"Benchmark: {results.suite}"


def render(results: Results, pictures: Sequence[Picture] = (), note: str = "") -> str:
    """Return the report. External names and texts are escaped, and never interpreted as Markdown.

    Args:
        results: the benchmark.
        pictures: the figures, in the report's own directory.
        note: a sentence in place of missing figures.
    """
    seeds = counted(results.seeds, "seed")
    top = next((one for one in pictures if one.first), None)
    if top is None and len(results.tasks) == 1 and pictures:
        top = pictures[0]
    others = [one for one in pictures if one != top]
    curves = [one for one in others if not one.overall]
    sections = [
        f"# {in_markdown(title(results))}",
        "\n\n".join(map(as_prose, headlines(results))),
        _shown(top) if top else "",
        "\n".join(f"* {as_prose(sentence)}" for sentence in verdicts(results)),
        "## Task by task",
        as_sentence(results.tests),
        f"Mean training loss over the horizon and {seeds}; in parentheses the best learning rate; "
        "the lowest of a row is bold." + _marked(results) + _left_out(results),
        render_table(main_table(results)),
        *_parts(results),
        *_over_all_tasks(results, others),
        "## Training curves" if curves or note else "",
        as_sentence(note),
        *map(_shown, curves),
        "## Every optimizer",
        "Means over the seeds, with the lowest and highest seed in brackets.",
        render_table(detail_table(results)),
        *_costs(results),
        "## Protocol",
        _protocol(results),
        render_table(sweep_table(results)),
        "## Provenance",
        _provenance(results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def render_table(table: Table) -> str:
    """Return a table in Markdown, with the best loss of each row in bold."""
    header, *cells = ([in_markdown(cell) for cell in row] for row in (table.header, *table.rows))
    rows = [
        [f"**{cell}**" if column == best else cell for column, cell in zip(table.columns, row, strict=True)]
        for row, best in zip(cells, table.best or (None,) * len(cells), strict=True)
    ]
    rule = ["---" if column.is_text else "---:" for column in table.columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *rows])


def _shown(picture: Picture) -> str:
    return f"![{as_caption(picture.caption)}]({picture.file})"


def _reference(results: Results) -> str:
    """Return the reference's label as a name within prose."""
    return as_code(reference_label(results), MOST_OF_A_CELL)


def _parts(results: Results) -> list[str]:
    """Return the section on the suite's parts; empty if there is only one."""
    table = parts_table(results)
    if not table.rows:
        return []
    reference = _reference(results)
    headings = [as_code(one.heading, MOST_OF_A_CELL) for one in table.columns if one == AGAINST_UNTUNED]
    untuned = "".join(f" The column {one} has the wins on mean and on final loss there." for one in headings)
    said = (
        f"Against {reference}; a task is in several groups. Wins are by means over the seeds, speed-ups are "
        "interquartile means over tasks and seeds, ratios are of mean training losses. Which tasks were "
        "meta-trained on is decided by their exact names." + untuned
    )
    return ["## Part by part", said, render_table(table)]


def _marked(results: Results) -> str:
    """Return the meaning of the mark, if it is used."""
    there = any(is_marked(results, task, name) for task in results.tasks for name in results.subjects)
    return f" {MARK}: the optimizer was meta-trained on this task or family." if there else ""


def _left_out(results: Results) -> str:
    reference = _reference(results)
    said = f" The table shows the reference, {reference}, and the best other baseline; all are further down."
    return said if has_many_baselines(results) else ""


def _over_all_tasks(results: Results, pictures: Sequence[Picture]) -> list[str]:
    """Return the section on all tasks together; empty if there is only the reference."""
    table = overall_table(results)
    if not table.rows:
        return []
    reference = _reference(results)
    tasks, seeds = counted(len(results.tasks), "task"), counted(results.seeds, "seed")
    intervals = (
        f"; in brackets {LEVEL:.0%} intervals over seeds, for this set of tasks."
        if results.seeds > 1
        else ". A single seed gives no intervals."
    )
    said = [
        f"Each run against {reference}'s of the same task and seed: larger is better, and 1 is as good. "
        f"Interquartile means over {tasks} x {seeds}{intervals}"
    ]
    if len(results.tasks) == 1:
        said.append("There is only one task: results on other tasks may differ.")
    scored = min((one.final_loss.tasks if one.final_loss else 0) for one in compare(results))
    if scored < len(results.tasks):
        said.append("Tasks with a negative loss have no ratio and are left out there.")
    drawn = [_shown(one) for one in pictures if one.overall]
    return ["## Over all tasks", " ".join(said), render_table(table), *drawn]


def _costs(results: Results) -> list[str]:
    if not results.costs:
        return []
    said = (
        f"Updates of a network of {NETWORK_SIZE:,} parameters, without the gradients; the time is a multiple "
        "of Adam's on this machine, operations are as XLA counts them."
    )
    return ["## Costs", said, render_table(cost_table(results))]


def _protocol(results: Results) -> str:
    seeds = counted(results.seeds, "seed")
    points = len(results.tasks[0].held_out_steps)
    reference = _reference(results)
    return f"""\
* **Runs.** Every optimizer trains from the same task instances, initialisations and batches: runs are
  paired by seed ({seeds}, drawn from --seed {results.seed}). A learned optimizer runs as it is,
  with nothing tuned; it is given the horizon if it needs one.
* **Declared horizon.** In "declared 0.5x" a learned optimizer that needs the horizon is given half of the
  true one; others are not affected. Baselines, including those with a schedule, always get the true one:
  they are the same runs as without a declared horizon, and the stricter comparison.
* **Tuning.** A tuned baseline chooses its learning rate per task from the grid below: the lowest mean
  training loss over the horizon, averaged over the seeds, where a loss that is not finite is the worst.
  It is chosen on the same runs that are reported, which favours the baseline.
* **Training loss.** The loss of each inner step's fresh batch, before the update. The final loss is the
  mean of the last {FINAL_SHARE:.0%} of steps.
* **Held-out loss.** On {BATCHES} batches of the {results.held_out} split, the same for every optimizer, after
  the last inner step and at {points} points in all; no choice depends on it. For Schedule-Free it is measured
  at the averaged parameters, as prescribed.
* **Held-out accuracy.** The share of the same held-out examples that is classified correctly after the last
  inner step, for text the share of characters that is predicted correctly; a dash if the task does not
  classify, or for a baseline that was cached before accuracy was measured (--retune).
* **Speed-up.** The target is what {reference}'s training loss, as a causal exponential average (decay
  {SMOOTHING} per step), reaches at the horizon on that seed; the speed-up is the step at which
  {reference} first reaches it over the step at which the optimizer does. The tables show the median over
  seeds, where a seed that never reaches it counts as slowest.
* **Seconds to target.** The steps to the target, times the seconds that an inner step of a single run took
  on this machine: gradient and update, alternating with {reference}, the median of several rounds, without
  compilation. On small networks and few cores the update dominates; on larger ones, the gradient.
* **Seeds won.** The number of seeds on which the mean training loss over the horizon is below
  {reference}'s.
* **Diverged.** A loss was not finite, or the final loss is not below the task's ceiling.
* **Over all tasks.** A run's speed-up is 0 if it never reaches the target; its final-loss ratio is
  {reference}'s final loss over its own, and 0 if that is not finite. The interquartile mean leaves out
  the best and the worst {TRIM:.0%} of runs. Intervals resample the seeds within each task, {RESAMPLES:,}
  times, for a fixed set of tasks; with few seeds they are somewhat too narrow. Performance profiles show the
  share of runs that reach at least each score; runs that never reach the target are beyond the left edge;
  with many optimizers, untuned baselines are left out there.
* **Tasks won, worst task.** By the mean training loss over horizon and seeds; "times lower" is
  {reference}'s loss over the optimizer's, below 1 where {reference} is better. Won on final loss: by the
  final training loss.
* **Chance that a run is better.** The share of pairs of seeds in which a run's mean training loss is below
  that of a run of {reference} on the same task, averaged over tasks; ties count half.
* **Matches the best of k trials.** The largest number of learning rates, drawn at random from
  {reference}'s grid, of which the best has an expected mean training loss no lower than the optimizer's: the
  amount of tuning of {reference} that the optimizer is worth. A rate that diverged counts as the worst that
  did not. The tables show the median over tasks, the lower one of two."""


def _provenance(results: Results) -> str:
    environment = dict(results.environment)
    versions = environment.pop("versions", {})
    lines = [f"* {as_prose(sentence)}" for sentence in origin_sentences(results)]
    lines += [
        f"* {as_sentence(key)}: {_value(value)}"
        for key, value in environment.items()
        if value not in ("", None)
    ]
    lines += [f"* {as_sentence(f'{name} {version}')}" for name, version in versions.items()]
    lines += [
        f"* {as_sentence(name)}: {as_code(json.dumps(origin))}" for name, origin in results.origins.items()
    ]
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, str):
        return as_code(value)
    return in_markdown(", ".join(map(str, value)) if isinstance(value, list) else value, MOST_OF_A_TEXT)
