"""Implicit differentiation is exact at an optimum, and its truncated series is the truncated series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from lopt import UsageError
from meta_train import (
    BPTT,
    ConstantHorizon,
    HyperparameterTuning,
    ImplicitDifferentiation,
    LastLoss,
    sample_estimates,
    systems,
)

from .dynamics import Ridge

STEPS = 400
SHARED = {"horizon": ConstantHorizon(STEPS), "window": STEPS, "objective": LastLoss(), "phase": "lockstep"}
KEYS = jax.random.split(jax.random.key(0), 1)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def estimate(estimator):
    found, states = sample_estimates(estimator, Ridge.draw(), Ridge.theta(), KEYS, 1)
    return ravel_pytree(found)[0], np.asarray(states.episode.state)[0, 0]


def series(w, terms, rate):
    """The hypergradient at parameters w with so many terms (None: all), by numpy and in closed form."""
    system, theta = Ridge.draw(), Ridge.theta()
    l2 = float(np.exp(theta["log_l2"]))
    hessian = np.asarray(system.x.T @ system.x) + l2 * np.eye(3)
    slope = w - np.asarray(system.goal)
    if terms is None:
        solved = np.linalg.solve(hessian, slope)
    else:
        matrix = np.eye(3) - rate * hessian
        solved = rate * sum(np.linalg.matrix_power(matrix, j) @ slope for j in range(terms))
    return np.concatenate([[-solved @ (l2 * w)], np.asarray(theta["tilt"]) - solved])


def optimum():
    system, theta = Ridge.draw(), Ridge.theta()
    hessian = np.asarray(system.x.T @ system.x) + float(np.exp(theta["log_l2"])) * np.eye(3)
    return np.linalg.solve(hessian, np.asarray(system.x.T @ system.y) - np.asarray(theta["tilt"]))


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_with_some_terms_it_is_the_truncated_sum(terms):
    found, w = estimate(ImplicitDifferentiation(**SHARED, terms=terms, rate=0.3))
    np.testing.assert_allclose(found, series(w, terms, 0.3), rtol=1e-10)


def test_the_series_converges_to_the_analytic_hypergradient():
    found, w = estimate(ImplicitDifferentiation(**SHARED, terms=300, rate=0.5))
    np.testing.assert_allclose(w, optimum(), rtol=1e-9)
    analytic = series(optimum(), None, None)
    np.testing.assert_allclose(found, analytic, rtol=1e-9)
    # Few terms are rejected, and an optimum that is not there is, too.
    few, _ = estimate(ImplicitDifferentiation(**SHARED, terms=3, rate=0.5))
    early = SHARED | {"horizon": ConstantHorizon(3), "window": 3}
    unfinished, _ = estimate(ImplicitDifferentiation(**early, terms=300, rate=0.5))
    for wrong in (few, unfinished):
        assert np.linalg.norm(wrong - analytic) > 0.05 * np.linalg.norm(analytic)


def test_it_is_the_limit_of_backpropagation_through_the_way_to_the_optimum():
    whole, _ = estimate(BPTT(**SHARED))
    found, _ = estimate(ImplicitDifferentiation(**SHARED, terms=300, rate=0.5))
    np.testing.assert_allclose(found, whole, rtol=1e-8)


def test_tuned_training_has_an_inner_loss():
    """L2 of a quadratic, after enough steps: as by backpropagation through them."""
    with jax.enable_x64(False):
        problem = HyperparameterTuning(
            task=("quadratic",), tune=("l2",), start=("l2=0.3",), set=("learning_rate=0.5",)
        )
        dynamics, theta = problem.members()["quadratic"].dynamics, problem.theta(jax.random.key(0))
        by_series = ImplicitDifferentiation(**SHARED, terms=200, rate=0.5)
        gradients = [
            sample_estimates(one, dynamics, theta, KEYS, 1)[0]["l2"][0, 0]
            for one in (by_series, BPTT(**SHARED))
        ]
        np.testing.assert_allclose(*gradients, rtol=2e-3)
        assert abs(gradients[1]) > 1e-3


def test_what_it_cannot_see_is_refused_by_name():
    shared = SHARED | {"window": 10, "horizon": ConstantHorizon(20)}
    with jax.enable_x64(False):
        problem = HyperparameterTuning(task=("quadratic",), tune=("l2", "learning_rate"))
        dynamics, theta = problem.members()["quadratic"].dynamics, problem.theta(jax.random.key(0))
        with pytest.raises(UsageError, match="learning_rate is no part of the inner loss.*tune it by bptt"):
            ImplicitDifferentiation(**shared).init(dynamics, theta)
    with pytest.raises(UsageError, match="needs dynamics with an inner loss.*and Lorenz has none: take bptt"):
        ImplicitDifferentiation(**shared).init(systems.Lorenz.create(20), jnp.ones(2))


@pytest.mark.parametrize(("name", "value"), [("terms", 0), ("rate", 0.0)])
def test_numbers_that_must_be_positive_are_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be"):
        ImplicitDifferentiation(**SHARED, **{name: value})
