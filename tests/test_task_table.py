"""The table of tasks in docs/tasks.md is what was measured, of tasks that exist; so is a mixture's start."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import tasks

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a script as Python does when one is started."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


@pytest.fixture(scope="module")
def found():
    return json.loads((ROOT / "docs" / "tasks.json").read_text())


def test_the_page_shows_what_was_measured(load, found):
    page = (ROOT / "docs" / "tasks.md").read_text()
    assert load("describe_tasks").table(found) in page
    assert len(found) > 40
    assert set(found) <= set(tasks.TASKS)


def test_tuned_adam_is_below_the_start_and_the_best_of_its_rates(load, found):
    script = load("describe_tasks")
    for name, one in found.items():
        assert one["loss"] < one["first_loss"], name
        assert one["rate"] == script.RATES[one["best"]], name
        assert np.shape(one["curves"]) == (len(script.RATES), script.POINTS), name


def test_a_task_is_measured(load):
    one = load("describe_tasks").measure("quadratic", tasks.build("quadratic"))
    assert one["parameters"] == 10
    assert one["data_bytes"] == 0
    assert 0 < one["loss"] < one["first_loss"] / 10


def test_the_start_of_a_mixture_is_timed(load, monkeypatch):
    script = load("mixture_start")
    monkeypatch.setattr(script, "TASKS", ("quadratic", "noisy-quadratic"))
    seconds = script.time_start("learnable-adam")
    assert seconds["first_meta_step_s"] > seconds["second_meta_step_s"] > 0
    assert seconds["particles_s"] > 0
    assert seconds["theta_norm"] > 0
