"""`scripts/benchmark.py tune` counts what is run."""

import importlib
from pathlib import Path

import jax
import pytest

import tasks


def test_every_way_of_training_is_measured(monkeypatch, default_promotion):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    speed = importlib.import_module("tuning_speed")
    monkeypatch.setattr(speed, "HORIZON", 20)
    monkeypatch.setattr("tasks.registry.TASKS", dict(tasks.TASKS))
    found = speed.measure(jax.device_count(), 4, 0.0)
    assert found["members"] == 2 * jax.device_count()
    assert list(found["inner_steps_per_s"]) == list(speed.NAMES)
    assert all(rate > 0 for rate in found["inner_steps_per_s"].values())
    assert all(len(rounds) == 1 for rounds in found["rounds"].values())


def test_steps_are_counted_over_all_calls(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    speed = importlib.import_module("tuning_speed")
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed._rate(lambda: 6, 2.5) == pytest.approx(6.0)
