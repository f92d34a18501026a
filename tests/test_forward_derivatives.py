"""Forward derivatives are backpropagation's: RTRL exactly, DODGE over a basis, and in the limit of NRES."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import lopt
import tasks
from meta_train import (
    BPTT,
    DODGE,
    NRES,
    PES,
    RTRL,
    ConstantHorizon,
    InnerTraining,
    LastLoss,
    SumLoss,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarTanh, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
META_STEP = jnp.zeros((), jnp.int32)
KEYS = jax.random.split(jax.random.key(0), 1)
SYSTEMS = {"tanh": (ScalarTanh, lambda: jnp.asarray(0.4)), "vector": (VectorLinear, VectorLinear.theta)}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def close(found, expected, **tolerance):
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, **tolerance), found, expected)


@pytest.mark.parametrize("name", SYSTEMS)
def test_rtrl_gives_the_backpropagated_gradient_of_every_window(name):
    """Also of a second episode: nothing of the first is left over. The initial state may depend on theta."""
    system, theta = SYSTEMS[name][0].draw(STEPS), SYSTEMS[name][1]()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    found, _ = sample_estimates(RTRL(**SHARED), system, theta, KEYS, 2 * WINDOWS)
    twice = jax.tree.map(lambda g: jnp.concatenate([g, g]), exact)
    close(jax.tree.map(lambda g: g[0], found), twice, rtol=1e-9, atol=1e-12)


def test_rtrl_is_bptt_for_a_final_loss_too():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    shared = SHARED | {"objective": LastLoss()}
    online, _ = sample_estimates(RTRL(**shared), system, theta, KEYS, WINDOWS)
    whole, _ = sample_estimates(BPTT(**shared), system, theta, KEYS, 1)
    np.testing.assert_allclose(jnp.sum(online), whole[0, 0], rtol=1e-9)


def test_rtrl_is_bptt_on_inner_training():
    """Through random data and an optimizer's state, with the same keys."""
    dynamics = InnerTraining(tasks.Quadratic(dimension=3))
    theta = lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.1)
    shared = SHARED | {"window": STEPS}
    online, _ = sample_estimates(RTRL(**shared), dynamics, theta, KEYS, 1)
    whole, _ = sample_estimates(BPTT(**shared), dynamics, theta, KEYS, 1)
    close(online, whole, rtol=1e-4, atol=1e-7)
    assert max(np.abs(x).max() for x in jax.tree.leaves(whole)) > 1e-3


def along(estimator, system, theta, directions):
    """Run DODGE along given directions [windows, directions, ...]; return its estimates, windows first."""
    return _along(estimator, system, theta, directions)


@functools.partial(jax.jit, static_argnames="estimator")
def _along(estimator, system, theta, directions):
    def window(state, now):
        fresh, key = now
        state, estimate = estimator.step_along(system, theta, state, fresh, key, META_STEP)
        return state, estimate.gradient

    keys = jax.random.split(jax.random.key(0), WINDOWS)
    return jax.lax.scan(window, estimator.init(system, theta), (directions, keys))[1]


def test_dodge_over_an_orthonormal_basis_is_rtrl_exactly():
    """T22: P directions of length sqrt(P), orthogonal to one another."""
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    flat, unravel = ravel_pytree(theta)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(flat.size, flat.size)))[0]
    directions = jax.vmap(unravel)(jnp.asarray(basis * np.sqrt(flat.size)))
    every = jax.tree.map(lambda u: jnp.stack([u] * WINDOWS), directions)
    found = along(DODGE(**SHARED, directions=flat.size), system, theta, every)
    close(found, window_gradients(system, theta, WINDOWS, WINDOW), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("redraw", "smoothed"), [(None, NRES), (1, PES)])
def test_dodge_is_the_limit_of_evolution_strategies_for_small_sigma(redraw, smoothed):
    """T22: the same directions, sigma = 1e-4."""
    system, theta, sigma = ScalarTanh.draw(STEPS), jnp.asarray(0.4), 1e-4
    draws = jnp.asarray(np.random.default_rng(1).normal(size=WINDOWS))
    forward = along(DODGE(**SHARED, redraw_windows=redraw), system, theta, draws[:, None])
    family = smoothed(**SHARED, sigma=sigma)

    def window(state, eps):
        state, estimate = family.step_with(system, theta, state, sigma * eps, jax.random.key(0), META_STEP)
        return state, estimate.gradient

    evolved = jax.lax.scan(window, family.init(system, theta), draws)[1]
    np.testing.assert_allclose(evolved, forward, rtol=1e-6)
    assert np.all(np.abs(forward) > 1e-3)


@pytest.mark.parametrize("redraw", [None, 1, 2])
def test_dodge_is_unbiased_and_its_variance_is_that_of_noise_reuse(redraw):
    """On any graph, off quadratics too; (P + 1) |grad|^2 per episode when directions are kept."""
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    keys = jax.random.split(jax.random.key(3), 20_000)
    found, _ = sample_estimates(DODGE(**SHARED, redraw_windows=redraw), system, theta, keys, WINDOWS)
    sums = np.concatenate(
        [np.asarray(g.sum(1)).reshape(len(keys), -1) for g in jax.tree.leaves(found)], axis=1
    )
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    exact = np.concatenate([np.asarray(g.sum(0)).reshape(-1) for g in jax.tree.leaves(exact)])
    assert np.all(np.abs(z_score(sums, exact)) < 4)
    assert np.any(np.abs(z_score(sums, 1.2 * exact)) > 4)
    if redraw is None:
        trace = sums.var(0, ddof=1).sum()
        np.testing.assert_allclose(trace, (exact.size + 1) * np.sum(exact**2), rtol=0.05)


def test_more_directions_divide_the_variance():
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    keys = jax.random.split(jax.random.key(4), 4000)
    variances = []
    for directions in (1, 4):
        estimator = DODGE(**SHARED | {"window": STEPS}, directions=directions)
        found, _ = sample_estimates(estimator, system, theta, keys, 1)
        variances.append(sum(float(jnp.var(g, axis=0).sum()) for g in jax.tree.leaves(found)))
    np.testing.assert_allclose(variances[0] / variances[1], 4, rtol=0.1)


def test_rtrl_says_what_memory_it_would_need():
    dynamics = InnerTraining(tasks.Quadratic(dimension=50))
    theta = lopt.create("star", jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"numbers of state by 411 meta-parameters: \d+ MB a particle.*dodge"
    ):
        RTRL(**SHARED, max_megabytes=0.1).init(dynamics, theta)
    small = lopt.LearnableAdam.create(jax.random.key(0))
    assert RTRL(**SHARED).init(dynamics, small).tangents


@pytest.mark.parametrize(("name", "value"), [("directions", 0), ("redraw_windows", 0)])
def test_numbers_that_must_be_positive_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        DODGE(**SHARED, **{name: value})


def test_estimators_are_compared_by_their_configuration():
    assert dataclasses.replace(DODGE(**SHARED), directions=2) == DODGE(**SHARED, directions=2)
