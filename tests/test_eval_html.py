"""The report as a page: everything is in the one file."""

import base64
import re

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


def page(tmp_path):
    (tmp_path / "digits-20.png").write_bytes(PICTURE)
    return to_html(MARKDOWN, tmp_path)


def test_pictures_are_inside_and_nothing_is_fetched(tmp_path):
    html = page(tmp_path)
    (source,) = re.findall(r'src="([^"]+)"', html)
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == PICTURE
    assert 'alt="digits, 20 inner steps"' in html
    assert not re.search(r"https?://|url\(|<link|@import", html)


def test_tables_are_tables_that_scroll_by_themselves(tmp_path):
    html = page(tmp_path)
    assert html.count('<div class="wide"><table>') == 1
    assert "<strong>0.1</strong>" in html
    assert '<td style="text-align:right">' in html


def test_text_is_text(tmp_path):
    html = page(tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    assert "<title>Benchmark: small</title>" in html
