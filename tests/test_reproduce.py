"""Experiments check what they promise, and write down what they gave."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eval import reproductions
from eval.reproductions import Check, Outcome, make_figure
from eval.reproductions.training import meta_train
from lopt import UsageError
from meta_train import BPTT, NRES, ConstantHorizon, SumLoss, systems

REPOSITORY = Path(__file__).parents[1]


def test_a_check_holds_between_its_bounds_and_never_for_nan():
    assert Check("x", 1.0, 1.0, 2.0).holds
    assert Check("x", 2.0, 1.0, 2.0).holds
    assert not Check("x", 2.1, 1.0, 2.0).holds
    assert not Check("x", 0.9, low=1.0).holds
    assert not Check("x", math.inf, high=5.0).holds
    assert not Check("x", math.nan).holds


def test_an_outcome_holds_when_all_checks_do():
    kept, broken = Check("kept", 1.0), Check("broken", 1.0, high=0.0)
    assert Outcome({}, (), (), [kept]).holds
    assert not Outcome({}, (), (), [kept, broken]).holds


@pytest.fixture
def tiny():
    @reproductions.experiment("tiny")
    def run(quick, tell):
        """Draw a line."""
        tell("drawing")
        figure = make_figure(2, 2)
        figure.subplots().plot([0, 1])
        data = {"numbers": np.arange(3), "none": math.nan, "deep": [{"x": jnp.ones(())}]}
        return Outcome(
            settings={"quick": quick},
            columns=("a", "b"),
            rows=[(1, "x")],
            checks=[Check("broken", math.inf, high=1.0)],
            figures={"line": figure},
            data=data,
        )

    yield run
    del reproductions.EXPERIMENTS["tiny"]


def test_an_experiment_writes_its_outcome_and_figures(tiny, tmp_path):
    lines = []
    outcome = reproductions.reproduce("tiny", True, tmp_path / "a" / "b", lines.append)
    assert lines == ["drawing"]
    assert not outcome.holds
    written = json.loads((tmp_path / "a" / "b" / "outcome.json").read_text(), parse_constant=pytest.fail)
    assert written["experiment"] == "tiny"
    assert written["settings"] == {"quick": True}
    assert (written["columns"], written["rows"]) == (["a", "b"], [[1, "x"]])
    (check,) = written["checks"]
    assert (check["promise"], check["measured"], check["holds"]) == ("broken", None, False)
    assert written["data"] == {"numbers": [0, 1, 2], "none": None, "deep": [{"x": 1.0}]}
    assert written["seconds"] >= 0
    assert written["provenance"]["command"] == "scripts/reproduce.py tiny --quick"
    assert (tmp_path / "a" / "b" / "line.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_is_taken_once(tiny):
    with pytest.raises(ValueError, match="'tiny' is registered already"):
        reproductions.experiment("tiny")(lambda quick, tell: Outcome({}, (), ()))


def test_an_unknown_name_is_told_its_neighbours(tmp_path):
    with pytest.raises(UsageError, match="unknown experiment 'caos'; did you mean chaos"):
        reproductions.reproduce("caos", True, tmp_path)
    assert not list(tmp_path.iterdir())


def test_meta_training_evaluates_on_the_way():
    horizon, theta = ConstantHorizon(6), jnp.asarray([0.5, -0.5, 0.2, 0.0])
    system = systems.Linear.create(jax.random.key(0), 6)
    shared = {"particles": 4, "meta_steps": 7, "every": 3, "evaluate": lambda t: jnp.sum(t**2), "seeds": 2}
    exact = BPTT(horizon, 6, SumLoss())
    curve = meta_train(system, exact, optax.sgd(0.1), theta, **shared)
    assert list(curve.meta_steps) == [0, 3, 6]
    assert list(curve.inner_steps) == [0, 72, 144]
    assert curve.thetas.shape == (2, 3, 4)
    np.testing.assert_allclose(curve.thetas[:, 0], np.stack([theta, theta]))
    np.testing.assert_allclose(curve.values, np.sum(curve.thetas**2, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(curve.at(5), curve.values[:, 1])
    expected = theta
    for _ in range(6):
        expected = expected - 0.1 * system.gradients(expected, 6)[0]
    np.testing.assert_allclose(curve.thetas[:, -1], np.stack([expected, expected]), rtol=2e-3, atol=1e-4)
    noisy = meta_train(system, NRES(horizon, 3, SumLoss(), sigma=0.1), optax.sgd(0.01), theta, **shared)
    assert noisy.inner_steps[-1] == 6 * 4 * 2 * 3
    assert np.abs(noisy.thetas[0, -1] - noisy.thetas[1, -1]).min() > 1e-6  # Seeds differ.


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, "scripts/reproduce.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_command_lists_the_experiments(arguments):
    done = run_script(*arguments)
    assert done.returncode == 0
    assert all(name in done.stdout for name in reproductions.CATALOGUE)


def test_the_command_refuses_an_unknown_name_in_one_sentence():
    done = run_script("caos")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("unknown experiment 'caos'; did you mean chaos")


def test_the_catalogue_names_modules():
    for name in reproductions.CATALOGUE:
        assert (REPOSITORY / "eval" / "reproductions" / f"{name.replace('-', '_')}.py").exists()
