"""The table of `lopt-data list`."""

import os
import sys
from pathlib import Path

from .array_folders import folder_of, kept_counts, size_of
from .catalogue import DATASETS, SPLITS, Split
from .prepared import count_examples, find_prepared

_WIDE = 160
"""Columns of a table that goes to a file or another program."""


def print_table(data_dir: Path) -> None:
    """Print a table with one row per data set."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(printable(f"Data sets in {data_dir}"))  # as Text, so that brackets are not markup
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for split in SPLITS:
        table.add_column(split.replace("_", "\n"), justify="right", no_wrap=True)
    for name in DATASETS:
        table.add_row(*_row(name, data_dir))
    on_a_screen = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    console = Console(width=None if on_a_screen else _WIDE)
    # Printed by Python, because rich ends the process with its own status if the output pipe is closed.
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
    print("automatic: made on first use, without a network.")
    print("download: by `lopt-data prepare NAME`, after `pip install 'lopt[prepare]'`.")
    print("convert: downloaded; made on first use, which takes a while.")
    print("Numbers are examples; of tiny_shakespeare and imdb, symbols of text.")


def printable(text: str) -> str:
    """Escape control characters, which may occur in the name of a directory."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def megabytes(size: float) -> str:
    """Return a size in bytes as a text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _row(name: str, data_dir: Path) -> list[str]:
    """Return a data set's name, state, place, size and number of examples in each split."""
    entry, folder = DATASETS[name], folder_of(name, data_dir)
    path, readable = find_prepared(name, data_dir)
    counts: dict[Split, int] = kept_counts(name, data_dir) or (count_examples(name, path) if path else {})
    if kept_counts(name, data_dir) is not None:
        state, place = "ready", folder
    elif path is None:
        state, place = "automatic" if entry.local else "download", None
    elif not readable:
        state, place = "download (is tfrecord)", path
    elif not counts and not (entry.kind == "text" and entry.streaming is None):
        state, place = "damaged: delete it", path
    else:
        state, place = "ready" if entry.local or entry.streaming else "convert", path
    where = str(place.relative_to(data_dir)) if place else "-"
    size = megabytes(size_of(place)) if place else "-"
    return [name, state, where, size, *(str(counts.get(split, "-")) for split in SPLITS)]
