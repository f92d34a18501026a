"""A run on several tasks resumes to the bit, keeps what is best on the tasks it is judged by, and says so."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import lopt
from meta_train import RunConfig, RunDirectory, Trainer, build, export_run, load_run_optimizer
from meta_train.runs.validation import Judge

from .small_runs import SMALL_RUN

CONFIG = dataclasses.replace(
    SMALL_RUN,
    task=("quadratic", "noisy-quadratic"),
    task_weights=(3.0, 1.0),
    task_particles=(4, 2),
    validate_on=("noisy-quadratic", "quadratic:40"),
    checkpoint_every=4,
    reference_rates=2,
    hysteresis_particles=0,
    learning_rate=0.3,
)


def drive(path, stop_at=None, config=CONFIG):
    """Run, or go on with a run, up to a meta-step; return its end and its records."""
    directory = RunDirectory(path)
    directory.open(config, "lopt-train")
    trainer = Trainer(config, directory)
    records = list(trainer.records(lambda: trainer.meta_step == stop_at))
    trainer.close()
    state = trainer._state.replace(key=None)
    return jax.device_get((state, trainer._particles)), records


def values_of(records):
    """The numbers but for how fast they were made."""
    return [{k: v for k, v in record.values.items() if not k.startswith("time/")} for record in records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its directory, its end, and its records."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, *drive(path)


def test_stopped_and_resumed_is_uninterrupted_to_the_bit(whole, tmp_path):
    _, end, records = whole
    stopped, begun = drive(tmp_path / "run", stop_at=6)
    assert not np.array_equal(stopped[0].theta.log_learning_rate, end[0].theta.log_learning_rate)
    assert stopped[0].scales["quadratic"].seen == 6
    resumed, rest = drive(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, resumed, end)
    np.testing.assert_equal(values_of(begun + rest), values_of(records))


def test_inner_steps_are_those_of_all_tasks(whole):
    records = whole[2]
    assert records[-1].values["inner_steps"] == 12 * (4 + 2) * 2 * 5  # meta-steps, particles, members, window


def test_the_validation_is_the_mean_over_what_is_judged(whole):
    for record in whole[2]:
        if (mean := record.values.get("meta/valid_objective")) is None:
            continue
        for name, of_all in (("valid_objective", mean), ("tuned_adam", record.values["meta/tuned_adam"])):
            each = [record.values[f"tasks/{label}/{name}"] for label in ("noisy-quadratic", "quadratic-40")]
            assert of_all == pytest.approx(np.mean(each), rel=1e-6)


def test_the_best_checkpoint_is_the_best_on_what_theta_is_judged_on(whole):
    """Here also at twice the horizon that is trained on."""
    path, _, records = whole
    scores = {
        r.meta_step: r.values["meta/valid_objective"] for r in records if "meta/valid_objective" in r.values
    }
    best = load_run_optimizer(path, best=True)
    parts = build(CONFIG)
    assert [(one.label, one.horizon) for one in parts.judged] == [
        ("noisy-quadratic", 20),
        ("quadratic-40", 40),
    ]
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    judged = [
        Judge(parts, one, CONFIG.validation_episodes)(jax.device_put(best, place)) for one in parts.judged
    ]
    assert np.mean([one.objective for one in judged]) == pytest.approx(min(scores.values()), rel=1e-5)
    assert len(set(scores.values())) == len(scores)


def test_the_tuned_adams_are_kept(whole):
    path, _, records = whole
    kept = json.loads(RunDirectory(path).reference.read_text())["adams"]
    assert kept.keys() == {"noisy-quadratic", "quadratic-40"}
    assert len(kept["quadratic-40"]["curve"]) == 8
    assert kept["noisy-quadratic"]["objective"] == records[0].values["tasks/noisy-quadratic/tuned_adam"]


def test_what_is_published_says_what_it_was_trained_on(whole, tmp_path):
    origin = lopt.read_config(export_run(whole[0], tmp_path / "published"))["provenance"]
    assert (origin["tasks"], origin["task_weights"]) == (["quadratic", "noisy-quadratic"], [0.75, 0.25])
    assert origin["inner_steps"] == 12 * (4 + 2) * 2 * 5


# --- the configuration -----------------------------------------------------------------------------------


def test_by_default_tasks_weigh_the_same_and_theta_is_judged_on_them():
    config = RunConfig(task=("a", "b"), task_weights=(1, 3))
    assert (config.weights, config.populations) == ((0.25, 0.75), (16, 16))
    assert RunConfig(task=("a", "b", "c", "d")).weights == (0.25,) * 4
    assert [(one.label, *one) for one in config.validations] == [
        ("a", "a", 0.25, None),
        ("b", "b", 0.75, None),
    ]


def test_a_task_may_be_judged_at_several_horizons():
    config = RunConfig(validate_on=("a", "a:400", "b:60"))
    assert [(one.label, *one) for one in config.validations] == [
        ("a", "a", 1 / 3, None),
        ("a-400", "a", 1 / 3, 400),
        ("b-60", "b", 1 / 3, 60),
    ]


def test_a_mixture_goes_through_json():
    assert RunConfig.from_json(CONFIG.to_json()) == CONFIG


def test_the_file_of_an_older_run_names_its_one_task():
    values = json.loads(SMALL_RUN.to_json())
    for name in ("task_weights", "task_particles", "validate_on"):
        del values[name]
    assert RunConfig.from_json(json.dumps(values | {"task": "quadratic"})) == SMALL_RUN
