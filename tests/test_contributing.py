"""The examples of CONTRIBUTING.md pass the tests that lopt's own tasks, rules and estimators must pass."""

import re
import sys
from pathlib import Path

import pytest

from .test_extending import run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = {
    title: re.search(r"^( *)```python\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    for title, text in (part.split("\n", 1) for part in PAGE.split("\n### ")[1:])
    if title.startswith("Add ")
}
PREAMBLES = {
    "Add an architecture": (
        "import jax\nimport jax.numpy as jnp\nfrom lopt import LearnedOptimizer, Tensors, register\n"
    ),
    "Add a task": "import jax\nimport jax.numpy as jnp\nfrom tasks import Task, register\n",
    "Add an estimator": "",
}
CONTRACTS = {
    "Add an architecture": ("test_optimizer_contract.py", "sign"),
    "Add a task": ("test_task_contract.py", "valley"),
    "Add an estimator": ("test_estimator_contract.py", "my-tbptt"),
}


def example(title):
    """The example as a file of its own: what it imports relatively comes from the package."""
    indent, text = BLOCKS[title].groups()
    text = re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
    text = text.replace("from ..", "from meta_train.").replace("from .", "from meta_train.estimators.")
    return PREAMBLES[title] + text


def test_there_is_an_example_of_each_kind():
    assert BLOCKS.keys() == CONTRACTS.keys()
    for title in BLOCKS:
        compile(example(title), title, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("title", CONTRACTS)
def test_the_example_passes_the_contract_tests(title, tmp_path):
    (tmp_path / "example.py").write_text(example(title))
    tests, name = CONTRACTS[title]
    options = [
        "-p",
        "example",
        "-p",
        "no:cacheprovider",
        "-q",
        "--rootdir",
        str(ROOT),
        str(ROOT / "tests" / tests),
    ]
    said = run([sys.executable, "-m", "pytest", *options, "-k", name], tmp_path)
    assert re.search(r"[1-9]\d* passed", said)
