"""What may be made of a loss difference, and how the scale of noise may change (T19)."""

import dataclasses
import functools

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
    PESAnalytic,
    SumLoss,
    TruncatedES,
    sample_estimates,
)

from .dynamics import ScalarLinear, ScalarTanh

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
THETA = 0.4
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
FAMILY = {"pes": PES, "full-es": FullES}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Scaled(ScalarTanh):
    """The loss is some number of times larger."""

    factor: float = 1.0

    def loss(self, theta, s):
        return self.factor * ScalarTanh.loss(self, theta, s)


@functools.cache
def sample(kind, factor=1.0, **options):
    """Estimates and scores [particles, windows] of the same particles, whatever the options."""
    system = Scaled(*jax.tree.leaves(ScalarTanh.draw(STEPS))[:2], factor=factor)
    keys = jax.random.split(jax.random.key(2), 50)
    estimator = kind(**SHARED, sigma=0.3, **options)
    estimates, states = sample_estimates(estimator, system, jnp.asarray(THETA), keys, 4)
    return np.asarray(estimates), np.asarray(states.score)


# --- transforms of the loss ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAMILY.values(), ids=FAMILY)
def test_the_sign_keeps_the_direction_and_has_one_size(kind):
    raw, score = sample(kind)
    signed, _ = sample(kind, loss_transform="sign", loss_bound=0.25)
    np.testing.assert_allclose(signed, 0.25 * score * np.sign(raw / score), rtol=1e-12)
    assert np.all(raw != 0)


def test_the_sign_does_not_feel_the_losss_scale_and_the_raw_difference_does():
    small, large = (sample(PES, factor, loss_transform="sign")[0] for factor in (1.0, 1e6))
    np.testing.assert_array_equal(small, large)
    raw, larger = sample(PES)[0], sample(PES, 1e6)[0]
    np.testing.assert_allclose(larger, 1e6 * raw, rtol=1e-9)


@pytest.mark.parametrize("kind", FAMILY.values(), ids=FAMILY)
def test_clipping_bounds_half_the_difference_and_leaves_smaller_ones(kind):
    raw, score = sample(kind)
    difference, bound = raw / score, 0.2
    clipped, _ = sample(kind, loss_transform="clip", loss_bound=bound)
    below = np.abs(difference) < bound
    assert 10 < below.sum() < below.size - 10
    np.testing.assert_array_equal(clipped[below], raw[below])
    np.testing.assert_allclose(
        clipped[~below], (score * bound * np.sign(difference))[~below], rtol=1e-12, atol=1e-12
    )


def test_a_bound_means_nothing_to_the_raw_difference():
    np.testing.assert_array_equal(sample(PES)[0], sample(PES, loss_bound=1e-6)[0])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PES, {"loss_transform": "tanh"}, "loss_transform must be raw, sign or clip, not 'tanh'"),
        (PES, {"loss_bound": 0.0}, "loss_bound must be positive"),
        (PES, {"loss_bound": float("nan")}, "loss_bound must be positive"),
        (PES, {"credit": "all"}, "credit must be causal or total, not 'all'"),
        (PES, {"credit": "total", "loss_transform": "sign"}, "needs an estimator that remembers"),
        (PES, {"credit": "total", "loss_transform": "clip"}, "loss_transform 'raw'"),
        (TruncatedES, {"credit": "total"}, "needs an estimator that remembers"),
        (GPES, {"noise_windows": 0}, "noise_windows must be at least 1"),
        (PES, {"sigma": float("nan")}, "sigma must be positive"),
        (PES, {"final_sigma": 0.0}, "final_sigma must be positive"),
        (PES, {"final_sigma": 0.1, "sigma_meta_steps": 0}, "sigma_meta_steps must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**SHARED, **options)


# --- the schedule of sigma -------------------------------------------------------------------------------


def test_sigma_goes_geometrically_from_one_value_to_the_other_and_stays():
    estimator = PES(**SHARED, sigma=0.5, final_sigma=0.005, sigma_meta_steps=100)
    found = [float(estimator.sigma_at(jnp.asarray(step, jnp.int32))) for step in (0, 50, 100, 101, 10_000)]
    np.testing.assert_allclose(found, [0.5, 0.05, 0.005, 0.005, 0.005], rtol=1e-6)
    assert PES(**SHARED, sigma=0.5).sigma_at(jnp.asarray(50)) == 0.5


class Additive(ScalarLinear):
    """The state sums theta up, and is the loss."""

    def next(self, s, drive):
        return s + drive

    def loss(self, theta, s):
        return s


SCHEDULED = {"sigma": 0.5, "final_sigma": 0.1, "sigma_meta_steps": 1}


@pytest.mark.parametrize(
    ("kind", "sigmas", "expected"),
    [(PES, (0.5, 0.1), 2.0), (NRES, (0.5, 0.5), 2.0), (TruncatedES, (0.1, 0.1), 1.0)],
)
def test_a_sigma_that_shrinks_within_an_episode_leaves_the_expectation(kind, sigmas, expected):
    """The loss of window 2 is theta_1 + theta_2. Weighing all draws with the last sigma gives 26, not 2.

    The two-point rule is exact: each draw comes in twice.
    """
    system = Additive(jnp.ones(2), jnp.zeros(2))
    estimator = kind(**SHARED | {"horizon": ConstantHorizon(2), "window": 1}, **SCHEDULED)
    theta, key = jnp.asarray(THETA), jax.random.key(0)

    @jax.jit
    @jax.vmap
    def run(signs):
        state = estimator.init(system, theta)
        for meta_step, sign in enumerate(signs):
            now = jnp.asarray(meta_step, jnp.int32)
            noise = sign * estimator.sigma_at(now).astype(sign.dtype)
            state, estimate = estimator.step_with(system, theta, state, noise, key, now)
        return estimate.gradient, state.score

    nodes = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    last, score = run(nodes)
    np.testing.assert_allclose(np.mean(last), expected, rtol=1e-5)
    parts = {PES: (1 / sigmas[0], 1 / sigmas[1]), NRES: (2.0, 0.0), TruncatedES: (0.0, 10.0)}[kind]
    np.testing.assert_allclose(score, nodes @ jnp.asarray(parts), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [PES, FullES, PESAnalytic, CombinedES])
def test_noise_is_drawn_with_the_meta_steps_sigma(kind):
    estimator = kind(**SHARED, **SCHEDULED)
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(THETA)

    @functools.partial(jax.jit, static_argnames="estimator")
    def noise(estimator, meta_step):
        state = estimator.init(system, theta)
        state, _ = estimator.step(system, theta, state, jax.random.key(4), meta_step)
        pair = next(x for x in jax.tree.leaves(state, is_leaf=_is_pair) if _is_pair(x))
        return pair.noise, pair.score

    first, second = (noise(estimator, jnp.asarray(step, jnp.int32)) for step in (0, 1))
    np.testing.assert_allclose(second[0], 0.2 * first[0], rtol=1e-6)
    np.testing.assert_allclose(second[1], 5 * first[1], rtol=1e-6)
    constant = noise(dataclasses.replace(estimator, final_sigma=None), jnp.asarray(1, jnp.int32))
    np.testing.assert_allclose(constant, first, rtol=1e-6)
    assert abs(first[0]) > 1e-3


def _is_pair(tree):
    return hasattr(tree, "noise")
