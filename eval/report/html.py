"""A report as one HTML page that opens from disk: the Markdown one, with its pictures inside."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from markdown_it import MarkdownIt

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #8881; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; margin: 1.2rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { text-align: left; vertical-align: bottom; white-space: normal; }
th { font-weight: 600; border-bottom-width: 2px; }
td:first-child, th:first-child { padding-left: 0; }
tbody tr:hover { background: var(--quiet); }
img { display: block; max-width: 100%; background: #fff; border-radius: 4px; }
code { font-size: .88em; background: var(--quiet); padding: .1em .3em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { font-size: 15px; padding: .5rem .8rem 3rem; }
  th, td { padding: .3rem .5rem; }
  img { max-width: none; width: 42rem; }
}
"""


def to_html(markdown: str, directory: Path) -> str:
    """Return a page that needs no other file and no network.

    Args:
        markdown: the report.
        directory: where the pictures are that it names.
    """
    title = markdown.partition("\n")[0].lstrip("# ")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    picture = r'<p><img src="([^":]+)" alt="([^"]*)" /></p>'
    body = re.sub(picture, lambda match: _picture(directory / match[1], match[2]), body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _picture(file: Path, description: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<div class="wide"><img src="data:image/png;base64,{data}" alt="{description}"></div>'
