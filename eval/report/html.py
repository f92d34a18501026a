"""A report as a single HTML page, rendered from Markdown, with embedded figures."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from markdown_it import MarkdownIt

from meta_train import pages

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
    parser.add_render_rule("table_open", lambda *_: f"<div {pages.WIDE}><table>\n")
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    body = parser.render(markdown, {"pictures": pictures})
    return pages.page(title, body)


def _image(renderer: Any, tokens: Any, at: int, options: Any, env: Any) -> str:
    """Return one of the report's figures, embedded; for any other image only its description."""
    token = tokens[at]
    description = html.escape(renderer.renderInlineAsText(token.children or [], options, env))
    content = env["pictures"].get(token.attrs["src"])
    if content is None:
        return description
    return pages.embedded(content, description)
