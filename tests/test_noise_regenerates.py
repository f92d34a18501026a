"""Noise comes from a particle's key alone: it may be drawn again, and does not know its population (T30)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    GPES,
    NRES,
    PES,
    CombinedES,
    ConstantHorizon,
    FullES,
    GuidedES,
    PESAnalytic,
    SumLoss,
    TruncatedES,
    sample_estimates,
)
from meta_train.estimators.perturbation import draw_noise

from .dynamics import ScalarTanh, VectorLinear

STEPS, WINDOW, SIGMA = 6, 2, 0.3
WINDOWS = STEPS // WINDOW
META_STEP = jnp.zeros((), jnp.int32)
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
KEYS = jax.random.split(jax.random.key(12), 6)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("kind", "options", "drawn_in"),
    [
        (PES, {}, [0, 1, 2, 3, 4]),
        (TruncatedES, {}, [0, 1, 2, 3, 4]),
        (GPES, {"noise_windows": 2}, [0, 0, 2, 3, 3]),
        (NRES, {}, [0, 0, 0, 3, 3]),
    ],
)
def test_the_stored_noise_can_be_drawn_again_from_the_key_of_its_window(kind, options, drawn_in):
    """So noise reuse could keep a key instead of a theta: this is what a particle's memory holds."""
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    states = sample_estimates(kind(**SHARED, sigma=SIGMA, **options), system, theta, KEYS, 5)[1]

    @jax.jit
    @jax.vmap
    def again(key):
        window_keys = jax.random.split(key, 5)[jnp.asarray(drawn_in)]
        noise_keys = jax.vmap(lambda key: jax.random.split(key)[0])(window_keys)
        return jax.vmap(lambda key: draw_noise(key, theta, SIGMA))(noise_keys)

    noise = again(KEYS)
    jax.tree.map(lambda n, s: np.testing.assert_allclose(n, s, rtol=1e-14), noise, states.noise)
    flat = np.asarray(noise["scalar"])
    assert len(np.unique(flat)) == len(KEYS) * len(set(drawn_in))


def test_a_run_under_noise_drawn_again_is_the_same_run():
    system, theta, estimator = ScalarTanh.draw(STEPS), jnp.asarray(0.4), NRES(**SHARED, sigma=SIGMA)
    expected, _ = sample_estimates(estimator, system, theta, KEYS, WINDOWS)

    @jax.jit
    @jax.vmap
    def run(key):
        window_keys = jax.random.split(key, WINDOWS)
        noise = draw_noise(jax.random.split(window_keys[0])[0], theta, SIGMA)
        state, gradients = estimator.init(system, theta), []
        for key in window_keys:
            rest = jax.random.split(key)[1]
            state, estimate = estimator.step_with(system, theta, state, noise, rest, META_STEP)
            state = state.replace(noise=noise)  # in place of what was stored
            gradients.append(estimate.gradient)
        return jnp.stack(gradients)

    np.testing.assert_allclose(run(KEYS), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [PES, NRES, FullES, PESAnalytic, GuidedES, CombinedES])
def test_a_population_is_its_two_halves(kind):
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    whole = sample_estimates(kind(**SHARED, sigma=SIGMA), system, theta, KEYS, WINDOWS)
    halves = [
        sample_estimates(kind(**SHARED, sigma=SIGMA), system, theta, keys, WINDOWS)
        for keys in (KEYS[:3], KEYS[3:])
    ]
    joined = jax.tree.map(lambda *pieces: np.concatenate(pieces), *halves)
    jax.tree.map(lambda w, j: np.testing.assert_allclose(w, j, rtol=1e-12, atol=1e-13), whole, joined)
    assert len(np.unique(np.asarray(whole[0])[:, -1])) == len(KEYS)
