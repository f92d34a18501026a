"""What docs/tutorial.md shows is run: its file, its commands, its Python; and the rule starts as Adam."""

import re
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt

from .test_extending import BRIEFLY, CONTRACT, run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
(FILE,) = re.findall(r"^`confident\.py`\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^lopt-\w+ .*$", PAGE, re.MULTILINE)
(USE,) = re.findall(r"^```python\n(import jax\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDED = """
import shlex, sys
from eval.cli import main as evaluate
from meta_train.commands.export import main as export
from meta_train.commands.train import main as train
for line in sys.argv[1:]:
    command, *arguments = shlex.split(line)
    assert {"lopt-train": train, "lopt-eval": evaluate, "lopt-export": export}[command](arguments) == 0, line
"""

pytestmark = pytest.mark.usefixtures("default_promotion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tutorial")
    (path / "confident.py").write_text(FILE)
    return path


def test_the_rule_has_at_most_60_lines():
    assert len(FILE.splitlines()) <= 60


def test_it_is_trained_benchmarked_exported_and_used(folder):
    """On quadratics, which compile in a moment, and in one process, which imports everything once."""
    assert [line.split()[0] for line in COMMANDS] == ["lopt-train", "lopt-eval", "lopt-export"]
    quickly = {"--steps 400": "--task quadratic", "--suite digits": "--suite quadratics"}
    lines = [f"{line} {BRIEFLY[line.split()[0]]}" for line in COMMANDS]
    lines = [re.sub("|".join(quickly), lambda found: quickly[found.group()], line) for line in lines]
    ends = "\nassert float(jnp.abs(params['kernel']).max()) < 1\n"
    run([sys.executable, "-c", COMMANDED + USE + ends, *lines], folder)


def test_it_passes_the_contract_tests(folder):
    ((module, tests, name),) = re.findall(CONTRACT, PAGE)
    options = ["-p", module, "-p", "no:cacheprovider", "-q", "--rootdir", str(ROOT), str(ROOT / tests)]
    said = run([sys.executable, "-m", "pytest", *options, "-k", name], folder)
    assert re.search(r"\d+ passed", said)
    assert "failed" not in said


def test_it_starts_as_adam(folder, monkeypatch):
    """Up to where it adds epsilon, and with meta-training's network still 0."""
    monkeypatch.setattr("lopt.registry.ARCHITECTURES", dict(lopt.ARCHITECTURES))
    rule = runpy.run_path(str(folder / "confident.py"))["Confident"].create(jax.random.key(0))
    tx, adam = lopt.as_optax(rule), optax.adam(0.01)
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)}
    states = [tx.init(params), adam.init(params)]
    for scale in (1.0, -0.5, 2.0):
        grads = {"w": scale * params["w"]}
        (mine, states[0]), (theirs, states[1]) = (
            one.update(grads, state, params) for one, state in zip((tx, adam), states, strict=True)
        )
        np.testing.assert_allclose(mine["w"], theirs["w"], rtol=1e-5)
