"""One run on a terminal: its state, its curves, its newest numbers, its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lopt import plain

from ..runs.history import History
from ..runs.summary import RunSummary
from ..trackers import metrics
from ..trackers.figures import count, duration, figure
from .run_tables import STATES, age, pairs_table, size
from .terminal_curves import Line, draw_curves

_MOST_TUNED = 8
"""Tuned values whose curves are drawn."""
_ROOMY = 120
"""Columns from which metrics are shown with their meanings."""
_RIVALS = ("tuned_adam", "untuned", "random_search")
"""References of the problems that come with lopt, in their order in the legend."""


def state_line(one: RunSummary, name: str) -> Text:
    """Return a line on a run's state, its problem and how far it is."""
    total = f" of {one.meta_steps:,}" if one.meta_steps else ""
    facts = [
        one.problem,
        "" if one.meta_step is None else f"meta-step {one.meta_step:,}{total}",
        "" if one.inner_steps is None else f"{count(one.inner_steps).removesuffix('.0')} inner steps",
        "" if one.best is None else f"best validation {figure(one.best)}",
        f"{size(one.size)}" if one.size else "",
        f"written {age(one.changed)} ago",
    ]
    line = Text(plain(name), style="bold").append(f"  {one.state}", STATES[one.state])
    line.append("  " + "  ".join(plain(fact) for fact in facts if fact), "none")
    return line.append(f"\n{plain(one.why, 1000)}", "red") if one.why else line


def curve_lines(history: History, width: int, height: int, ascii_only: bool) -> list[Text]:
    """Return a run's curves over inner steps: validations and references, the meta-loss, tuned values."""
    valid = metrics.VALID_OBJECTIVE.name
    at, values = history.series(valid)
    lines = [Line("", at, values)]
    for rival in _RIVALS:
        x, y = history.series(metrics.of_rival(rival))
        lines.append(Line(rival.replace("_", " "), x, y, dotted=True))
    shown = draw_curves("validation", "inner steps", lines, width, height, ascii_only)
    losses = Line("", *history.series(metrics.LOSS.name))
    shown += draw_curves("meta-loss", "inner steps", [losses], width, height, ascii_only)
    prefix = metrics.TUNED.of("")
    names = dict.fromkeys(n for one in history.values for n in one if n.startswith(prefix))
    for name in list(names)[:_MOST_TUNED]:
        tuned = Line("", *history.series(name))
        title = plain(name.removeprefix(prefix))
        shown += draw_curves(title, "inner steps", [tuned], width, height, ascii_only)
    return shown


def numbers_table(history: History, width: int) -> RenderableType:
    """Return the newest number of each metric with its unit, and with its meaning if there is room."""
    meanings = {name: metric for name, metric in metrics.METRICS.items() if "{" not in name}
    rows = []
    for name, value in sorted(history.last().items()):
        metric = meanings.get(name)
        unit = metric.unit if metric else ""
        text = duration(value) if unit == "seconds" and value >= 60 else f"{_short(value)} {unit}".strip()
        rows.append((name, text, metric.about if metric else ""))
    header = ("metric", "newest", "what it is")[: 3 if width >= _ROOMY else 2]
    return pairs_table(header, [row[: len(header)] for row in rows], numbers=(1,))


def _short(value: float) -> str:
    return count(value).removesuffix(".0") if value >= 1e4 else figure(value)


def settings_table(by_flag: Mapping[str, Any]) -> RenderableType:
    """Return a run's settings by their flags."""
    return pairs_table(("setting", "value"), [(flag, shown(value)) for flag, value in by_flag.items()])


def origin_table(identity: Mapping[str, Any]) -> RenderableType:
    """Return where a run comes from: command, commit, versions, devices."""
    return pairs_table(("provenance", "value"), [(name, shown(value)) for name, value in identity.items()])


def shown(value: Any) -> str:
    """Return a setting as text: lists with spaces between, as on the command line."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(map(shown, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def live_view(
    one: RunSummary, name: str, history: History, width: int, height: int, ascii_only: bool
) -> Group:
    """Return what `lopt-runs watch` draws again and again.

    Args:
        one: the run.
        name: what it is called.
        history: its records.
        width: columns of the terminal.
        height: rows of the terminal; curves that don't fit are left out.
        ascii_only: whether to draw with ASCII characters.
    """
    head = [state_line(one, name), Text(_pace(history))]
    room = height - 3 - (one.why != "") - 1
    rows = max(3, min(8, room // 2 - 2))
    curves = curve_lines(history, width, rows, ascii_only)
    return Group(*head, *curves[: max(0, room)])


def _pace(history: History) -> str:
    last = history.last()
    speed, left = last.get(metrics.SPEED.name), last.get(metrics.ETA_SECONDS.name)
    diverged, took = last.get(metrics.DIVERGED.name), last.get(metrics.SECONDS.name)
    facts = [
        "" if speed is None else f"{count(speed)} inner steps/s",
        "" if diverged is None else f"diverged {diverged:.0%}",
        "" if took is None else f"took {duration(took)}",
        "" if not left else f"to go {duration(left)}",
    ]
    return "  ".join(fact for fact in facts if fact) or "no record yet"
