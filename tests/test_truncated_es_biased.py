"""Truncated ES estimates the truncated gradient, exactly, which is not the gradient, provably."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    ConstantHorizon,
    SumLoss,
    TruncatedES,
    expected_gradients,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarLinear, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
ESTIMATOR = TruncatedES(
    horizon=ConstantHorizon(STEPS), window=WINDOW, sigma=0.3, objective=SumLoss(), phase="lockstep"
)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_on_quadratics_its_expectation_is_truncated_backpropagation():
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    truncated = window_gradients(system, theta, WINDOWS, WINDOW, truncated=True)
    np.testing.assert_allclose(truncated, [0.02345455, -0.33224260, 1.12377578], atol=5e-9)
    expected = expected_gradients(ESTIMATOR, system, theta, jax.random.key(0))
    np.testing.assert_allclose(expected, truncated, atol=1e-10)


def test_the_same_holds_for_a_tree_of_meta_parameters():
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    truncated = window_gradients(system, theta, WINDOWS, WINDOW, truncated=True)
    expected = expected_gradients(ESTIMATOR, system, theta, jax.random.key(0), nodes=2)
    jax.tree.map(lambda e, x: np.testing.assert_allclose(e, x, atol=1e-10), expected, truncated)


def test_samples_reject_that_it_estimates_the_gradient():
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    exact = np.asarray(window_gradients(system, theta, WINDOWS, WINDOW))
    truncated = np.asarray(window_gradients(system, theta, WINDOWS, WINDOW, truncated=True))
    keys = jax.random.split(jax.random.key(7), 20_000)
    estimates = np.asarray(sample_estimates(ESTIMATOR, system, theta, keys, WINDOWS)[0])
    assert abs(z_score(estimates.sum(1), exact.sum())) > 10
    assert abs(z_score(estimates.sum(1), truncated.sum())) < 4
    # It moves theta the wrong way in the third window.
    assert z_score(estimates[:, 2], 0.0) > 10
    assert exact[2] < -0.5
