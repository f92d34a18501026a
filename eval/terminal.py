"""A benchmark's results on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .report import Report
from .results import Results
from .tables import counted, main_table, verdicts


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
            no_wrap=name != "optimizer",
            overflow="fold",
        )
    for row, best in zip(cells.rows, cells.best, strict=True):
        lines = [cell.replace(" (", "\n(") for cell in row]
        # As Text, so that brackets in a path are not taken for markup.
        table.add_row(*(Text(lines[at], style="bold" if at == best else "") for at in shown))
    Console().print(table)
    # Not through rich: long paths must stay whole, to be copied.
    print("\n".join(verdicts(results)))
    if report is not None:
        plots = [f"plot    {path}" for path in report.plots] or [report.note]
        print("\n".join([f"report  {report.markdown}", f"numbers {report.json}", *plots]))
