"""Prints a benchmark's results on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lopt import plain

from ..statistics.results import Results
from .columns import (
    BEST_OTHER,
    DIVERGED,
    FINAL_RATIO,
    GROUP,
    HORIZON,
    OPTIMIZER,
    SPEED_UP,
    TASK,
    TASKS_WON,
    TIME_SPEED_UP,
    TRIALS,
    WON_FINAL,
    WON_MEAN,
)
from .columns import Table as Cells
from .number_formats import counted
from .origins import origin_sentences
from .quoting import MOST_OF_A_CELL, MOST_OF_A_TEXT, in_words
from .report_files import Report
from .suite_parts import parts_table
from .tables import main_table, overall_table, reference_label
from .verdicts import headlines, verdicts

_FOLDED = {TASK: 16, OPTIMIZER: 8, BEST_OTHER: 9}
"""Columns of names, which are folded where the terminal is narrow, with their least widths."""
_SHOWN_OVERALL = (OPTIMIZER, TASKS_WON, WON_FINAL, SPEED_UP, TIME_SPEED_UP, FINAL_RATIO, TRIALS)
_SHOWN_PARTS = (GROUP, OPTIMIZER, WON_MEAN, WON_FINAL, SPEED_UP, DIVERGED)


def print_results(results: Results, report: Report | None = None) -> None:
    """Print the main table, the verdicts, and the paths of the report's files."""
    horizons = sorted({task.horizon for task in results.tasks})
    # To fit in 80 columns, what all rows share is printed once, and learning rates go below.
    shared = {HORIZON: len(horizons) == 1, OPTIMIZER: len(results.subjects) == 1}
    cells = main_table(results).without(*(column for column, once in shared.items() if once))
    steps = f"{horizons[0]} inner steps" if len(horizons) == 1 else "the horizon"
    whose = f" of {plain(results.subjects[0])}" if len(results.subjects) == 1 else ""
    print(
        f"Mean training loss{whose} over {steps} and {counted(results.seeds, 'seed')} (learning rate below)"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in cells.columns:
        table.add_column(
            _text(column.heading, " "),
            justify="left" if column.is_text else "right",
            no_wrap=column not in _FOLDED,
            min_width=_FOLDED.get(column),
            overflow="fold",
        )
    for row, best in zip(cells.rows, cells.best, strict=True):
        styles = ("bold" if column == best else "" for column in cells.columns)
        table.add_row(*(_text(cell, " (", style) for cell, style in zip(row, styles, strict=True)))
    _print(table)
    if len(results.tasks) > 1:
        _print_overall(results)
    # Not through rich, so that long paths aren't broken.
    sentences = (*origin_sentences(results), *headlines(results), *verdicts(results))
    said = [in_words(sentence) for sentence in sentences]
    if report is not None:
        said += [f"report  {report.markdown}", f"page    {report.html}", f"numbers {report.json}"]
        said += [f"plot    {path}" for path in report.plots] or [report.note]
    print("\n".join(plain(line, MOST_OF_A_TEXT) for line in said))


def _print_overall(results: Results) -> None:
    """Print the subjects' scores over all tasks."""
    cells = overall_table(results, results.subjects)
    if not cells.rows:
        return
    reference = plain(reference_label(results))
    print(f"Over {len(results.tasks)} tasks, against {reference}: larger is better, and 1 is as good")
    _print_cells(cells.only(*_SHOWN_OVERALL))
    parts = parts_table(results)
    if parts.rows:
        print("Part by part")
        _print_cells(parts.only(*_SHOWN_PARTS))


def _print_cells(cells: Cells) -> None:
    """Print a table, with brackets moved to a second line."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for at, column in enumerate(cells.columns):
        justify = "left" if column.is_text else "right"
        table.add_column(_text(column.heading, " "), justify=justify, no_wrap=at > 0, overflow="fold")
    for row in cells.rows:
        table.add_row(*(_text(cell, " [") for cell in row))
    _print(table)


def _text(cell: str, broken_at: str, style: str = "") -> Text:
    """Return a cell in which brackets are not markup, and control characters are escaped.

    Args:
        cell: its text.
        broken_at: text that starts with a space, which becomes a line break.
        style: rich's style.
    """
    return Text(plain(cell, MOST_OF_A_CELL).replace(broken_at, f"\n{broken_at[1:]}"), style)


def _print(table: Table) -> None:
    """Print a table with `print`, because rich ends the process if the output pipe is closed."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
