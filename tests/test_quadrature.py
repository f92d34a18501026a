"""`expected_gradients` integrates estimates over their noise exactly, and refuses what it can't do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    GPES,
    NRES,
    PES,
    RTRL,
    ConstantHorizon,
    Dynamics,
    LogUniformHorizon,
    SumLoss,
    expected_gradients,
    window_losses,
)

from .dynamics import ScalarLinear

KEY = 0
WAVES = np.array([0.7, -1.3])


class Wave(Dynamics):
    """One step with loss cos(w . theta), whose smoothed gradient is known."""

    def init(self, theta, horizon, key):
        return ()

    def step(self, theta, state, key):
        return (), jnp.cos(WAVES @ theta)


def test_the_gradient_of_a_smoothed_wave_is_damped_by_the_gaussian_factor():
    sigma, theta = 0.5, np.array([0.4, 0.2])
    with jax.enable_x64(True):
        estimator = PES(ConstantHorizon(1), window=1, sigma=sigma, objective=SumLoss())
        found = expected_gradients(estimator, Wave(), jnp.asarray(theta), jax.random.key(KEY), nodes=20)
    damping = np.exp(-(sigma**2) * (WAVES @ WAVES) / 2)
    np.testing.assert_allclose(found, [-damping * WAVES * np.sin(WAVES @ theta)], rtol=1e-12)
    assert damping < 0.8  # so that forgetting it would be seen


def test_two_nodes_are_enough_for_quadratic_losses():
    with jax.enable_x64(True):
        system, theta = ScalarLinear.draw(6), jnp.asarray(0.4)
        estimator = PES(ConstantHorizon(6), window=2, sigma=0.3, objective=SumLoss())
        two, seven = (
            expected_gradients(estimator, system, theta, jax.random.key(KEY), nodes=nodes) for nodes in (2, 7)
        )
    assert two.shape == (3,)
    np.testing.assert_allclose(two, seven, rtol=1e-10)


def test_a_moving_theta_gives_each_window_the_gradient_by_all_thetas_until_then():
    """PES perturbs every window's theta by itself, and credits all of them: here summed by hand."""
    with jax.enable_x64(True):
        thetas = jnp.asarray([0.4, -0.3, 0.9])
        estimator = PES(ConstantHorizon(6), window=2, sigma=0.3, objective=SumLoss())
        found = expected_gradients(
            estimator, ScalarLinear.draw(6), thetas, jax.random.key(KEY), nodes=2, moving=True
        )
        by_theta = jax.jacrev(lambda thetas: window_losses(ScalarLinear.draw(6), list(thetas), 2))(thetas)
        fixed = expected_gradients(estimator, ScalarLinear.draw(6), thetas[0], jax.random.key(KEY), nodes=2)
    np.testing.assert_allclose(found, np.asarray(by_theta).sum(1), rtol=1e-10)
    assert np.all(np.abs(np.asarray(found) - np.asarray(fixed))[1:] > 1e-3)


def test_a_moving_theta_that_stands_still_is_a_theta():
    with jax.enable_x64(True):
        system, estimator = ScalarLinear.draw(6), PES(ConstantHorizon(6), 2, SumLoss(), sigma=0.3)
        still, moving = (
            expected_gradients(estimator, system, theta, jax.random.key(KEY), nodes=2, moving=moving)
            for theta, moving in ((jnp.asarray(0.4), False), (jnp.full(3, 0.4), True))
        )
        np.testing.assert_array_equal(still, moving)
        with pytest.raises(ValueError, match="a moving theta has 3 values"):
            expected_gradients(estimator, system, jnp.full(2, 0.4), jax.random.key(KEY), moving=True)


@pytest.mark.parametrize("meta_step", [0, 3, 50])
def test_a_sigma_with_a_schedule_is_that_of_the_meta_step(meta_step):
    theta = np.array([0.4, 0.2])
    with jax.enable_x64(True):
        estimator = PES(ConstantHorizon(1), 1, SumLoss(), sigma=0.5, final_sigma=0.05, sigma_meta_steps=10)
        found = expected_gradients(
            estimator, Wave(), jnp.asarray(theta), jax.random.key(KEY), nodes=20, meta_step=meta_step
        )
    sigma = 0.5 * 0.1 ** min(meta_step / 10, 1)
    damping = np.exp(-(sigma**2) * (WAVES @ WAVES) / 2)
    np.testing.assert_allclose(found, [-damping * WAVES * np.sin(WAVES @ theta)], rtol=1e-6)


def test_draws_that_are_not_made_cost_no_nodes():
    """7 nodes in 10 windows are 7^10 episodes with a draw each, and 7 with one draw in all."""
    with jax.enable_x64(True):
        system, theta = ScalarLinear.draw(10), jnp.asarray(0.4)
        shared = {"horizon": ConstantHorizon(10), "window": 1, "sigma": 0.3, "objective": SumLoss()}
        with pytest.raises(ValueError, match=f"{7**10} episodes"):
            expected_gradients(PES(**shared), system, theta, jax.random.key(KEY))
        reused = expected_gradients(NRES(**shared), system, theta, jax.random.key(KEY))
        blocks = expected_gradients(GPES(**shared, noise_windows=4), system, theta, jax.random.key(KEY))
    assert reused.shape == blocks.shape == (10,)
    np.testing.assert_allclose(reused, blocks, rtol=1e-10)  # both unbiased on quadratics


def test_estimators_without_gaussian_noise_are_refused():
    class Signs(PES):
        def draw(self, key, theta, meta_step):
            return self.sigma * jax.random.rademacher(key, theta.shape, theta.dtype)

    shared = (ConstantHorizon(4), 2)
    for estimator in (RTRL(*shared), Signs(*shared)):
        with pytest.raises(ValueError, match="does not perturb theta by Gaussian noise.*samples instead"):
            expected_gradients(estimator, ScalarLinear.draw(4), jnp.asarray(0.4), jax.random.key(0))


def test_horizons_that_vary_are_refused():
    estimator = PES(LogUniformHorizon(2, 4), window=2)
    with pytest.raises(ValueError, match=r"ConstantHorizon\(4\)"):
        expected_gradients(estimator, Wave(), jnp.zeros(2), jax.random.key(KEY))
