#!/usr/bin/env python
"""Assemble the pages of the documentation site in build/pages, and build it in build/site: `make docs`.

The pages are those that are read in the repository: docs/, README.md and the like. Their links are made to
fit the site; a link to a file of source code becomes a page with that source. Tables marked
`<!-- generated: -->` and the reference of public names are generated.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

from site_notebooks import notebook_page
from site_reference import PACKAGES, reference
from site_tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
NAMES = {
    "README.md": "index.md",
    "checkpoints/README.md": "published.md",
    "meta_train/estimators/README.md": "estimators.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site, by file of the repository; those of docs/ keep their names."""
STYLE = ".md-typeset td:first-child code { white-space: nowrap; }\n"
"""Names in the first column of a table stay whole on narrow screens."""
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml"}


def main() -> int:
    """Assemble, and build; the exit status is mkdocs's, which is 1 for a warning."""
    assemble()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", "mkdocs.yml"]
    quiet = {"NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, check=False)
    if done.returncode == 0:
        print(f"The site is in {ROOT / 'build' / 'site' / 'index.html'}")
    return done.returncode


def assemble() -> None:
    """Write all pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "figures", PAGES / "figures")
    (PAGES / "site.css").write_text(STYLE)
    names = NAMES | {f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")}
    names |= {
        f"notebooks/{path.name}": f"notebook-{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    sources: set[str] = set()
    for file, page in names.items():
        whole = notebook_page(ROOT / file, PAGES / "figures") if file.endswith("ipynb") else read(file)
        text = relink(whole, file, names, sources)
        if page == "estimators.md" or page == "architectures.md":
            text += f"\n## All that are registered\n\n<!-- generated: {page.removesuffix('.md')} -->\n"
        (PAGES / page).write_text(fill_in(with_wide_indents(text)))
    for file in sources:
        write_source(file)
    (PAGES / "reference").mkdir()
    for package in PACKAGES:
        (PAGES / "reference" / f"{package}.md").write_text(reference(package, ROOT))


def read(file: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / file).read_text()


def relink(text: str, file: str, names: dict[str, str], sources: set[str]) -> str:
    """Make the links of a file fit the site, and note the files of source code that it links to."""

    def fit(found: re.Match[str]) -> str:
        target, _, anchor = found[1].partition("#")
        if not target or "://" in target or target.startswith("figures/"):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        if path.startswith("docs/figures/"):
            page = path.removeprefix("docs/")
        elif path in names:
            page = names[path]
        elif Path(path).suffix in LANGUAGES and (ROOT / path).is_file():
            sources.add(path)
            page = f"source/{path}.md"
        else:
            raise FileNotFoundError(f"{file} links to {found[1]}, which has no page")
        return f"]({page}{'#' if anchor else ''}{anchor})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        part if part.startswith("```") else re.sub(r"\]\(([^)\s]+)\)", fit, part) for part in parts
    )


def with_wide_indents(text: str) -> str:
    """Indent what belongs to an item of a list by four, which is what the site's Markdown asks for.

    It also wants an empty line before a list in an item.
    """
    lines: list[str] = []
    width, fenced, code = 0, False, False  # `code` is a block in an item
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        fenced ^= line.startswith("```")
        code ^= line.startswith(" ") and line.lstrip().startswith("```")
        if not fenced and line and not indent:
            item = re.match(r"(\* |- |\d+\. )", line)
            width = len(item[1]) if item else 0
        if not width or indent < width or fenced:
            lines.append(line)
            continue
        begins = line.startswith((" " * width + "* ", " " * width + "- "))
        if begins and not lines[-1].startswith("    "):
            lines.append("")
        extra = 4 - width + (2 if indent > width and not code else 0)
        lines.append(" " * extra + line)
    return "\n".join(lines) + "\n"


def fill_in(text: str) -> str:
    """Put the generated tables into their places."""
    return re.sub(r"^<!-- generated: (\w+) -->$", lambda found: TABLES[found[1]](), text, flags=re.MULTILINE)


def write_source(file: str) -> None:
    """Write the page of a file of source code."""
    page = PAGES / "source" / f"{file}.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    language = LANGUAGES[Path(file).suffix]
    page.write_text(f"# {file}\n\n````{language}\n{read(file)}````\n")


if __name__ == "__main__":
    sys.exit(main())
