"""Evolution strategies see the smoothed objective: its exact gradient, also where there is none (T5, T26)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    BPTT,
    GPES,
    NRES,
    PES,
    ConstantHorizon,
    Dynamics,
    FullES,
    SumLoss,
    TruncatedBPTT,
    expected_gradients,
    sample_estimates,
    z_score,
)

from .dynamics import ScalarLinear

KEY = jax.random.key(0)
STEPS, SIGMA = 3, 0.5
WAVES = np.array([0.7, -1.3])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def shared(window, steps=STEPS, sigma=SIGMA):
    horizon = ConstantHorizon(steps)
    return {"horizon": horizon, "window": window, "sigma": sigma, "objective": SumLoss(), "phase": "lockstep"}


class MeanWave(Dynamics):
    """The loss is cos(waves . theta), of the mean of the thetas applied so far."""

    waves: jax.Array

    def init(self, theta, horizon, key):
        return jnp.zeros_like(theta), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        applied, t = state
        applied = applied + theta
        return (applied, t + 1), jnp.cos(jnp.sum(self.waves * applied) / (t + 1).astype(applied.dtype))


@pytest.mark.parametrize("kind", [FullES, NRES, PES, GPES])
def test_with_one_draw_per_episode_a_wave_is_damped_by_the_gaussian_factor(kind):
    """By exp(-sigma^2 |w|^2 / 2), exactly, in each of the three steps."""
    theta = np.array([0.4, 0.2])
    estimator = kind(**shared(window=STEPS))
    found = expected_gradients(estimator, MeanWave(jnp.asarray(WAVES)), jnp.asarray(theta), KEY, nodes=20)
    damping = np.exp(-(SIGMA**2) * (WAVES @ WAVES) / 2)
    np.testing.assert_allclose(found, [-STEPS * damping * WAVES * np.sin(WAVES @ theta)], rtol=1e-12)
    assert damping < 0.8  # so that forgetting it would be seen


@pytest.mark.parametrize(
    ("kind", "options", "draws"),
    [(PES, {}, [[1], [1, 1], [1, 1, 1]]), (NRES, {}, [[1], [2], [3]]), (GPES, {"noise_windows": 2}, None)],
)
def test_independent_draws_smooth_what_averages_over_windows_less(kind, options, draws):
    """In step j the mean of j applied thetas has variance sigma^2 sum (n_i / j)^2, n_i steps under draw i."""
    draws = draws or [[1], [2], [2, 1]]
    wave, theta = 2.0, 0.4
    estimator = kind(**shared(window=1), **options)
    found = expected_gradients(estimator, MeanWave(jnp.asarray(wave)), jnp.asarray(theta), KEY, nodes=24)
    spread = np.array([sum((n / (j + 1)) ** 2 for n in counts) for j, counts in enumerate(draws)])
    expected = -wave * math.sin(wave * theta) * np.exp(-(SIGMA**2) * wave**2 * spread / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# --- a staircase: its gradient is zero, its smoothed objective's is not ----------------------------------


class Staircase(ScalarLinear):
    """The state sums theta up; the loss is its whole number of tenths."""

    def next(self, s, drive):
        return s + drive

    def loss(self, theta, s):
        return jnp.floor(10 * s)


def staircase():
    return Staircase(jnp.ones(2), jnp.zeros(2))


def smoothed(theta, sigma):
    """E floor(10 x_j) for the two steps' sums x_j of independent draws, from the normal distribution."""
    above = lambda z: math.erfc(z / math.sqrt(2)) / 2  # noqa: E731
    steps = np.arange(1, 200) / 10
    parts = ((theta, sigma), (2 * theta, sigma * math.sqrt(2)))
    return np.array([sum(above((k - mean) / spread) for k in steps) for mean, spread in parts])


@pytest.mark.parametrize(("kind", "window"), [(BPTT, 1), (TruncatedBPTT, 1), (TruncatedBPTT, 2)])
def test_backpropagation_sees_nothing_on_a_staircase(kind, window):
    estimator = kind(ConstantHorizon(2), window, SumLoss(), "lockstep")
    keys = jax.random.split(KEY, 2)
    found, states = sample_estimates(estimator, staircase(), jnp.asarray(0.41), keys, 2)
    np.testing.assert_array_equal(found, 0)
    assert np.all(states.episode.objective >= 4)


def test_pes_estimates_the_slope_of_the_smoothed_staircase():
    theta, sigma, step = 0.41, 0.02, 1e-5
    expected = (smoothed(theta + step, sigma) - smoothed(theta - step, sigma)) / (2 * step)
    keys = jax.random.split(jax.random.key(3), 100_000)
    estimator = PES(**shared(window=1, steps=2, sigma=sigma))
    found = np.asarray(sample_estimates(estimator, staircase(), jnp.asarray(theta), keys, 2)[0])
    assert np.all(np.abs(z_score(found, expected)) < 4)
    # Not the slope of the line through the stairs, which is 10 and 20.
    assert np.all(np.abs(z_score(found, [10, 20])) > 4)
