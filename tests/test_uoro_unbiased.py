"""UORO carries an unbiased rank-one estimate of the derivative (T13)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    UORO,
    ConstantHorizon,
    LastLoss,
    SumLoss,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
META_STEP = jnp.zeros((), jnp.int32)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def flat(tree, axes):
    leaves = [np.asarray(leaf).reshape(*leaf.shape[:axes], -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=-1)


@functools.partial(jax.jit, static_argnames=("estimator", "windows"))
def products(estimator, system, theta, keys, windows):
    """Sum and sum of squares of state_factor x theta_factor over particles, after some windows."""

    def particle(key):
        state = estimator.init(system, theta)
        for window_key in jax.random.split(key, windows):
            state, _ = estimator.step(system, theta, state, window_key, META_STEP)
        ravel = lambda tree: jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])  # noqa: E731
        return jnp.outer(*(ravel(factor) for factor in state.influence))

    found = jax.vmap(particle)(keys)
    return found.sum(0), (found**2).sum(0)


def test_the_outer_product_is_the_derivative_on_average():
    """Of a linear system with two states, three meta-parameters and an initial state that depends on them."""
    system, theta = VectorLinear.draw(5), VectorLinear.theta()
    samples = 400_000
    estimator = UORO(ConstantHorizon(5), 5, SumLoss(), "lockstep")
    total = squares = 0
    for index in range(4):
        keys = jax.random.split(jax.random.key(index), samples // 4)
        one, two = products(estimator, system, theta, keys, 1)
        total, squares = total + np.asarray(one), squares + np.asarray(two)
    mean = total / samples
    error = np.sqrt((squares / samples - mean**2) / samples)

    def state(theta):
        s, _ = system.init(theta, jnp.asarray(5), jax.random.key(0)), None
        for _ in range(5):
            s, _ = system.step(theta, s, jax.random.key(0))
        return s[0]

    exact = flat(jax.jacrev(state)(theta), axes=1)
    assert np.all(np.abs(mean - exact) < 4 * error)
    assert np.any(np.abs(mean - 1.1 * exact) > 4 * error)  # it would notice a tenth


@pytest.mark.parametrize("objective", [SumLoss(), LastLoss()])
def test_windows_estimates_have_the_gradient_as_their_mean(objective):
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    estimator = UORO(**SHARED | {"objective": objective})
    keys = jax.random.split(jax.random.key(7), 40_000)
    found = flat(sample_estimates(estimator, system, theta, keys, 2 * WINDOWS)[0], axes=2)
    truncated = window_gradients(system, theta, WINDOWS, WINDOW, truncated=True)
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    if isinstance(objective, LastLoss):
        ends = window_gradients(system, theta, STEPS, 1)
        whole = flat(jax.tree.map(lambda g: g[-1], ends), axes=0)
        assert np.all(np.abs(z_score(found[:, :WINDOWS].sum(1), whole)) < 4)
        return
    # A second episode must not remember the first: twice the same expectation.
    expected = np.concatenate([flat(exact, axes=1)] * 2)
    assert np.all(np.abs(z_score(found, expected)) < 4.5)  # 18 numbers
    assert np.max(np.abs(z_score(found[:, :WINDOWS], flat(truncated, axes=1)))) > 10


def test_it_is_its_own_configuration():
    assert dataclasses.replace(UORO(**SHARED), epsilon=1e-3) != UORO(**SHARED)
