"""Notebooks as pages of the documentation site, with their stored outputs."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any


def notebook_page(path: Path, pictures: Path) -> str:
    """Return a notebook as Markdown, and write its pictures.

    Args:
        path: the notebook.
        pictures: the directory for its pictures, beside the page.
    """
    parts: list[str] = []
    for at, cell in enumerate(json.loads(path.read_text())["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        else:
            parts.append(f"```python\n{text}\n```")
            parts += [_output(output, pictures / f"{path.stem}-{at}.png") for output in cell["outputs"]]
    return "\n\n".join(filter(None, parts)) + "\n"


def _output(output: dict[str, Any], picture: Path) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return f"![A figure]({picture.parent.name}/{picture.name})"
    text = "".join(output.get("text", data.get("text/plain", "")))
    text = re.sub(r"\x1b\[[\d;]*m", "", text).rstrip()
    return f"```text\n{text}\n```" if text else ""
