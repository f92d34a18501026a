"""Randomly truncated backpropagation is unbiased, exactly: every pattern of cuts, by its probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    ARTBP,
    BPTT,
    ConstantHorizon,
    SumLoss,
    TruncatedBPTT,
    sample_estimates,
    window_gradients,
    z_score,
)

from .dynamics import ScalarTanh, VectorLinear

STEPS = 5
ESTIMATOR = ARTBP(ConstantHorizon(STEPS), 1, SumLoss(), "lockstep", length=3.0, alpha=4.0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def cut_gradient(system, theta, cuts):
    """The compensated gradient under given cuts before each step, and the cuts' probability, by a loop."""

    def total(theta):
        state = system.init(theta, jnp.asarray(STEPS), jax.random.key(0))
        since, losses = 0, 0.0
        for cut in cuts:
            chance = 3 / (2 * 3.0 + since)
            s, t = state
            fixed = jax.lax.stop_gradient(s)
            s = fixed if cut else fixed + (s - fixed) / (1 - chance)
            since = 1 if cut else since + 1
            state, loss = system.step(theta, (s, t), jax.random.key(0))
            losses += loss
        return losses

    probability, since = 1.0, 0
    for cut in cuts:
        chance = 3 / (2 * 3.0 + since)
        probability *= chance if cut else 1 - chance
        since = 1 if cut else since + 1
    return jax.grad(total)(theta), probability


@pytest.mark.parametrize("system", [ScalarTanh, VectorLinear])
def test_over_all_patterns_of_cuts_the_mean_is_the_gradient(system):
    theta = jnp.asarray(0.4) if system is ScalarTanh else VectorLinear.theta()
    drawn = system.draw(STEPS)
    exact, _ = sample_estimates(
        BPTT(ConstantHorizon(STEPS), STEPS, SumLoss()),
        drawn,
        theta,
        jax.random.split(jax.random.key(0), 1),
        1,
    )
    patterns = [cut_gradient(drawn, theta, cuts) for cuts in itertools.product([True, False], repeat=STEPS)]
    np.testing.assert_allclose(sum(p for _, p in patterns), 1, rtol=1e-12)
    mean = jax.tree.map(
        lambda *g: sum(x * p for x, (_, p) in zip(g, patterns, strict=True)), *[g for g, _ in patterns]
    )
    jax.tree.map(lambda m, e: np.testing.assert_allclose(m, e[0, 0], rtol=1e-9), mean, exact)
    # The estimator's own draws are such patterns, and as frequent as they should be.
    keys = jax.random.split(jax.random.key(5), 8000)
    found, _ = sample_estimates(ESTIMATOR, drawn, theta, keys, 1)
    leaf = lambda tree: np.asarray(jax.tree.leaves(tree)[0]).reshape(-1)  # noqa: E731
    values = np.asarray(jax.tree.leaves(found)[0]).reshape(len(keys), -1)
    possible = np.stack([leaf(g) for g, _ in patterns])
    nearest = np.abs(values[:, None] - possible[None]).max(-1).argmin(1)
    assert np.all(np.abs(values - possible[nearest]).max(-1) < 1e-9)
    assert abs(z_score(values[:, 0], leaf(exact)[0])) < 4


def test_truncation_without_compensation_is_rejected():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    keys = jax.random.split(jax.random.key(6), 20_000)
    sums = np.asarray(sample_estimates(ESTIMATOR, system, theta, keys, 1)[0]).sum(1)
    exact = float(window_gradients(system, theta, 1, STEPS)[0])
    truncated = TruncatedBPTT(ConstantHorizon(STEPS), 1, SumLoss(), "lockstep")
    biased = float(np.sum(sample_estimates(truncated, system, theta, keys[:1], STEPS)[0]))
    assert abs(z_score(sums, exact)) < 4
    assert abs(z_score(sums, biased)) > 10


def test_without_cuts_it_is_bptt():
    """A very long length: the gates are open, and the factors 1."""
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    keys = jax.random.split(jax.random.key(6), 3)
    rare = ARTBP(ConstantHorizon(STEPS), 1, SumLoss(), length=1e9)
    found, states = sample_estimates(rare, system, theta, keys, 1)
    np.testing.assert_allclose(found[:, 0], [window_gradients(system, theta, 1, STEPS)[0]] * 3, rtol=1e-7)
    assert np.all(states.age == STEPS)


def test_the_gates_leave_the_forward_pass_alone():
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(0.4)
    keys = jax.random.split(jax.random.key(6), 4)
    _, gated = sample_estimates(ESTIMATOR, system, theta, keys, 1)
    _, plain = sample_estimates(BPTT(ConstantHorizon(STEPS), 1, SumLoss()), system, theta, keys, 1)
    np.testing.assert_allclose(gated.episode.objective, plain.episode.objective, rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"), [({"alpha": 2.0}, "alpha must be above 2"), ({"length": 1.5}, "above 1.5")]
)
def test_laws_without_a_mean_or_with_certain_cuts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ARTBP(ConstantHorizon(STEPS), 1, **{"length": 3.0} | options)
