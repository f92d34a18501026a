"""Races of optimizers: the same runs as the benchmark's, the best rate chosen, and figures from a file."""

import json

import jax
import numpy as np
import pytest

import tasks
from eval import BASELINES, run_keys, stack, training_curves
from eval.reproductions import redraw, reproduce, transformer
from eval.reproductions.races import SweptRuns, race
from lopt import UsageError

HORIZON = 6


def test_a_race_is_the_runs_of_the_benchmark():
    task = tasks.build("quadratic")
    keys = run_keys(0, 2, "race")
    rules = [BASELINES["adamw-cosine"].rule(rate) for rate in (0.01, 0.1)]
    sweeps = {"adamw-cosine": stack(rules)}
    (found,) = race(sweeps, task, HORIZON, keys, stretch=3, batches=2, rounds=1).values()
    assert found.seconds_per_step > 0
    for number, rule in enumerate(rules):
        expected = training_curves(rule, task, HORIZON, keys, points=1, batches=2)
        np.testing.assert_allclose(found.train[number], expected.train, rtol=1e-5)
        np.testing.assert_allclose(found.held_out[number], expected.held_out[:, 0], rtol=1e-5)


def made_up(sweeps, task, horizon, keys, *, stretch, tell):
    """Return runs of Adam that are best at its second rate, and runs of others that diverge on a seed."""
    seeds, found = len(keys), {}
    for name, rules in sweeps.items():
        rates = jax.tree.leaves(rules)[0].shape[0]
        train = np.linspace(4, 2, horizon) + np.zeros((rates, seeds, horizon))
        held_out = np.arange(rates, 0, -1.0)[:, None] + np.zeros((rates, seeds))
        if name != "adam":
            train[0, 0, -1] = np.inf
        found[name] = SweptRuns(train, held_out, 1e-3)
    return found


@pytest.fixture
def outcome(monkeypatch, tmp_path):
    monkeypatch.setattr(transformer, "race", made_up)
    names = ("@learnable-sgd", "tiny-lstm", "adam-1e-3")
    return reproduce("transformer", True, tmp_path / "first", lambda line: None, optimizers=names)


def test_the_best_rate_counts_and_a_run_that_diverged_is_told(outcome):
    written = outcome.data["optimizers"]
    assert list(written) == ["adam", "@learnable-sgd", "tiny-lstm", "adam-1e-3"]
    assert [one["label"] for one in written.values()] == [
        *("tuned Adam", "learnable-sgd, untrained", "tiny-lstm", "Adam 1e-3")
    ]
    assert written["adam"]["rate"] == BASELINES["adam"].rates[10]
    assert written["adam"]["rates"] == [BASELINES["adam"].rates[at] for at in (3, 10)]
    assert [one["rate"] for one in list(written.values())[1:]] == [None, None, 1e-3]
    np.testing.assert_allclose(written["adam"]["mean_train"], [3.0])
    assert [check.measured for check in outcome.checks] == [0, 1, 1, 1]


def test_rates_are_seven_of_the_grid():
    found = transformer.entrants(transformer.FULL.baselines, transformer.FULL.every)
    for name, one in found.items():
        assert one.rates == BASELINES[name].rates[1:14:2]
        assert len(one.rules) == 7


def test_the_figure_is_drawn_again_from_the_file(outcome, tmp_path):
    first = tmp_path / "first"
    redraw("transformer", first / "outcome.json", tmp_path / "second")
    drawn = (tmp_path / "second" / "transformer.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert drawn == (first / "transformer.png").read_bytes()
    command = json.loads((first / "outcome.json").read_text())["provenance"]["command"]
    assert command.endswith("transformer --quick --optimizers @learnable-sgd tiny-lstm adam-1e-3")


def test_files_and_options_of_other_experiments_are_refused(tmp_path):
    file = tmp_path / "outcome.json"
    with pytest.raises(UsageError, match="is not an outcome.json"):
        redraw("transformer", file, tmp_path)
    file.write_text('{"experiment": "chaos"}')
    with pytest.raises(UsageError, match="an outcome of chaos, not of transformer"):
        redraw("transformer", file, tmp_path)
    with pytest.raises(UsageError, match="figures of short-horizon can't be drawn from a file"):
        redraw("short-horizon", file, tmp_path)
    with pytest.raises(UsageError, match="short-horizon has no option 'optimizers'"):
        reproduce("short-horizon", True, tmp_path, optimizers=("small",))


@pytest.mark.slow
def test_a_small_version_trains(tmp_path):
    outcome = reproduce("transformer", True, tmp_path, lambda line: None)
    assert outcome.holds
    for one in outcome.data["optimizers"].values():
        assert np.mean(one["held_out"]) < 0.9 * outcome.data["first_loss"]
