"""A loss or a state that overflows costs its own derivative, not the episode's: forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    ARTBP,
    BPTT,
    DODGE,
    RTRL,
    UORO,
    ConstantHorizon,
    Dynamics,
    GuidedES,
    PESAnalytic,
    SumLoss,
    TruncatedBPTT,
    sample_estimates,
    z_score,
)

STEPS, WINDOW, THETA = 6, 2, jnp.asarray([0.3, -0.2])
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
EXACT = {"bptt": BPTT(**SHARED), "bptt-again": BPTT(**SHARED, rematerialise=True), "rtrl": RTRL(**SHARED)}


class Spiky(Dynamics):
    """s' = s / 2 + theta with loss |s'|^2; at some steps the loss overflows, at some the state."""

    losses: jax.Array
    states: jax.Array

    def init(self, theta, horizon, key):
        return 1 + theta, jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        s, t = state
        ahead = s / 2 + theta + jnp.exp(self.states[t] * s) - 1
        return (ahead, t + 1), jnp.sum(s**2) + jnp.sum(jnp.exp(self.losses[t] * s) - 1)

    @property
    def ceiling(self):
        return 100.0


def spiky(losses=(), states=()):
    """Let the loss, or the state, overflow at some steps."""
    heights = np.zeros((2, STEPS), np.float32)
    heights[0, list(losses)] = heights[1, list(states)] = 1000
    return Spiky(*jnp.asarray(heights))


def gradient(steps, truncated=False):
    """Of the losses of some steps of the graph that overflows nowhere, window by window."""
    smooth = spiky()

    def total(theta):
        state, losses = smooth.init(theta, None, None), []
        for t in range(STEPS):
            if truncated and t and t % WINDOW == 0:
                state = jax.lax.stop_gradient(state)
            state, loss = smooth.step(theta, state, None)
            losses.append(loss if t in steps else 0 * loss)
        return jnp.stack(losses).reshape(-1, WINDOW).sum(1)

    return np.asarray(jax.jacrev(total)(THETA))


def estimates(estimator, system, particles=1):
    keys = jax.random.split(jax.random.key(0), particles)
    windows = 1 if estimator.whole_episodes else STEPS // WINDOW
    return np.asarray(sample_estimates(estimator, system, THETA, keys, windows)[0])


CASES = {
    "a loss": ({"losses": (2,)}, {0, 1, 3, 4, 5}),
    "losses of a window": ({"losses": (2, 3)}, {0, 1, 4, 5}),
    "the last loss": ({"losses": (5,)}, {0, 1, 2, 3, 4}),
    # The loss of the step in which the state overflows is the state's before it.
    "the state": ({"states": (3,)}, {0, 1, 2, 3}),
    "the state at once": ({"states": (0,)}, {0}),
    "both": ({"losses": (1, 3), "states": (3,)}, {0, 2}),
}


@pytest.mark.parametrize(("overflows", "usable"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("estimator", EXACT.values(), ids=EXACT.keys())
def test_the_derivative_is_that_of_the_losses_that_are_usable(estimator, overflows, usable):
    found = estimates(estimator, spiky(**overflows))[0]
    expected = gradient(usable)
    np.testing.assert_allclose(found.sum(0), expected.sum(0), rtol=1e-5)
    assert np.any(expected.sum(0) != gradient(range(STEPS)).sum(0))


@pytest.mark.parametrize(("overflows", "usable"), CASES.values(), ids=CASES.keys())
def test_each_window_truncated_has_its_own(overflows, usable):
    found = estimates(TruncatedBPTT(**SHARED), spiky(**overflows))[0]
    np.testing.assert_allclose(found, gradient(usable, truncated=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [ARTBP, DODGE, UORO])
@pytest.mark.parametrize("case", ["a loss", "the state"])
def test_sampled_derivatives_are_right_on_average(kind, case):
    overflows, usable = CASES[case]
    samples = estimates(kind(**SHARED), spiky(**overflows), particles=4000).sum(1)
    assert np.all(np.isfinite(samples))
    assert np.all(np.abs(z_score(samples, gradient(usable).sum(0))) < 4)


@pytest.mark.parametrize("kind", [GuidedES, PESAnalytic])
def test_estimates_that_take_a_gradient_along_are_finite(kind):
    found = estimates(kind(**SHARED, sigma=0.1), spiky(losses=(2,), states=(4,)), particles=20)
    assert np.all(np.isfinite(found))
    assert np.any(found != 0)


def test_numbers_that_are_infinite_all_along_stop_no_derivative():
    """A running minimum may begin at infinity."""

    class Best(Spiky):
        def init(self, theta, horizon, key):
            return super().init(theta, horizon, key), jnp.full((), jnp.inf)

        def step(self, theta, state, key):
            inner, loss = super().step(theta, state[0], key)
            return (inner, state[1]), loss

    found = estimates(BPTT(**SHARED), Best(*jax.tree.leaves(spiky())))[0]
    np.testing.assert_allclose(found[0], gradient(range(STEPS)).sum(0), rtol=1e-5)
