"""A benchmark's report as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .curves import BATCHES
from .metrics import FINAL_SHARE, SMOOTHING
from .results import Results
from .tables import Table, counted, detail_table, main_table, sweep_table, verdicts


def render(results: Results, plots: Mapping[tuple[str, int], str], note: str = "") -> str:
    """Return the report.

    Args:
        results: the benchmark.
        plots: file names by task and horizon, relative to the report.
        note: a sentence to put where the plots would be.
    """
    seeds = counted(results.seeds, "seed")
    sections = [
        f"# Benchmark: {results.suite}",
        results.tests,
        "\n".join(f"* {sentence}" for sentence in verdicts(results)),
        f"Mean training loss over the horizon and {seeds}; in parentheses the learning rate that was best; "
        "the lowest of a row is bold.",
        render_table(main_table(results)),
        "## Training curves" if plots or note else "",
        note,
        *(f"![{task}, {horizon} inner steps]({file})" for (task, horizon), file in plots.items()),
        "## Every optimizer",
        "Means over the seeds, with the lowest and highest seed in brackets.",
        render_table(detail_table(results)),
        "## Protocol",
        _protocol(results),
        render_table(sweep_table(results)),
        "## Provenance",
        _provenance(results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def render_table(table: Table) -> str:
    """Return a table in Markdown, the best loss of a row in bold."""
    best = table.best or (None,) * len(table.rows)
    rows = [
        [f"**{cell}**" if column == bold else cell for column, cell in enumerate(row)]
        for row, bold in zip(table.rows, best, strict=True)
    ]
    rule = ["---"] + ["---:"] * (len(table.header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in [table.header, rule, *rows])


def _protocol(results: Results) -> str:
    seeds = counted(results.seeds, "seed")
    points = len(results.tasks[0].held_out_steps)
    reference = results.tasks[0].row(results.reference).label
    return f"""\
* **Runs.** Every optimizer trains from the same task instances, initialisations and batches: runs are
  paired by seed ({seeds}, drawn from --seed {results.seed}). A learned optimizer runs as it is,
  with nothing tuned; it is told the horizon if it asks for it.
* **Tuning.** A tuned baseline chooses its learning rate per task from the grid below: the lowest mean
  training loss over the horizon, averaged over the seeds, where a loss that is not finite is the worst.
  The runs that it is chosen on are the runs that are reported, which favours the baseline.
* **Training loss.** The loss of each inner step's fresh batch, before the update. The final loss is the
  mean of the last {FINAL_SHARE:.0%} of steps.
* **Held-out loss.** On {BATCHES} batches of the {results.held_out} split, the same for every optimizer, after
  the last inner step and at {points} points in all; it has no part in any choice.
* **Speed-up.** The target is what {reference}'s training loss, as a causal exponential average (decay
  {SMOOTHING} per step), reaches at the horizon on that seed; the speed-up is the step at which
  {reference} first reaches it over the step at which the optimizer does. Shown is the median over seeds,
  where a seed that never reaches it counts as slowest.
* **Seeds won.** On how many seeds the mean training loss over the horizon is below {reference}'s.
* **Diverged.** A loss was not finite, or the final loss is at the task's ceiling or above it."""


def _provenance(results: Results) -> str:
    environment = dict(results.environment)
    versions = environment.pop("versions", {})
    lines = [f"* {key}: {_value(value)}" for key, value in environment.items() if value not in ("", None)]
    lines += [f"* {name} {version}" for name, version in versions.items()]
    for name, origin in results.origins.items():
        lines.append(f"* {name}: `{json.dumps(origin)}`")
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return f"`{value}`" if isinstance(value, str) else str(value)
