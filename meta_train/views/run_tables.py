"""Tables of runs: for a terminal of any width, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lopt import plain

from ..runs.summary import RunSummary
from ..trackers.figures import count, figure

STATES = {"running": "bold green", "done": "cyan", "stopped": "yellow", "damaged": "bold red"}
"""Colours of states."""
_DROPPED = ("size", "preset", "inner steps", "problem", "age", "best", "meta-steps")
"""Columns that a narrow terminal leaves out, the first one first."""
_NUMBERS = ("meta-steps", "best", "inner steps", "age", "size")
_LEAST_TEXT = {"run": 16, "problem": 28}
"""Columns of a text that is wrapped."""


def list_table(runs: Sequence[RunSummary], names: Sequence[str], width: int) -> Table:
    """Return a row per run, with as many columns as there is room for.

    Args:
        runs: the runs.
        names: what each is called here.
        width: columns of the terminal.
    """
    rows = [_row(one, name) for one, name in zip(runs, names, strict=True)]
    columns = list(rows[0]) if rows else []
    for dropped in _DROPPED:
        if _least(columns, rows) <= width:
            break
        columns.remove(dropped)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        text = column in _LEAST_TEXT
        table.add_column(
            column, justify="right" if column in _NUMBERS else "left", no_wrap=not text, overflow="fold"
        )
    for one, row in zip(runs, rows, strict=True):
        table.add_row(*(Text(row[c], STATES[one.state] if c == "state" else "") for c in columns))
    return table


def _row(one: RunSummary, name: str) -> dict[str, str]:
    done = "-" if one.meta_step is None else f"{one.meta_step:,}"
    return {
        "run": plain(name),
        "state": one.state,
        "preset": plain(one.preset) or "-",
        "problem": plain(one.problem) or "-",
        "meta-steps": f"{done}/{one.meta_steps:,}" if one.meta_steps else done,
        "best": "-" if one.best is None else figure(one.best),
        "inner steps": "-" if one.inner_steps is None else count(one.inner_steps).removesuffix(".0"),
        "age": age(one.changed),
        "size": size(one.size),
    }


def _least(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> int:
    """Return the width that a table needs if names and problems are wrapped."""
    total = 0
    for column in columns:
        widest = max(len(column), *(len(row[column]) for row in rows))
        total += min(widest, _LEAST_TEXT.get(column, widest))
    return total + 2 * (len(columns) - 1)


def age(changed: float) -> str:
    """Format the time since something was written, in its largest unit."""
    seconds = max(0.0, time.time() - changed)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(number: int) -> str:
    """Format a number of bytes, in decimal units."""
    for length, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= 0.9995 * length:
            return f"{number / length:.3g} {unit}"
    return f"{number} B"


def pairs_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()
) -> Table:
    """Return a table of text and numbers, whose cells are wrapped where the terminal is narrow.

    Args:
        header: the headings.
        rows: the cells; control characters are escaped here.
        numbers: indices of the columns that hold numbers.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at, heading in enumerate(header):
        table.add_column(Text(plain(heading)), justify="right" if at in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell, 1000)) for cell in row))
    return table


def print_all(console: Console, *parts: RenderableType) -> None:
    """Print with `print`, because rich ends the process if the output pipe is closed."""
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a heading; a column is in it if any row has it, and lists are JSON."""
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items() if value is not None})
    return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return plain(value, 4000) if isinstance(value, str) else value


def as_json(value: Any) -> str:
    """Return a value as strict JSON; numbers that are not finite are null."""
    return json.dumps(_strict(value), indent=2, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _strict(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
