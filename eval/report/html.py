"""A report as a single HTML page, rendered from Markdown, with embedded figures."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

from markdown_it import MarkdownIt

from lopt import plain

_WIDE = 'class="wide" tabindex="0"'
"""Attributes of elements that may be wider than the window: they scroll separately, also by keyboard."""
# The two inner gradients of `.wide` scroll with the content and cover the shadows at its ends, so a shadow at
# an edge shows that there is more beyond it. Rows are transparent, so that the shadows are visible.
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #8881; --shadow: #0006; }
@media (prefers-color-scheme: dark) { :root { --shadow: #fff6; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem 1.2rem 4rem; }
body { overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 1.2rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
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
th { font-weight: 600; border-bottom-width: 2px; }
td:first-child, th:first-child { padding-left: 0; white-space: normal; min-width: 8rem; }
tbody tr:hover { background: var(--quiet); }
img { display: block; max-width: 100%; background: #fff; border-radius: 4px; }
code { font-size: .88em; background: var(--quiet); padding: .1em .3em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { font-size: 15px; padding: .5rem .8rem 3rem; }
  th, td { padding: .3rem .5rem; }
  td { white-space: normal; min-width: 4.5rem; overflow-wrap: normal; }
}
"""
_RULES = ["autolink", "code", "fence", "html_block", "html_inline", "lheading", "link", "reference"]
"""Markdown rules that reports don't use; disabled, so that names can't inject such elements."""


def to_html(markdown: str, title: str, pictures: Mapping[str, bytes]) -> str:
    """Return a page that needs no other file and no network.

    Args:
        markdown: the report.
        title: the page's title.
        pictures: PNG files by their names in the report. No other picture is shown.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(_RULES)
    parser.add_render_rule("image", _image)
    parser.add_render_rule("table_open", lambda *_: f"<div {_WIDE}><table>\n")
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    body = parser.render(markdown, {"pictures": pictures})
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(plain(title))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _image(renderer: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    """Return one of the report's figures, embedded; for any other image only its description."""
    token = tokens[at]
    description = html.escape(renderer.renderInlineAsText(token.children or [], options, env))
    content = env["pictures"].get(token.attrs["src"])
    if content is None:
        return description
    data = base64.b64encode(content).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{description}">'
