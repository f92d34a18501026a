"""PES is unbiased: exactly, by quadrature, and in the mean of samples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    GPES,
    NRES,
    PES,
    ConstantHorizon,
    SumLoss,
    expected_gradients,
    sample_estimates,
    window_gradients,
    window_losses,
    z_score,
)

from .dynamics import ScalarLinear, ScalarTanh, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
UNBIASED = {"pes": PES(**SHARED), "gpes-2": GPES(**SHARED, noise_windows=2), "nres": NRES(**SHARED)}
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("sigma", [0.01, 0.3, 3.0])
def test_expected_estimate_of_each_window_is_its_backpropagated_gradient(sigma):
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    np.testing.assert_allclose(exact, [0.02345455, -0.32595064, -0.73990809], atol=5e-9)
    estimator = PES(**SHARED, sigma=sigma)
    np.testing.assert_allclose(expected_gradients(estimator, system, theta, KEY), exact, atol=1e-10)


@pytest.mark.parametrize("name", UNBIASED)
def test_the_same_holds_for_trees_whose_initial_state_depends_on_theta(name):
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    estimator = dataclasses.replace(UNBIASED[name], sigma=0.3)
    expected = expected_gradients(estimator, system, theta, KEY, nodes=2)
    jax.tree.map(lambda e, x: np.testing.assert_allclose(e, x, atol=1e-10), expected, exact)


@pytest.mark.parametrize(("name", "blocks"), [("pes", [0, 1, 2]), ("gpes-2", [0, 0, 1]), ("nres", [0, 0, 0])])
def test_off_quadratics_each_is_unbiased_for_its_own_smoothed_losses(name, blocks):
    """Each member's expectation is the gradient of losses smoothed with one draw per block of windows."""
    system, theta, sigma = ScalarTanh.draw(STEPS), jnp.asarray(0.4), 0.4
    points, weights = np.polynomial.hermite_e.hermegauss(16)
    draws = np.stack(np.meshgrid(points, points, points, indexing="ij"), -1).reshape(-1, 3)
    weights = np.einsum("i,j,k", weights, weights, weights).reshape(-1) / weights.sum() ** 3

    @jax.jit
    def smoothed_gradients(theta):
        def losses(theta, draw):
            return window_losses(system, [theta + sigma * draw[block] for block in blocks], WINDOW)

        gradients = jax.vmap(jax.jacrev(losses), (None, 0))(theta, jnp.asarray(draws))
        return jnp.asarray(weights) @ gradients

    exact = smoothed_gradients(theta)
    estimator = dataclasses.replace(UNBIASED[name], sigma=sigma)
    expected = expected_gradients(estimator, system, theta, KEY, nodes=30)
    np.testing.assert_allclose(expected, exact, atol=1e-9)
    plain = window_gradients(system, theta, WINDOWS, WINDOW)
    assert np.all(np.abs(expected - plain)[1:] > 0.01)  # smoothing matters here


@pytest.mark.parametrize("name", UNBIASED)
def test_sampled_episode_sums_have_the_gradient_as_their_mean(name):
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    exact = float(jnp.sum(window_gradients(system, theta, WINDOWS, WINDOW)))
    estimator = dataclasses.replace(UNBIASED[name], sigma=0.3)
    keys = jax.random.split(jax.random.key(7), 20_000)
    sums = np.sum(sample_estimates(estimator, system, theta, keys, WINDOWS)[0], axis=1)
    assert abs(z_score(sums, exact)) < 4
    # The test has power: it would notice a bias of a fifth.
    assert abs(z_score(sums, 1.2 * exact)) > 4


def test_sampled_full_es_has_it_too():
    """The textbook estimator over whole episodes, of which NRES is the online form."""
    system, theta, sigma = ScalarLinear.draw(STEPS), jnp.asarray(0.4), 0.3

    @jax.jit
    @jax.vmap
    def full_es(draw):
        eps = sigma * draw
        plus, minus = (jnp.sum(window_losses(system, [theta + e], STEPS)) for e in (eps, -eps))
        return eps * (plus - minus) / (2 * sigma**2)

    exact = float(jnp.sum(window_gradients(system, theta, WINDOWS, WINDOW)))
    estimates = full_es(jax.random.normal(jax.random.key(8), (20_000,)))
    assert abs(z_score(estimates, exact)) < 4


def test_on_quadratics_estimates_do_not_depend_on_sigma():
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    keys = jax.random.split(jax.random.key(9), 8)
    small, large = (
        sample_estimates(PES(**SHARED, sigma=sigma), system, theta, keys, WINDOWS)[0] for sigma in (0.01, 0.5)
    )
    np.testing.assert_allclose(small, large, rtol=1e-10, atol=1e-11)
    assert np.std(small) > 0.1
