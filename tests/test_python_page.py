"""What docs/python.md shows is run, block by block in one program, and does what the page says."""

import contextlib
import io
import re
from pathlib import Path

import jax
import pytest

import eval
import lopt
import meta_train
import tasks

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
BLOCKS = {
    title: re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for title, text in SECTIONS.items()
}
QUICKLY = ("particles=8, ", "particles=8, devices=1, reference_rates=3, ")
"""What is replaced in the examples, so that they take less time."""
LONGEST = 26  # lines: fifteen, and those that say what the example is about
PACKAGES = {"lopt": lopt, "meta_train": meta_train, "tasks": tasks, "eval": eval}

pytestmark = pytest.mark.usefixtures("default_promotion")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each section prints; later ones use the names of earlier ones."""
    said, names = {}, {"__name__": "example"}
    with (
        contextlib.chdir(tmp_path_factory.mktemp("python")),
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        for title, blocks in BLOCKS.items():
            with contextlib.redirect_stdout(io.StringIO()) as out:
                for block in blocks:
                    exec(compile(block.replace(*QUICKLY), title, "exec"), names)
            said[title] = out.getvalue()
    return said


def test_the_callback_sees_every_validation(printed):
    lines = printed["Train, and watch"].splitlines()
    assert [line.partition(":")[0] for line in lines] == ["meta-step 0", "meta-step 20", "meta-step 40"]


def test_a_loop_of_ones_own_ends_when_it_wants_to(printed):
    best, done = map(int, re.search(r"at meta-step (\d+) of (\d+)", printed["A loop of your own"]).groups())
    assert done == 400 or 60 < done - best <= 90


def test_a_sweep_has_a_winner(printed):
    assert float(printed["A sweep"]) in (0.01, 0.1)


def test_the_benchmark_is_printed_and_compared(printed):
    assert "quadratic" in printed["Evaluate"]
    assert re.search(r"mine: [01] of 1 tasks won against tuned Adam", printed["Evaluate"])


def test_pes_is_unbiased_and_truncated_es_is_not(printed):
    found = {
        name: float(value) for name, value in re.findall(r"(\w+): (-?[\d.]+)", printed["One meta-gradient"])
    }
    assert abs(found["PES"] - found["exact"]) < 0.05 * abs(found["exact"])
    assert abs(found["TruncatedES"] - found["exact"]) > 0.2 * abs(found["exact"])


def test_the_examples_can_be_made_quicker():
    assert PAGE.count(QUICKLY[0]) == 1


def test_examples_are_short_and_every_section_but_the_last_has_one():
    assert [title for title, blocks in BLOCKS.items() if not blocks] == ["The names"]
    assert max(block.count("\n") for blocks in BLOCKS.values() for block in blocks) <= LONGEST


def test_the_names_exist():
    rows = re.findall(r"^\| (?!to |-)(.*) \|$", SECTIONS["The names"], re.MULTILINE)
    for row in rows:
        _, own, training, others = row.split("|")
        names = [f"lopt.{name}" for name in re.findall(r"`(\w+)`", own)]
        names += [f"meta_train.{name}" for name in re.findall(r"`(\w+)`", training)]
        for name in names + re.findall(r"`(\w+\.\w+)`", others):
            package, _, attribute = name.partition(".")
            assert attribute in PACKAGES[package].__all__, name
