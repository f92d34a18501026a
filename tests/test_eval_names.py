"""Whatever tasks, optimizers, baselines and origins are called, a report stays one, and shows the names."""

import dataclasses
import html
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval import Results, Row, TaskResult, print_results, write_report
from eval.file_names import file_stem
from eval.report.html import to_html
from eval.report.markdown import render, title
from eval.report.plots import Picture
from eval.report.quoting import as_code, as_sentence, in_markdown, on_terminal
from meta_train import in_figure

ROOT = Path(__file__).parents[1]
FORGED = "a\n\n![x](/etc/passwd)\n\n# Forged\n\n![y](https://example.org/y.png)\n\n| a | b |\n| --- | --- |"
HOSTILE = (
    FORGED,
    "../../etc/passwd",
    "a/b c",
    "größe",
    "a | b",
    "a || b | ",
    "$\\frac{1}$ and $x",
    "price $5",
    "..hidden",
    ".",
    "..",
    "-",
    "- item",
    "1. item",
    "# heading",
    "===",
    "[link](https://example.org)",
    "[link]: https://example.org",
    "[x] done",
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "<https://example.org>",
    "https://example.org www.example.org",
    "&lt;b&gt; &#x3c;",
    "**bold** _it_ `code` ``` ~~gone~~",
    "trailing \\",
    "[red]markup[/red]",
    "\x1b[31mred\x1b]0;title\x07",
    "\u202edlrow",
    "\udc80",
    "_private",
    "__init__",
    "名前",
    "x" * 5000,
    "digits.png",
    "digits.PNG",
)

DRAWN = [name for name in HOSTILE if re.search(r"\$|^_|[^ -~]|^[./]|x{9}|/b|png", name, re.IGNORECASE)]
"""Those that a figure or a file may stumble over."""


def row(optimizer, label, kind):
    """Make a row of a single seed, whose numbers don't matter."""
    return Row(
        optimizer=optimizer,
        label=label,
        kind=kind,
        rate=None if kind == "learned" else 0.01,
        sweep=((0.01, 1.0),) if kind == "tuned" else (),
        mean_loss=(1.0,),
        final_loss=(1.0,),
        held_out_loss=(1.0,),
        steps_to_target=(1.0,),
        speed_up=(1.0,),
        diverged=(kind == "learned",),
        train_curves=((1.0, 0.5),),
        held_out_curves=((1.0,),),
    )


def named(name, other="valley"):
    """Make a benchmark in which everything that can have a name has this one."""
    baselines = (row("adam", name, "tuned"), row("sgd", f"tuned {name}", "tuned"))
    own = row(f"mine {name}", name, "learned")
    environment = {"command": f"lopt-eval {name}", "devices": [name], name: f"of {name}"}
    return Results(
        suite=name,
        tests=name,
        subjects=(f"mine {name}",),
        reference="adam",
        seeds=1,
        seed=0,
        held_out="test",
        tasks=tuple(
            TaskResult(task, 2, (1.0, 2.0), (2,), (own, *baselines), part=task) for task in (name, other)
        ),
        origins={f"mine {name}": {"tasks": [name], "devices": [name], "horizon": [1, 2], name: name}},
        environment=environment | {"versions": {name: name}},
    )


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.links, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.sources += [value] if name == "src" else []
            self.links += [value] if name == "href" else []

    def handle_data(self, data):
        self.text.append(data)


def control_characters(text):
    """List what a terminal may obey."""
    return [c for c in text if c != "\n" and unicodedata.category(c).startswith("C")]


def tables(markdown):
    """Return how many cells each line of each table has."""
    blocks = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    return [[len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines] for lines in blocks]


def page_of(results):
    """Return the report's text and page, with a picture of which the first byte alone is there."""
    pictures = [
        *(Picture(f"{task.stem}.png", f"{task.name}, 2 inner steps") for task in results.tasks),
        Picture("profiles.png", "Performance profiles", overall=True),
    ]
    text = render(results, pictures)
    return text, to_html(text, title(results), {picture.file: b"P" for picture in pictures})


ORDINARY = Page(page_of(named("bowl"))[1])


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_changes_nothing_but_itself(name):
    text, source = page_of(named(name))
    assert not control_characters(text)
    assert not control_characters(source)
    assert all(len(set(cells)) == 1 for cells in tables(text))
    page = Page(source)
    assert page.tags == ORDINARY.tags
    assert page.sources == ["data:image/png;base64,UA=="] * 3
    assert not page.links
    shown = "".join(page.text).replace("\xa0", " ")
    if len(name) < 100 and name.isprintable():
        assert shown.count(name.strip()) > 10


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_the_terminal_obeys_no_name(name, capsys):
    print_results(named(name))
    shown = capsys.readouterr().out
    assert not control_characters(shown)
    assert "# Forged" not in [line.strip() for line in shown.splitlines()]


def test_all_names_at_once_are_drawn_and_written(tmp_path):
    baselines = row("adam", "tuned $\\frac$", "tuned"), row("sgd", "名前", "untuned")
    rows = (row("_mine", "_$x$", "learned"), *baselines)
    bare = [named(name).tasks[0] for name in ("", " ", *DRAWN)]
    tasks = tuple(dataclasses.replace(task, part="", rows=rows) for task in bare)
    results = dataclasses.replace(named("bowl"), subjects=("_mine",), tasks=tasks, origins={})
    report = write_report(results, tmp_path / "out")
    assert Results.from_json(report.json.read_text()) == results
    assert {path.parent for path in report.files} == {tmp_path / "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in report.files}
    assert len({path.name.lower() for path in report.plots}) == len(tasks) + 3
    page = Page(report.html.read_text())
    assert len(page.sources) == len(set(page.sources)) == len(tasks) + 3
    assert "root:" not in report.html.read_text()


def test_files_of_different_names_are_different_where_case_is_ignored_too():
    stems = [file_stem(name) for name in (*HOSTILE, "Digits", "digits", "DIGITS", "a b", "a-b", "x" * 5001)]
    assert len({stem.lower() for stem in stems}) == len(stems)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", stem) for stem in stems)
    assert file_stem("digits-mlp-family-200-declared-0.5x") == "digits-mlp-family-200-declared-0.5x"


def test_a_name_of_two_tasks_that_differ_in_a_slash_gives_two_pictures(tmp_path):
    report = write_report(named("a/b", other="a b"), tmp_path)
    assert len({path.name for path in report.plots}) == 5
    text = report.markdown.read_text()
    assert "![a/b, 2 inner steps](a-b-2-" in text
    assert "![a b, 2 inner steps](a-b-2-" in text


@pytest.mark.parametrize(
    "origin",
    [
        {
            "tasks": 3,
            "horizon": "long",
            "meta_steps": "many",
            "inner_steps": [1],
            "seconds": "x",
            "devices": 1,
        },
        {
            "tasks": [None, {}],
            "horizon": [None, "a"],
            "meta_steps": -1,
            "seconds": float("nan"),
            "devices": {},
        },
        {"horizon": {}, "meta_steps": True, "inner_steps": 1e400, "seconds": "x"},
        {"meta_steps": 10**400, "seconds": 10**400, "horizon": [10**400]},
        {"changed_after": ["a", 1]},
        [1, 2],
        "text",
        None,
    ],
)
def test_an_origin_that_makes_no_sense_is_not_known(origin, tmp_path):
    results = dataclasses.replace(named("bowl"), origins={"mine bowl": origin})
    text = write_report(results, tmp_path).markdown.read_text()
    assert "`mine bowl` was meta-trained on unknown tasks; meta-steps: unknown, inner steps: unknown" in text
    assert "horizon: unknown, wall time: unknown, devices: unknown." in text


def test_only_pictures_that_were_drawn_are_in_the_page(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    text = write_report(named("![x](secret.png)"), tmp_path).html.read_text()
    assert "c2VjcmV0" not in text
    assert html.escape("![x](secret.png)") in text


@pytest.mark.parametrize(
    ("write", "text", "written"),
    [
        (in_markdown, "a|b", "a\\|b"),
        (in_markdown, "fashion_mnist 1.5 [1, 2] (x)", "fashion_mnist 1.5 [1, 2] (x)"),
        (in_markdown, "_a_ [b](c)", "\\_a\\_ [b\\](c)"),
        (as_sentence, "1. a", "1\\. a"),
        (as_sentence, "1.50x", "1.50x"),
        (as_sentence, "- a", "\\- a"),
        (as_sentence, "10 tasks", "10 tasks"),
        (as_code, "a`b``c", "```a`b``c```"),
        (as_code, "`a", "`` `a ``"),
        (in_figure, "$a$", "\\$a\\$"),
        (in_figure, "_a", " _a"),
        (on_terminal, "a\x1b[0m\nb", "a\\x1b[0m\nb"),
    ],
)
def test_what_means_something_is_escaped_and_the_rest_is_left(write, text, written):
    assert write(text) == written


@pytest.mark.parametrize(
    "call",
    [
        "from lopt.platform import data; sys.argv[1:] = ['list']; sys.exit(data())",
        "from lopt.platform import data; sys.argv[1:] = ['--help']; sys.exit(data())",
        "from lopt.platform import train; sys.argv[1:] = ['--list']; sys.exit(train())",
        "from lopt.platform import train; sys.argv[1:] = ['small', '--help']; sys.exit(train())",
        "from lopt.platform import evaluate; sys.argv[1:] = ['--help']; sys.exit(evaluate())",
        "from lopt.platform import export; sys.argv[1:] = ['--help']; sys.exit(export())",
        (
            "import lopt.platform; from eval import print_results; from tests.test_eval_names import named;"
            "sys.modules['verb'] = sys; sys.main = lambda: print_results(named('bowl')) or 0;"
            "sys.exit(lopt.platform._start('verb', 'verb'))"
        ),
    ],
    ids=["data list", "data --help", "train --list", "train --help", "eval --help", "export --help", "eval"],
)
def test_a_closed_pipe_ends_a_command_without_a_word(call):
    read, write = os.pipe()
    os.close(read)
    try:
        line = [sys.executable, "-c", f"import sys; {call}"]
        done = subprocess.run(line, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.stderr, done.returncode) == ("", 141)
