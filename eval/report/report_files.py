"""Writes the files of a benchmark: `eval.json`, `report.md`, `report.html`, and the figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..statistics.results import Results
from .html import to_html
from .markdown import render, title
from .plots import PlotsUnavailableError, draw


@dataclasses.dataclass(frozen=True)
class Report:
    """The files of a report."""

    json: Path
    markdown: Path
    html: Path
    plots: tuple[Path, ...]
    note: str
    """Why there are no plots; empty if there are."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (self.json, self.markdown, self.html, *self.plots)


def write_report(results: Results, directory: str | Path) -> Report:
    """Write all files into a directory, which is created if necessary.

    The numbers are written first, so that no error can lose them. Without matplotlib the plots are left out,
    and the report says so.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    numbers = directory / "eval.json"
    numbers.write_text(results.to_json())
    note, pictures = "", ()
    try:
        pictures = draw(results, directory)
    except PlotsUnavailableError as error:
        note = f"{str(error)[:1].upper()}{str(error)[1:]}."
    markdown = render(results, pictures, note)
    text, page = directory / "report.md", directory / "report.html"
    text.write_text(markdown, encoding="utf-8")
    drawn = {one.file: (directory / one.file).read_bytes() for one in pictures}
    page.write_text(to_html(markdown, title(results), drawn), encoding="utf-8")
    return Report(numbers, text, page, tuple(directory / one.file for one in pictures), note)
