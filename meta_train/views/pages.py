"""Pages of one file each, for reports and comparisons: the style, and what is embedded."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from lopt import plain

_BROAD = 1000
"""Pixels of width beyond which a figure scrolls on a phone, where it could not be read if it shrank."""
WIDE = 'class="wide" tabindex="0"'
"""Attributes of elements that may be wider than the window: they scroll separately, also by keyboard."""
# The two inner gradients of `.wide` scroll with the content and cover the shadows at its ends, so a shadow at
# an edge shows that there is more beyond it. Rows are transparent, so that the shadows are visible.
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #8881; --shadow: #0006; --faint: #777; }
@media (prefers-color-scheme: dark) { :root { --shadow: #fff6; --faint: #999; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem 1.2rem 4rem; }
body { overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 1.2rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h1 + p { font-size: 1.15rem; }
ul { padding-left: 1.3rem; }
.wide {
  display: block; overflow-x: auto; margin: 1rem 0; padding-bottom: .3rem; scrollbar-width: thin;
  background:
    linear-gradient(to right, Canvas 40%, transparent) left / 3rem 100% no-repeat local,
    linear-gradient(to left, Canvas 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to right, var(--shadow), transparent) left / 1rem 100% no-repeat scroll,
    linear-gradient(to left, var(--shadow), transparent) right / 1rem 100% no-repeat scroll;
}
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { text-align: left; vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
th { font-weight: 600; border-bottom-width: 2px; min-width: 4.5rem; }
td { vertical-align: top; }
td:first-child, th:first-child { padding-left: 0; white-space: normal; min-width: 8rem; }
.number { text-align: right; }
tbody tr:hover { background: var(--quiet); }
.figure { display: block; margin: 1rem 0; }
img { display: block; max-width: 100%; background: #fff; border-radius: 4px; }
code { font-size: .88em; background: var(--quiet); padding: .1em .3em; border-radius: 3px; }
code { overflow-wrap: anywhere; }
td code, th code { background: none; padding: 0; }
@media (max-width: 40rem) {
  body { font-size: 15px; padding: .5rem .8rem 3rem; }
  th, td { padding: .3rem .5rem; }
  td { white-space: normal; min-width: 4.5rem; overflow-wrap: normal; }
  .broad { display: flex; overflow-x: auto; scrollbar-width: thin; padding-bottom: .3rem; }
  .broad img { max-width: none; width: 44rem; flex: none; }
  .broad::after {
    content: ""; flex: none; position: sticky; right: 0; width: 1.2rem; margin-left: -1.2rem;
    background: linear-gradient(to left, #0007, transparent);
  }
}
"""


def page(title: str, body: str) -> str:
    """Return a page that needs no other file and no network.

    Args:
        title: the page's title, as plain text.
        body: HTML; what it shows of others' text must be escaped already.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def escaped(text: object, most: int = 1000) -> str:
    """Return any text as HTML that shows it literally, on one line, with its middle left out if it is long.

    Args:
        text: the text.
        most: number of characters to keep.
    """
    return html.escape(plain(text, most))


class Name(str):
    """A name within a sentence, which is set off from the words around it."""


def prose(sentence: Sequence[str]) -> str:
    """Return words and names as HTML that shows them literally."""
    return "".join(
        f"<code>{escaped(piece)}</code>" if isinstance(piece, Name) else html.escape(piece)
        for piece in sentence
    )


def embedded(png: bytes, description: str) -> str:
    """Return an image element that holds a PNG file.

    Args:
        png: the file's content.
        description: what the figure shows, escaped already.
    """
    data = base64.b64encode(png).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{description}">'
    return f'<span class="figure{" broad" * (_width(png) > _BROAD)}" tabindex="0">{image}</span>'


def _width(png: bytes) -> int:
    """Return the width in a PNG file's header, in pixels; 0 if there is none."""
    return int.from_bytes(png[16:20], "big") if len(png) >= 24 else 0


def table(header: Sequence[str], rows: Sequence[Sequence[object]], text: int = 1) -> str:
    """Return a table that scrolls by itself where it is wider than the window.

    Args:
        header: the headings.
        rows: the cells; everything is escaped here.
        text: number of columns, from the left, that hold text; the others hold numbers.
    """

    def line(cells: Sequence[object], tag: str) -> str:
        kinds = ["" if at < text else ' class="number"' for at in range(len(cells))]
        return "".join(
            f"<{tag}{kind}>{escaped(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return (
        f"<div {WIDE}><table>\n<thead><tr>{line(header, 'th')}</tr></thead>\n<tbody>\n{body}"
        "</tbody></table></div>\n"
    )
