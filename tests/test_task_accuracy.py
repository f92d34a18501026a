"""Accuracy is the share of predictions that are right, and wrappers pass it on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.layers import share_right

KEY = jax.random.key(0)


def test_the_share_is_weighted_and_what_is_not_finite_is_wrong():
    logits = jnp.array([[2.0, 1, 0], [0, 3, 1], [5, 1, 2], [jnp.nan, 1, 2], [jnp.inf, 1, 2]])
    weights = jnp.array([0.1, 0.2, 0.3, 0.2, 0.2])
    assert float(share_right(logits, jnp.array([0, 1, 0, 2, 0]), weights)) == pytest.approx(0.6)
    assert float(share_right(logits, jnp.array([1, 1, 0, 2, 0]), weights)) == pytest.approx(0.5)


def drawn(task, split="test"):
    instance = task.sample(KEY)
    return instance, task.init(instance, KEY), task.batch(instance, KEY, split)


@pytest.mark.parametrize("name", ["digits-mlp-family", "digits-conv", "wine-mlp", "mixture-mlp"])
def test_trained_classifiers_are_better_than_guessing_and_no_better_than_all(name):
    """With few steps; and with labels that are shifted by one, they are worse than guessing."""
    task = tasks.build(name)
    instance, params, batch = drawn(task, "train")
    grad = jax.jit(jax.grad(task.loss, argnums=1))
    for _ in range(80):
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grad(instance, params, batch, KEY))
    accuracy = float(task.accuracy(instance, params, batch, KEY))
    labels = "targets" if hasattr(batch, "targets") else "labels"
    shifted = batch._replace(**{labels: getattr(batch, labels) + 1})
    assert 0.6 < accuracy <= 1 + 1e-6
    assert float(task.accuracy(instance, params, shifted, KEY)) < 0.4


@pytest.mark.parametrize("name", ["char-gru", "char-transformer"])
def test_a_character_model_that_always_says_the_same_is_right_where_that_is_so(name):
    task = tasks.build(name)
    instance, params, batch = drawn(task)
    symbol = int(np.bincount(np.ravel(batch.inputs)).argmax())
    silent = jax.tree.map(jnp.zeros_like, params)
    silent["output"]["bias"] = silent["output"]["bias"].at[symbol].set(1.0)
    share = float(np.mean(np.asarray(batch.targets) == symbol))
    assert share > 0.05
    assert float(task.accuracy(instance, silent, batch, KEY)) == pytest.approx(share)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda task: tasks.Reparametrised(task, 0.01, 100.0),
        lambda task: tasks.Reparametrised(task, 0.1, 10.0, level="tensor"),
        lambda task: tasks.Reparametrised(task, 0.1, 10.0, level="parameter"),
        lambda task: tasks.ScaledLoss(task),
        lambda task: tasks.NoisyGradient(task, 1.0),
        lambda task: tasks.SmallerBatches(task, 0.5),
    ],
)
def test_wrappers_pass_it_on(wrap):
    task = tasks.ProceduralCurves()
    wrapped = wrap(task)
    _, params, _ = drawn(task)
    instance, own, batch = drawn(wrapped)
    inner = getattr(instance, "task", instance)
    accuracy = float(wrapped.accuracy(instance, own, batch, KEY))
    assert accuracy == pytest.approx(float(task.accuracy(inner, params, batch, KEY)))
    assert 0 < accuracy < 1
    assert wrap(tasks.Teacher()).accuracy(*drawn(wrap(tasks.Teacher())), KEY) is None


def test_a_table_of_numbers_has_none():
    task = tasks.build("diabetes-mlp")
    assert task.accuracy(*drawn(task), KEY) is None
    assert dataclasses.is_dataclass(task)
