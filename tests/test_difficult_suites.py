"""The suites of what is difficult have the tasks that they say, and none that a preset meta-trains on."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from eval import suite
from eval.training.difficult_suites import DIFFICULT
from meta_train import PRESETS, LearnedOptimizerTraining

KEY = jax.random.key(0)
TRUNCATED = 0.88
"""Standard deviation of a normal number that is truncated at 2."""


def entries_of(name):
    """Map each task of a suite to the horizons that it has there."""
    horizons = {}
    for entry in suite(name).entries:
        horizons.setdefault(entry.task, []).append(entry.horizon)
    return horizons


@functools.cache
def start(name):
    """Draw the parameters of a task."""
    task = tasks.build(name)
    return jax.jit(lambda key: task.init(task.sample(key), key))(KEY)


def test_no_preset_trains_or_validates_on_them():
    theirs = set()
    for preset in PRESETS.values():
        problem = preset().problem
        if isinstance(problem, LearnedOptimizerTraining):
            theirs |= {*problem.task, *(name.partition(":")[0] for name in problem.validate_on)}
    assert "digits-mlp-family" in theirs
    for one in DIFFICULT:
        assert suite(one.name) is one
        assert not theirs & {entry.task for entry in one.entries}, one.name


def test_there_are_as_many_tasks_and_as_long_runs_as_they_say():
    transformers, small, long = map(entries_of, ("transformers", "small-starts", "long"))
    assert len(transformers) >= 8
    assert {500, 2000, 5000} <= {horizon for horizons in transformers.values() for horizon in horizons}
    assert all(isinstance(tasks.build(name), tasks.CharTransformer | tasks.ImageViT) for name in transformers)
    assert len(small) >= 6
    assert len(long) >= 8
    assert all(2000 in horizons for horizons in long.values())
    assert sum(5000 in horizons for horizons in long.values()) >= 4


@pytest.mark.parametrize("name", entries_of("large"))
def test_large_tasks_have_100_000_parameters_and_128_rows(name):
    task = tasks.build(name)
    instance = jax.eval_shape(task.sample, KEY)
    params = jax.eval_shape(task.init, instance, KEY)
    batch = jax.eval_shape(lambda i, k: task.batch(i, k, "train"), instance, KEY)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) >= 1e5
    assert batch.weights.shape == (128,)


@pytest.mark.parametrize(
    ("name", "embeddings", "head"),
    [
        ("char-transformer-small-embeddings", 0.02, 0.02),
        ("char-transformer-uneven", 0.2, 0.1),
        ("char-transformer-large-embeddings", 1, 0.155),
        ("char-transformer-large-head", 0.155, 1),
        ("char-transformer-deep-post", 0.02, 0.155),
    ],
)
def test_transformers_start_at_the_sizes_that_they_say(name, embeddings, head):
    params = start(name)
    for tensor in (params["symbols"]["embedding"], params["places"]["embedding"]):
        assert np.std(tensor) == pytest.approx(embeddings, rel=0.05)
    assert np.std(params["output"]["kernel"]) == pytest.approx(head, rel=0.05)
    assert np.std(params["hidden_0"]["kernel"]) == pytest.approx(0.155, rel=0.05)


def test_a_large_head_raises_the_ceiling_and_a_small_one_leaves_it():
    guessing = tasks.build("char-transformer").ceiling
    assert tasks.build("char-transformer-small-embeddings").ceiling == guessing
    assert tasks.build("char-transformer-large-head").ceiling == pytest.approx(guessing / 0.155)


def test_an_output_layer_and_small_kernels_start_as_they_say():
    zero = start("zero-output-lorenz-mlp")
    assert [bool(layer["kernel"].any()) for layer in zero.values()] == [True, True, False]
    for layer in start("small-start-digits-mlp").values():
        spread = np.std(layer["kernel"]) * math.sqrt(layer["kernel"].shape[0])
        assert spread == pytest.approx(0.1 * TRUNCATED, rel=0.1)


def test_an_output_scale_is_a_factor_of_the_last_kernel_alone():
    usual, scaled = (tasks.Perceptron(5, 3, (8, 8), output_scale=scale) for scale in (1.0, 0.25))
    before, after = (one.init(one.sample(KEY), KEY) for one in (usual, scaled))
    before["layer_1"]["kernel"] = 0.25 * before["layer_1"]["kernel"]
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert jnp.any(after["layer_1"]["kernel"])
    with pytest.raises(tasks.UsageError, match="output_scale"):
        tasks.Perceptron(5, 3, output_scale=-1.0)
