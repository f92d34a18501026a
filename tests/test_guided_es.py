"""Guided ES: noise of the covariance that it says, whose mean and variance follow exactly (T15).

Expectations over its normal draws are computed with the product Gauss-Hermite rule, by letting
`jax.random.normal` return the nodes.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import (
    NRES,
    ConstantHorizon,
    Dynamics,
    GuidedES,
    SumLoss,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarTanh, VectorLinear

STEPS, WINDOW, SIZE, SIGMA = 4, 2, 3, 0.3
META_STEP = jnp.zeros((), jnp.int32)
KEY = jax.random.key(0)
SURROGATES = np.random.default_rng(8).normal(size=(2, SIZE))


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make(window=STEPS, **options):
    settings = {"sigma": SIGMA, "alpha": 0.3} | options
    return GuidedES(ConstantHorizon(STEPS), window, SumLoss(), "lockstep", **settings)


def rule(nodes, dimensions):
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(itertools.product(points, repeat=dimensions)))
    products = np.prod(list(itertools.product(weights / weights.sum(), repeat=dimensions)), axis=1)
    return jnp.asarray(grid), products


def over_normals(monkeypatch, function, nodes, dimensions):
    """Evaluate a function at every node of the normal draws; return values and weights."""
    points, weights = rule(nodes, dimensions)

    def at(point):
        monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype=float: point.reshape(shape))
        return function()

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(at))(points)), weights


def episode(estimator, surrogates):
    """The sum of an episode's estimates, with given surrogates at its start, flat."""
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    state = estimator.init(system, theta).replace(surrogates=jnp.asarray(surrogates))
    total = jnp.zeros(SIZE)
    for key in jax.random.split(KEY, STEPS // estimator.window):
        state, estimate = estimator.step(system, theta, state, key, META_STEP)
        total += ravel_pytree(estimate.gradient)[0]
    return total


def shape(directions, alpha=0.3):
    """C = alpha I + (1 - alpha) (P / k) U U^T."""
    basis = np.linalg.svd(SURROGATES[:directions], full_matrices=False)[2].T
    return alpha * np.eye(SIZE) + (1 - alpha) * SIZE / directions * basis @ basis.T


def exact_gradient():
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    return np.asarray(
        ravel_pytree(jax.tree.map(lambda g: g[0], window_gradients(system, theta, 1, STEPS)))[0]
    )


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_noise_has_the_covariance_it_says_whatever_the_surrogates_scale(monkeypatch, directions, scale):
    estimator = make(directions=directions)
    surrogates = jnp.asarray(scale * SURROGATES[:directions])
    draw = lambda: estimator.draw(KEY, jnp.zeros(SIZE), surrogates)  # noqa: E731
    (noise, weights), chances = over_normals(monkeypatch, draw, 2, SIZE + directions)
    covariance = np.einsum("n,ni,nj", chances, noise, noise)
    np.testing.assert_allclose(covariance, SIGMA**2 * shape(directions), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.trace(covariance), SIGMA**2 * SIZE, rtol=1e-10)  # as isotropic noise
    np.testing.assert_allclose(weights, noise / SIGMA**2, rtol=1e-10)


def test_without_any_surrogate_the_noise_still_has_its_trace(monkeypatch):
    draw = lambda: make().draw(KEY, jnp.zeros(SIZE), jnp.zeros((1, SIZE)))  # noqa: E731
    (noise, _), chances = over_normals(monkeypatch, draw, 2, SIZE + 1)
    np.testing.assert_allclose(np.einsum("n,ni,ni", chances, noise, noise), SIGMA**2 * SIZE, rtol=1e-10)


@pytest.mark.parametrize(("directions", "window"), [(1, STEPS), (2, STEPS), (1, WINDOW)])
def test_its_mean_is_c_times_the_gradient_and_corrected_the_gradient(monkeypatch, directions, window):
    gradient = exact_gradient()
    shaped = shape(directions) @ gradient
    for corrected, expected in ((False, shaped), (True, gradient)):
        estimator = make(window, directions=directions, corrected=corrected)
        run = lambda e=estimator: episode(e, SURROGATES[:directions])  # noqa: E731
        found, chances = over_normals(monkeypatch, run, 2, SIZE + directions)
        np.testing.assert_allclose(chances @ found, expected, rtol=1e-9)
    assert np.linalg.norm(shaped - gradient) > 0.3 * np.linalg.norm(gradient)
    assert shaped @ gradient > 0


def test_its_variance_is_that_of_the_formula(monkeypatch):
    """|g|^2 (rho^2 (P a + a^2) + (1 - rho^2) (P b + b^2)): the published one with beta = P."""
    gradient, alpha = exact_gradient(), 0.3
    run = lambda: episode(make(), SURROGATES[:1])  # noqa: E731
    found, chances = over_normals(monkeypatch, run, 3, SIZE + 1)
    variance = chances @ np.sum((found - chances @ found) ** 2, axis=1)
    within = (SURROGATES[0] @ gradient) ** 2 / np.sum(SURROGATES[0] ** 2) / np.sum(gradient**2)
    a, b = alpha + (1 - alpha) * SIZE, alpha
    expected = within * (SIZE * a + a**2) + (1 - within) * (SIZE * b + b**2)
    np.testing.assert_allclose(variance, np.sum(gradient**2) * expected, rtol=1e-9)


def test_samples_reject_the_gradient_and_corrected_accept_it():
    """In the second episode, whose surrogates are the particle's own."""
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    keys, gradient = jax.random.split(jax.random.key(4), 4000), exact_gradient()
    for corrected in (True, False):
        found, states = sample_estimates(make(corrected=corrected), system, theta, keys, 2)
        flat = np.concatenate([np.asarray(x)[:, 1].reshape(len(keys), -1) for x in jax.tree.leaves(found)], 1)
        scores = np.abs(z_score(flat, gradient)).max()
        assert scores < 4 if corrected else scores > 10
    assert len(np.unique(states.surrogates[:, 0, 0, 0])) > 1000


def test_with_alpha_one_it_is_noise_reuse():
    """Under the same noise, its estimate is that of NRES, and its noise is isotropic."""
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    guided = make(WINDOW, alpha=1.0)
    reused = NRES(ConstantHorizon(STEPS), WINDOW, SumLoss(), "lockstep", sigma=SIGMA)
    one, other = guided.init(system, theta), reused.init(system, theta)
    for key in jax.random.split(KEY, 3):
        one, estimate = guided.step(system, theta, one, key, META_STEP)
        fresh, rest = one.reused.noise, jax.random.split(key)[1]
        other, expected = reused.step_with(system, theta, other, fresh, rest, META_STEP)
        np.testing.assert_allclose(estimate.gradient, expected.gradient, rtol=1e-12)
        assert estimate.metrics["loss"] == expected.metrics["loss"]
    plain = SIGMA * jax.random.normal(KEY, (SIZE + 1,))[:SIZE]
    drawn, _ = guided.draw(KEY, jnp.zeros(SIZE), jnp.asarray(SURROGATES[:1]))
    np.testing.assert_allclose(drawn, plain, rtol=1e-12)


def test_surrogates_are_the_perturbed_windows_truncated_gradients_newest_first():
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    keys, windows = jax.random.split(jax.random.key(4), 3), STEPS // WINDOW
    _, states = sample_estimates(make(WINDOW, directions=2), system, theta, keys, windows + 1)
    for particle in range(len(keys)):
        own = jax.tree.map(lambda x, p=particle: x[p], states)
        gradients = []
        for first, last in ((0, windows), (windows, windows + 1)):
            perturbed = jax.tree.map(lambda t, e, w=first: t + e[w], theta, own.reused.noise)
            tree = window_gradients(system, perturbed, windows, WINDOW, truncated=True)
            flat = [np.asarray(leaf).reshape(windows, -1) for leaf in jax.tree.leaves(tree)]
            gradients.extend(np.concatenate(flat, axis=1)[: last - first])
        np.testing.assert_allclose(own.surrogates[0], [gradients[0], np.zeros(SIZE)], rtol=1e-9)
        for window in range(1, windows + 1):
            expected = [gradients[window], gradients[window - 1]]
            np.testing.assert_allclose(own.surrogates[window], expected, rtol=1e-9)


class Kinked(Dynamics):
    """The loss is finite, and its gradient not a number."""

    def init(self, theta, horizon, key):
        return ()

    def step(self, theta, state, key):
        return (), jnp.sum(theta) + jnp.sqrt(0 * jnp.sum(theta) ** 2)


def test_a_gradient_that_is_not_finite_is_no_surrogate():
    estimator, theta = make(), jnp.arange(3.0)
    state = estimator.init(Kinked(), theta).replace(surrogates=jnp.asarray(SURROGATES[:1]))
    after, estimate = estimator.step(Kinked(), theta, state, KEY, META_STEP)
    np.testing.assert_array_equal(after.surrogates, SURROGATES[:1])
    assert np.all(np.isfinite(estimate.gradient))
    assert np.any(estimate.gradient != 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"directions": 0}, "directions must be at least 1"),
        ({"alpha": 0.0}, r"alpha is a share of the variance in \(0, 1\]"),
        ({"alpha": 1.1}, r"alpha is a share of the variance in \(0, 1\]"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_more_directions_than_meta_parameters_are_refused():
    with pytest.raises(ValueError, match="spans 4 directions, but theta has 3 numbers: take at most 3"):
        make(directions=4).init(VectorLinear.draw(STEPS), VectorLinear.theta())
    assert dataclasses.replace(make(), directions=3).init(VectorLinear.draw(STEPS), VectorLinear.theta())
