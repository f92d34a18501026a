"""`scripts/against_optuna.py`: both sides start alike, stay within the bounds, and are judged alike."""

import importlib
import json
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
STEPS = 18  # of a training, in nine units


@pytest.fixture(scope="module")
def scripts():
    """Import the scripts as Python does when one is started; make trainings short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trials = importlib.import_module("optuna_trials")
        patch.setattr(trials, "HORIZON", STEPS)
        patch.setattr(trials, "LAST", 2)
        patch.setattr(trials, "WINDOW", 2)
        patch.setattr(trials, "PARTICLES", 8)  # one on each device
        patch.setattr(trials, "JUDGED", 2)
        trials.optuna.logging.set_verbosity(trials.optuna.logging.ERROR)
        yield trials


@pytest.fixture(scope="module")
def case(scripts):
    problems = importlib.import_module("optuna_problems").PROBLEMS
    return scripts.Case(problems["rate and weight decay"])


@pytest.fixture(autouse=True)
def as_users_have_it(default_promotion):
    """Optuna warns of what is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("method", ["TPE", "Hyperband", "CMA-ES"])
def test_a_seed_says_all_and_choices_stay_within_bounds(scripts, case, method):
    first, again = (scripts.METHODS[method](case, 3, 12 * STEPS, 0.0) for _ in range(2))
    assert [one.steps for one in first] == [one.steps for one in again]
    for a, b in zip(first, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a.theta, b.theta)
    assert first[0].steps == 0
    jax.tree.map(np.testing.assert_array_equal, first[0].theta, case.middle)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), first[1].theta, case.middle)
    for one in first:
        values = case.problem.describe(one.theta)
        assert 1e-4 <= values["learning_rate"] <= 1
        assert 1e-5 <= values["weight_decay"] <= 10


def test_hyperband_stops_trials_early(scripts, case, monkeypatch):
    states = []
    tell = scripts.optuna.Study.tell

    def listen(study, trial, value=None, state=None, **others):
        states.append(state)
        return tell(study, trial, value, state=state, **others)

    monkeypatch.setattr(scripts.optuna.Study, "tell", listen)
    scripts.METHODS["Hyperband"](case, 0, 20 * STEPS, 0.0)
    pruned = [state for state in states if state is not None]
    assert 0 < len(pruned) < len(states)
    assert len(states) > 22  # more trials than whole trainings


def test_pes_starts_in_the_middle_and_moves(scripts, case):
    choices = scripts.follow(case, 0, 2 * scripts.UNITS * scripts.PARTICLES * 2 * 2, 0.0)
    steps = scripts.UNITS * scripts.PARTICLES * 2 * 2
    assert [one.steps for one in choices] == [0, steps, 2 * steps]
    jax.tree.map(np.testing.assert_array_equal, choices[0].theta, case.middle)
    assert all(abs(choices[2].theta[name] - case.middle[name]) > 1e-3 for name in case.middle)


def test_the_judge_gives_the_same_for_the_same_theta(scripts, case):
    other = jax.tree.map(lambda x: x - 3, case.middle)
    losses = case.judge([case.middle, other, case.middle])
    assert losses[0] == losses[2] != losses[1]


def test_the_table_marks_the_least_and_draws(scripts, tmp_path):
    figure = importlib.import_module("optuna_figure")
    marks = {"steps": [1.0, 2.0], "seconds": [0.5, 1.0]}
    results = [
        {
            "problem": "p",
            "method": method,
            "seed": seed,
            "by_steps": [1.0, loss],
            "by_seconds": [1.0, 3.0 - loss],
        }
        | marks
        for method, losses in {"PES": (0.5, 0.7), "TPE": (0.8, 1.0)}.items()
        for seed, loss in enumerate(losses)
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    command = importlib.import_module("against_optuna")
    assert command.main(["--draw", str(tmp_path / "results.json"), "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    half = 12.71 * np.std([0.5, 0.7], ddof=1) / np.sqrt(2)
    assert lines[2] == f"| PES | **0.600 ± {half:.3f}** |"
    assert lines[3].startswith("| TPE | 0.900 ±")
    assert lines[7].startswith("| PES | 2.400 ±")
    assert lines[8].startswith("| TPE | **2.100 ±")
    assert (tmp_path / "against-optuna.png").read_bytes().startswith(b"\x89PNG")
    mean, half = figure.interval(np.asarray([[1.0], [3.0]]))
    assert (float(mean[0]), float(half[0])) == (2.0, pytest.approx(12.71))
