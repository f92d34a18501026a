"""A run on several tasks resumes to the bit, keeps what is best on the tasks it is judged by, and says so."""

import json

import jax
import numpy as np
import pytest

import lopt
from meta_train import (
    LearnedOptimizerTraining,
    RunDirectory,
    Trainer,
    build,
    export_run,
    load_run_optimizer,
    run_from_json,
    run_to_json,
)
from meta_train.runs.validation import Judge

from .small_runs import SMALL_RUN

CONFIG = SMALL_RUN.replace(
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
    directory.open(config.run(), "lopt-train")
    trainer = Trainer(config.run(), directory)
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
    parts = build(CONFIG.run())
    assert [(one.label, one.horizon) for one in parts.trials] == [
        ("noisy-quadratic", 20),
        ("quadratic-40", 40),
    ]
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    judged = [
        Judge(one, parts.estimator, CONFIG.loop.validation_episodes, parts.key)(jax.device_put(best, place))
        for one in parts.trials
    ]
    assert np.mean([one.objective for one in judged]) == pytest.approx(min(scores.values()), rel=1e-5)
    assert len(set(scores.values())) == len(scores)


def test_the_tuned_adams_are_kept(whole):
    path, _, records = whole
    kept = json.loads(RunDirectory(path).reference.read_text())["rivals"]["tuned_adam"]
    assert kept.keys() == {"noisy-quadratic", "quadratic-40"}
    assert len(kept["quadratic-40"]["curve"]) == 8
    assert kept["noisy-quadratic"]["objective"] == records[0].values["tasks/noisy-quadratic/tuned_adam"]


def test_what_is_published_says_what_it_was_trained_on(whole, tmp_path):
    origin = lopt.read_config(export_run(whole[0], tmp_path / "published"))["provenance"]
    assert (origin["tasks"], origin["task_weights"]) == (["quadratic", "noisy-quadratic"], [0.75, 0.25])
    assert origin["inner_steps"] == 12 * (4 + 2) * 2 * 5


# --- the configuration -----------------------------------------------------------------------------------


def test_by_default_tasks_weigh_the_same_and_theta_is_judged_on_them():
    problem = LearnedOptimizerTraining(task=("a", "b"), task_weights=(1, 3))
    assert problem.weights == {"a": 0.25, "b": 0.75}
    assert LearnedOptimizerTraining(task=("a", "b", "c", "d")).weights == dict.fromkeys("abcd", 0.25)
    assert [(one.label, *one) for one in problem.validations] == [
        ("a", "a", 0.25, None),
        ("b", "b", 0.75, None),
    ]


def test_particles_are_given_for_all_or_for_each():
    method = SMALL_RUN.replace(particles=16).run().method
    assert method.populations(("a", "b")) == {"a": 16, "b": 16}
    assert CONFIG.run().method.populations(("a", "b")) == {"a": 4, "b": 2}
    with pytest.raises(ValueError, match="--task-particles takes a number for each of a, b, c, not 2"):
        CONFIG.run().method.populations(("a", "b", "c"))
    with pytest.raises(ValueError, match="--task-particles takes a number for each of quadratic, not 2"):
        SMALL_RUN.replace(task_particles=(4, 2)).run()


def test_a_task_may_be_judged_at_several_horizons():
    problem = LearnedOptimizerTraining(validate_on=("a", "a:400", "b:60"))
    assert [(one.label, *one) for one in problem.validations] == [
        ("a", "a", 1 / 3, None),
        ("a-400", "a", 1 / 3, 400),
        ("b-60", "b", 1 / 3, 60),
    ]
    assert problem.labels == ("a", "a-400", "b-60")


def test_a_mixture_goes_through_json():
    assert run_from_json(run_to_json(CONFIG.run())) == CONFIG.run()
