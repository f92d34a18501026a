"""Randomised telescopes are unbiased, exactly: every draw by its probability. Variances are known (T16)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    ConstantHorizon,
    LastLoss,
    LogUniformHorizon,
    RussianRoulette,
    SingleSample,
    SumLoss,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarTanh

STEPS, WINDOW = 12, 2
WINDOWS = STEPS // WINDOW
MEMBERS = {"single": SingleSample, "roulette": RussianRoulette}
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss()}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@functools.cache
def system():
    with jax.enable_x64(True):
        return ScalarTanh.draw(STEPS), jnp.asarray(0.4)


def every_draw(estimator, terms):
    """The probability of each draw, and the weights of the terms under it [draws, terms]."""
    q = np.asarray(estimator.probabilities(jnp.ones(terms, bool)))
    return q, np.stack([estimator.weights(jnp.asarray(n), jnp.asarray(q)) for n in range(terms)])


def by_term(estimator):
    """The gradient of each term of the system's episode, and which values an estimate may have."""
    gradients = np.asarray(window_gradients(*system(), WINDOWS, WINDOW))
    term = estimator.term_of_window
    return np.array([gradients[term == n].sum() for n in range(term[-1] + 1)])


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("options", [{}, {"terms": "doublings", "distribution": "power"}], ids=["", "power"])
def test_over_all_draws_the_mean_is_the_gradient_and_the_estimates_are_those_draws(member, options):
    estimator = MEMBERS[member](**SHARED, **options)
    terms = by_term(estimator)
    assert len(terms) == (4 if options else WINDOWS)
    q, weights = every_draw(estimator, len(terms))
    np.testing.assert_allclose(q @ weights, np.ones(len(terms)), rtol=1e-12)
    possible = weights @ terms
    np.testing.assert_allclose(q @ possible, terms.sum(), rtol=1e-12)
    keys = jax.random.split(jax.random.key(2), 4000)
    found = np.asarray(sample_estimates(estimator, *system(), keys, 1)[0])[:, 0]
    drawn = np.abs(found[:, None] - possible[None]).argmin(1)
    np.testing.assert_allclose(found, possible[drawn], rtol=1e-9)
    assert np.all(np.abs(z_score(drawn[:, None] == np.arange(len(terms)), q)) < 4)


@pytest.mark.parametrize("member", MEMBERS)
def test_terms_without_their_weights_are_rejected(member):
    """The same draws with weights of 1, which is what a random horizon gives."""
    estimator = MEMBERS[member](**SHARED)
    keys = jax.random.split(jax.random.key(3), 20_000)
    found = np.asarray(sample_estimates(estimator, *system(), keys, 1)[0])[:, 0]
    terms = by_term(estimator)
    q, weights = every_draw(estimator, WINDOWS)
    assert abs(z_score(found, terms.sum())) < 4
    assert abs(z_score(found, q @ (weights > 0) @ terms)) > 8


def test_a_final_loss_and_episodes_of_different_lengths_are_estimated_without_bias():
    """Of 2 or 4 windows: the draw is one of the terms that the episode has."""
    horizon = LogUniformHorizon(4, 8)
    estimator = RussianRoulette(horizon, 4, LastLoss(), distribution="uniform")
    keys = jax.random.split(jax.random.key(4), 20_000)
    found, states = sample_estimates(estimator, *system(), keys, 1)
    by_step = np.asarray(window_gradients(*system(), STEPS, 1))
    lengths = np.asarray(states.episode.age)[:, 0]
    assert set(lengths) == {4, 8}
    for length in (4, 8):
        of_this = np.asarray(found)[lengths == length, 0]
        if length == 4:  # one term, which is certain
            np.testing.assert_allclose(of_this, by_step[3], rtol=1e-9)
        else:
            assert np.unique(np.round(of_this, 9)).size == 2
            assert abs(z_score(of_this, by_step[7])) < 4


def variance(member, q, terms):
    """The exact variance of an estimate with given terms [terms, P]."""
    estimator = MEMBERS[member](**SHARED)
    weights = np.stack([estimator.weights(jnp.asarray(n), jnp.asarray(q)) for n in range(len(q))])
    return q @ np.sum((weights @ terms) ** 2, -1) - np.sum(terms.sum(0) ** 2)


def test_variances_of_a_known_series_are_the_published_ones():
    """T16: D_n = 1 / (n + 1)^2 and q ~ 2^-n over ten terms. Aligned terms favour the single sample."""
    q = np.asarray(SingleSample(**SHARED).probabilities(jnp.ones(10, bool)))
    np.testing.assert_allclose(q[1:] / q[:-1], 0.5, rtol=1e-12)
    terms = (1.0 / np.arange(1, 11) ** 2)[:, None]
    np.testing.assert_allclose(variance("single", q, terms), 0.403574, atol=1e-6)
    np.testing.assert_allclose(variance("roulette", q, terms), 1.279845, atol=1e-6)


def test_the_better_member_depends_on_whether_the_terms_are_aligned():
    """Orthogonal terms favour roulette under every q; for aligned ones a single sample can be exact."""
    sizes = 0.7 ** np.arange(6)
    orthogonal, aligned = np.diag(sizes), sizes[:, None] * np.ones((1, 3))
    for law in ("geometric", "power", "uniform"):
        q = np.asarray(SingleSample(**SHARED, distribution=law).probabilities(jnp.ones(6, bool)))
        assert variance("roulette", q, orthogonal) < 0.9 * variance("single", q, orthogonal)
    best = sizes / sizes.sum()
    assert abs(variance("single", best, aligned)) < 1e-12
    assert variance("roulette", best, aligned) > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distribution": "normal"}, "distribution must be geometric, power or uniform, not 'normal'"),
        ({"terms": "steps"}, "terms must be windows or doublings, not 'steps'"),
        ({"ratio": 0.0}, "ratio must be positive, not 0.0"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        SingleSample(**SHARED, **options)
