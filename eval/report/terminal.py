"""A benchmark's results on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..statistics.results import Results
from .cells import counted
from .parts import parts_table
from .tables import Table as Cells
from .tables import main_table, overall_table, verdicts
from .write import Report

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
            name.replace(" ", "\n"),
            justify="left" if text else "right",
            no_wrap=name not in ("optimizer", "best other"),
            overflow="fold",
        )
    for row, best in zip(cells.rows, cells.best, strict=True):
        lines = [cell.replace(" (", "\n(") for cell in row]
        # As Text, so that brackets in a path are not taken for markup.
        table.add_row(*(Text(lines[at], style="bold" if at == best else "") for at in shown))
    Console().print(table)
    if len(results.tasks) > 1:
        _print_overall(results)
    # Not through rich: long paths must stay whole, to be copied.
    print("\n".join(verdicts(results)))
    if report is not None:
        plots = [f"plot    {path}" for path in report.plots] or [report.note]
        print(
            "\n".join(
                [f"report  {report.markdown}", f"page    {report.html}", f"numbers {report.json}", *plots]
            )
        )


def _print_overall(results: Results) -> None:
    """Print what all tasks say together of the optimizers that were asked about."""
    cells = overall_table(results, results.subjects)
    if not cells.rows:
        return
    reference = results.tasks[0].row(results.reference).label
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
        name = cells.header[at].replace(" ", "\n")
        table.add_column(name, justify="right" if at else "left", no_wrap=at > 0, overflow="fold")
    for row in cells.rows:
        table.add_row(*(Text(row[at].replace(" [", "\n[")) for at in shown))
    Console().print(table)
