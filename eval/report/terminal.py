"""A benchmark's results on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lopt import plain

from ..statistics.results import Results
from .number_formats import counted
from .quoting import MOST_OF_A_CELL, MOST_OF_A_TEXT
from .report_files import Report
from .suite_parts import parts_table
from .tables import Table as Cells
from .tables import main_table, overall_table, reference_label, verdicts

_SHOWN_OVERALL = (
    "optimizer", "tasks won", "won on final loss", "speed-up", "speed-up in time", "final-loss ratio",
    "best of k trials",
)  # fmt: skip
_SHOWN_PARTS = ("tasks", "optimizer", "won on mean loss", "won on final loss", "speed-up", "diverged")


def print_results(results: Results, report: Report | None = None) -> None:
    """Print the main table, what to think of it, and where the report's files are."""
    cells = main_table(results)
    horizons = sorted({task.horizon for task in results.tasks})
    # Eighty columns are few: a horizon that all tasks share is told once, learning rates go below.
    shown = [at for at, name in enumerate(cells.header) if name != "horizon" or len(horizons) > 1]
    steps = f"{horizons[0]} inner steps" if len(horizons) == 1 else "the horizon"
    print(f"Mean training loss over {steps} and {counted(results.seeds, 'seed')} (learning rate below)")
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for at in shown:
        name = cells.header[at]
        text = name in ("task", "optimizer")
        table.add_column(
            _text(name, " "),
            justify="left" if text else "right",
            no_wrap=name not in ("optimizer", "best other"),
            overflow="fold",
        )
    for row, best in zip(cells.rows, cells.best, strict=True):
        table.add_row(*(_text(row[at], " (", "bold" if at == best else "") for at in shown))
    _print(table)
    if len(results.tasks) > 1:
        _print_overall(results)
    # Not through rich: long paths must stay whole, to be copied.
    said = verdicts(results)
    if report is not None:
        said += [f"report  {report.markdown}", f"page    {report.html}", f"numbers {report.json}"]
        said += [f"plot    {path}" for path in report.plots] or [report.note]
    print("\n".join(plain(line, MOST_OF_A_TEXT) for line in said))


def _print_overall(results: Results) -> None:
    """Print what all tasks say together of the optimizers that were asked about."""
    cells = overall_table(results, results.subjects)
    if not cells.rows:
        return
    reference = plain(reference_label(results))
    print(f"Over {len(results.tasks)} tasks, against {reference}: larger is better, and 1 is as good")
    _print_cells(cells, _SHOWN_OVERALL)
    parts = parts_table(results)
    if parts.rows:
        print("Part by part")
        _print_cells(parts, _SHOWN_PARTS)


def _print_cells(cells: Cells, columns: tuple[str, ...]) -> None:
    """Print some columns of a table; what is in brackets goes below."""
    shown = [at for at, name in enumerate(cells.header) if name in columns]
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for at in shown:
        table.add_column(
            _text(cells.header[at], " "), justify="right" if at else "left", no_wrap=at > 0, overflow="fold"
        )
    for row in cells.rows:
        table.add_row(*(_text(row[at], " [") for at in shown))
    _print(table)


def _text(cell: str, broken_at: str, style: str = "") -> Text:
    """Return a cell in which brackets are not markup, and control characters are not obeyed.

    Args:
        cell: its text.
        broken_at: a space, and what may follow it, that becomes the end of a line.
        style: rich's.
    """
    return Text(plain(cell, MOST_OF_A_CELL).replace(broken_at, f"\n{broken_at[1:]}"), style)


def _print(table: Table) -> None:
    """Print a table by Python's own `print`: rich ends the process when nobody reads what it writes."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
