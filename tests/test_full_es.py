"""Full ES runs whole episodes: the sum of what noise reuse says window by window."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    NRES,
    ConstantHorizon,
    FullES,
    LogUniformHorizon,
    MeanLoss,
    SumLoss,
    expected_gradients,
    window_gradients,
    window_losses,
)

from .dynamics import ScalarLinear, ScalarTanh, VectorLinear

STEPS, SIGMA, THETA = 6, 0.3, 0.4
META_STEP = jnp.zeros((), jnp.int32)
NOISES = SIGMA * np.random.default_rng(4).normal(size=20)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make(kind, horizon, window, objective=None):
    return kind(horizon, window, objective or SumLoss(), "lockstep", sigma=SIGMA)


@functools.partial(jax.jit, static_argnames=("estimator", "steps"))
def under(estimator, system, noises, keys, steps=1):
    """The sum of the first estimates under each noise, the state after them, and the last metrics."""

    def particle(noise, key):
        theta = jnp.asarray(THETA)
        state, total = estimator.init(system, theta), 0.0
        for _ in range(steps):
            state, estimate = estimator.step_with(system, theta, state, noise, key, META_STEP)
            total += estimate.gradient
        return total, state, estimate.metrics

    return jax.vmap(particle)(noises, keys)


def run(estimator, steps=1, system=ScalarTanh, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(NOISES))
    return under(estimator, system.draw(STEPS), jnp.asarray(NOISES), keys, steps)


@pytest.mark.parametrize("window", [1, 2, 6])
def test_it_is_the_sum_over_windows_of_noise_reuse(window):
    constant = ConstantHorizon(STEPS)
    full, ended, _ = run(make(FullES, constant, window))
    reused, _, _ = run(make(NRES, constant, window), STEPS // window)
    np.testing.assert_allclose(full, reused, rtol=1e-11)
    # Which is the textbook's estimate, in which no window occurs.
    losses = [
        [window_losses(ScalarTanh.draw(STEPS), [THETA + s * e], STEPS)[0] for s in (1, -1)] for e in NOISES
    ]
    textbook = [e * (p - m) / (2 * SIGMA**2) for e, (p, m) in zip(NOISES, losses, strict=True)]
    np.testing.assert_allclose(full, textbook, rtol=1e-11)
    assert np.all(ended.pair.age == STEPS)


def test_every_step_is_an_episode_of_its_own():
    estimator = make(FullES, ConstantHorizon(STEPS), 2)
    once, _, _ = run(estimator)
    twice, state, metrics = run(estimator, 2)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)
    assert np.all(state.episodes == 2)
    assert np.all(metrics["finished"] == 1)


@pytest.mark.parametrize("objective", [SumLoss(), MeanLoss()])
def test_a_shorter_episode_is_what_a_horizon_of_its_length_gives(objective):
    """What the compiled loop runs after its end adds nothing to the estimate, the state or the metrics."""
    varied, state, metrics = run(make(FullES, LogUniformHorizon(2, STEPS), 2, objective), seed=3)
    lengths = np.asarray(state.pair.horizon[:, 0])
    assert set(lengths) == {2, 4, 6}
    np.testing.assert_array_equal(state.pair.age[:, 0], lengths)
    system = ScalarTanh.draw(STEPS)
    for steps in (2, 4, 6):
        chosen = lengths == steps
        constant, alone, its_metrics = run(make(FullES, ConstantHorizon(steps), 2, objective), seed=3)
        np.testing.assert_allclose(varied[chosen], constant[chosen], rtol=1e-11)
        np.testing.assert_allclose(state.pair.state[0][chosen], alone.pair.state[0][chosen], rtol=1e-11)
        for name, values in metrics.items():
            np.testing.assert_allclose(values[chosen], its_metrics[name][chosen], rtol=1e-6, err_msg=name)
        # The loss metric is the mean over the real steps, of both members.
        for noise, loss in zip(NOISES[chosen], metrics["loss"][chosen], strict=True):
            sums = [window_losses(system, [THETA + sign * noise], steps)[0] for sign in (1, -1)]
            np.testing.assert_allclose(loss, np.mean(sums) / steps, rtol=1e-6)


@pytest.mark.parametrize(("system", "nodes"), [(ScalarLinear, 7), (VectorLinear, 2)])
def test_on_quadratics_its_expectation_is_the_gradient(system, nodes):
    theta = jnp.asarray(THETA) if system is ScalarLinear else VectorLinear.theta()
    drawn = system.draw(STEPS)
    found = expected_gradients(
        make(FullES, ConstantHorizon(STEPS), STEPS), drawn, theta, jax.random.key(0), nodes
    )
    exact = window_gradients(drawn, theta, 1, STEPS)
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-9), found, exact)


def test_it_counts_both_members_of_the_longest_episode():
    assert make(FullES, LogUniformHorizon(2, STEPS), 2).steps_per_window == 2 * STEPS
