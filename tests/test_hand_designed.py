"""LearnableSGD and LearnableAdam are optax's, with their hyperparameters as theta."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import LearnableAdam, LearnableSGD, as_optax, theta_size

PARAMS = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2), "s": jnp.ones(())}


def trajectory(tx, sizes=(1.0, 1e-3, 0.0, 1e3, 1.0)):
    """Updates for a few gradients of these sizes."""
    update = jax.jit(tx.update)
    params, state, all_updates = PARAMS, tx.init(PARAMS), []
    rng = np.random.default_rng(0)
    for size in sizes:
        grads = jax.tree.map(lambda p: jnp.asarray(size * rng.normal(size=p.shape), p.dtype), params)  # noqa: B023
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        all_updates.append(updates)
    return all_updates


def assert_equal_to_rounding(rule, tx, rtol):
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
        its = trajectory(tx)
    for actual, expected in zip(trajectory(as_optax(rule)), its, strict=True):
        for key in PARAMS:
            np.testing.assert_allclose(actual[key], expected[key], rtol=rtol)


@pytest.mark.parametrize("learning_rate", [0.01, 3.0])
def test_learnable_sgd_is_optaxs(learning_rate):
    rule = LearnableSGD.create(jax.random.key(0), learning_rate=learning_rate)
    assert_equal_to_rounding(rule, optax.sgd(learning_rate), rtol=1e-5)


@pytest.mark.parametrize(
    ("hyperparameters", "rtol"),
    [
        # 1 - 2^-n is exact in float32; 1 - 0.999 is off by 1e-5, differently in the two programs.
        ({"learning_rate": 0.5, "b1": 1 - 2**-3, "b2": 1 - 2**-10}, 2e-6),
        ({"learning_rate": 0.5, "b1": 1 - 2**-1, "b2": 1 - 2**-5, "eps": 2**-3}, 2e-6),
        ({}, 5e-5),
    ],
    ids=str,
)
def test_learnable_adam_is_optaxs(hyperparameters, rtol):
    rule = LearnableAdam.create(jax.random.key(0), **hyperparameters)
    expected = optax.adam(**({"learning_rate": 1e-3} | hyperparameters))
    assert_equal_to_rounding(rule, expected, rtol)


def test_theta_is_the_logarithms_of_the_hyperparameters():
    sgd = LearnableSGD.create(jax.random.key(0), learning_rate=0.25)
    assert theta_size(sgd) == 1
    np.testing.assert_allclose(jnp.exp(sgd.log_learning_rate), 0.25, rtol=1e-6)

    adam = LearnableAdam.create(jax.random.key(0), learning_rate=0.25, b1=0.8, b2=0.98, eps=1e-6)
    assert theta_size(adam) == 4
    np.testing.assert_allclose(np.exp(jax.tree.leaves(adam)), [0.25, 0.2, 0.02, 1e-6], rtol=1e-5)


def test_a_larger_log_learning_rate_is_a_larger_step():
    rule = LearnableAdam.create(jax.random.key(0), learning_rate=0.25)
    doubled = rule.replace(log_learning_rate=rule.log_learning_rate + jnp.log(2.0))
    assert_equal_to_rounding(doubled, optax.adam(0.5), rtol=5e-5)
