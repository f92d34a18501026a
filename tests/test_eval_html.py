"""The report as a page: everything is in the one file."""

import base64
import re

import pytest

from eval.report.html import to_html

MARKDOWN = """# Benchmark: small

* Warning: <script>alert(1)</script> & more.

## Curves

![digits, 20 inner steps](digits-20.png)

| task | loss |
| --- | ---: |
| digits | **0.1** |
"""
PICTURE = b"\x89PNG not really"


@pytest.fixture
def page():
    return to_html(MARKDOWN, "Benchmark: <small>", {"digits-20.png": PICTURE})


def test_pictures_are_inside_and_nothing_is_fetched(page):
    (source,) = re.findall(r'src="([^"]+)"', page)
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == PICTURE
    assert 'alt="digits, 20 inner steps"' in page
    assert not re.search(r"https?://|url\(|<link|@import", page)


def test_tables_are_tables_that_scroll_by_themselves(page):
    assert page.count('<div class="wide" tabindex="0"><table>') == 1
    assert "<strong>0.1</strong>" in page
    assert '<td style="text-align:right">' in page


def test_text_is_text(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<title>Benchmark: &lt;small&gt;</title>" in page
