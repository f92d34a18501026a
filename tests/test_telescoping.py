"""A final or smallest loss as a telescoping sum: both ways to credit its changes are unbiased (T23)."""

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
    LastLoss,
    MinimumLoss,
    SumLoss,
    TruncatedES,
    expected_gradients,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarLinear, ScalarTanh, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
KEY = jax.random.key(0)
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "sigma": 0.3, "phase": "lockstep"}
CREDITS = ("causal", "total")
REMEMBERING = {"pes": PES(**SHARED), "gpes-2": GPES(**SHARED, noise_windows=2), "nres": NRES(**SHARED)}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def with_objective(name, objective, credit):
    return dataclasses.replace(REMEMBERING[name], objective=objective, credit=credit)


def end_gradients(system, theta):
    """The gradient of the loss of each window's last step, windows first."""
    return jax.tree.map(lambda g: g[WINDOW - 1 :: WINDOW], window_gradients(system, theta, STEPS, 1))


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("name", REMEMBERING)
def test_each_windows_expectation_is_the_gradient_of_the_final_losss_change(name, credit):
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    estimator = with_objective(name, LastLoss(), credit)
    expected = expected_gradients(estimator, system, theta, KEY, nodes=3)
    ends = np.asarray(end_gradients(system, theta))
    np.testing.assert_allclose(expected, np.diff(ends, prepend=0), atol=1e-10)
    assert abs(ends[-1]) > 0.1


@pytest.mark.parametrize("credit", CREDITS)
def test_an_episodes_expectation_is_the_final_losss_gradient_of_trees_too(credit):
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    estimator = with_objective("pes", LastLoss(), credit)
    expected = expected_gradients(estimator, system, theta, KEY, nodes=2)
    jax.tree.map(
        lambda e, x: np.testing.assert_allclose(e.sum(0), x[-1], atol=1e-10),
        expected,
        end_gradients(system, theta),
    )


def test_off_quadratics_both_have_the_same_expectation():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    causal, total = (
        expected_gradients(with_objective("pes", LastLoss(), credit), system, theta, KEY, nodes=20)
        for credit in CREDITS
    )
    np.testing.assert_allclose(causal, total, atol=1e-8)
    assert np.all(np.abs(causal) > 1e-3)


@pytest.mark.parametrize(
    ("name", "objective"), [("pes", LastLoss()), ("gpes-2", MinimumLoss()), ("nres", SumLoss())]
)
def test_total_credit_sums_to_the_whole_score_times_the_whole_objective(name, objective):
    """In every sample, over two episodes: the second remembers nothing of the first."""
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    keys = jax.random.split(jax.random.key(5), 4)
    found = {}
    for credit in CREDITS:
        estimator = with_objective(name, objective, credit)
        estimates, states = sample_estimates(estimator, system, theta, keys, 2 * WINDOWS)
        ends = slice(WINDOWS - 1, None, WINDOWS)
        plus, minus = np.moveaxis(np.asarray(states.pair.objective[:, ends]), -1, 0)
        whole = np.asarray(states.score[:, ends]) * (plus - minus) / 2
        found[credit] = np.asarray(estimates).reshape(4, 2, WINDOWS).sum(-1)
    np.testing.assert_allclose(found["total"], whole, rtol=1e-9, atol=1e-12)
    assert np.all(np.abs(whole) > 1e-6)
    if name == "nres":
        np.testing.assert_allclose(found["causal"], found["total"], rtol=1e-9, atol=1e-12)
    else:
        assert np.all(np.abs(found["causal"] - whole) > 1e-6)


@pytest.mark.parametrize(("objective", "pick"), [(LastLoss(), lambda x: x[-1]), (MinimumLoss(), min)])
def test_the_sum_of_changes_is_the_final_or_smallest_loss(objective, pick):
    system, theta = ScalarTanh.draw(STEPS), 0.4
    estimator = with_objective("nres", objective, "total")
    keys = jax.random.split(jax.random.key(5), 3)
    states = sample_estimates(estimator, system, jnp.asarray(theta), keys, WINDOWS)[1]
    for noise, pair in zip(states.noise[:, -1], states.pair.objective[:, -1], strict=True):
        for sign, objective in zip((1, -1), pair, strict=True):
            state, losses = system.init(jnp.asarray(theta), STEPS, KEY), []
            for _ in range(STEPS):
                state, loss = system.step(theta + sign * noise, state, KEY)
                losses.append(float(loss))
            np.testing.assert_allclose(objective, pick(losses), rtol=1e-10)
            assert len(set(losses)) == STEPS


@pytest.mark.parametrize("credit", CREDITS)
def test_sampled_episodes_have_the_final_losss_gradient_as_their_mean_and_truncated_es_has_not(credit):
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(0.4)
    exact = float(end_gradients(system, theta)[-1])
    keys = jax.random.split(jax.random.key(7), 20_000)
    estimator = with_objective("pes", LastLoss(), credit)
    sums = np.sum(sample_estimates(estimator, system, theta, keys, WINDOWS)[0], axis=1)
    assert abs(z_score(sums, exact)) < 4
    assert abs(z_score(sums, 0.0)) > 4
    truncated = TruncatedES(**SHARED, objective=LastLoss())
    sums = np.sum(sample_estimates(truncated, system, theta, keys, WINDOWS)[0], axis=1)
    assert abs(z_score(sums, exact)) > 10
