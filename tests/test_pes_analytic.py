"""PES+Analytic: unbiased on quadratics, exact for one window, and not smoothed elsewhere (T28)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    PES,
    ConstantHorizon,
    PESAnalytic,
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
KEY = jax.random.key(0)
THETA = 0.4


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make(kind=PESAnalytic, window=WINDOW, sigma=0.3):
    return kind(ConstantHorizon(STEPS), window, SumLoss(), "lockstep", sigma=sigma)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 3.0])
def test_on_quadratics_each_windows_expectation_is_its_backpropagated_gradient(sigma):
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(THETA)
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    found = expected_gradients(make(sigma=sigma), system, theta, KEY)
    np.testing.assert_allclose(found, exact, atol=1e-10)
    truncated = window_gradients(system, theta, WINDOWS, WINDOW, truncated=True)
    assert np.all(np.abs(found - truncated)[1:] > 1e-3)


def test_the_same_holds_for_trees_whose_initial_state_depends_on_theta():
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    found = expected_gradients(make(), system, theta, KEY, nodes=2)
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, atol=1e-10), found, exact)


@pytest.mark.parametrize("system", [ScalarTanh, VectorLinear])
def test_with_one_window_per_episode_it_is_backpropagation_whatever_the_noise(system):
    drawn, theta = system.draw(STEPS), VectorLinear.theta()
    theta = jnp.asarray(THETA) if system is ScalarTanh else theta
    keys = jax.random.split(jax.random.key(3), 5)
    found, states = sample_estimates(make(window=STEPS), drawn, theta, keys, 2)
    exact = window_gradients(drawn, theta, 1, STEPS)
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, np.broadcast_to(e, f.shape), rtol=1e-10), found, exact
    )
    noise = np.asarray(jax.tree.leaves(states.persistent.noise)[0])
    assert len(np.unique(noise)) == noise.size


def test_off_quadratics_its_own_windows_part_is_not_smoothed():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
    found, smoothed = (
        expected_gradients(make(kind, sigma=0.4), system, theta, KEY, nodes=16) for kind in (PESAnalytic, PES)
    )
    plain = window_gradients(system, theta, WINDOWS, WINDOW)
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-10)
    assert np.all(np.abs(found - smoothed) > [1e-5, 0.03, 0.03])
    assert np.all(np.abs(found - plain)[1:] > 1e-3)  # the earlier windows' part is smoothed


def test_the_mean_episode_runs_under_theta_itself():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
    keys = jax.random.split(jax.random.key(3), 4)
    states = sample_estimates(make(), system, theta, keys, WINDOWS + 1)[1]
    losses = np.asarray(window_losses(system, [theta] * WINDOWS, WINDOW))
    so_far = np.append(np.cumsum(losses), losses[0])  # the second episode starts anew
    np.testing.assert_allclose(states.mean.objective, np.tile(so_far, (4, 1)), rtol=1e-12)
    np.testing.assert_array_equal(states.mean.age, states.persistent.pair.age[..., 0])
    assert np.all(np.abs(states.persistent.pair.objective[..., 0] - so_far[None]) > 1e-5)


def test_samples_have_the_gradient_as_their_mean_and_spread_less_than_those_of_pes():
    """Also in a second episode, which must have forgotten the first one's draws."""
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(THETA)
    keys = jax.random.split(jax.random.key(7), 20_000)
    found, persistent = (
        np.asarray(sample_estimates(make(kind), system, theta, keys, 2 * WINDOWS)[0])
        for kind in (PESAnalytic, PES)
    )
    exact = np.tile(window_gradients(system, theta, WINDOWS, WINDOW), 2)
    certain = np.arange(2 * WINDOWS) % WINDOWS == 0
    np.testing.assert_allclose(found[:, certain], np.tile(exact[certain], (len(found), 1)), rtol=1e-10)
    assert np.all(np.abs(z_score(found[:, ~certain], exact[~certain])) < 4)
    assert np.max(np.abs(z_score(found[:, ~certain], 0.5 * exact[~certain]))) > 4
    assert np.all(found.var(0)[~certain] < 0.8 * persistent.var(0)[~certain])


def test_it_counts_the_mean_episode():
    assert make().steps_per_window == 3 * WINDOW
