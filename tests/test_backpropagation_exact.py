"""Backpropagation through time is exact over episodes, and over windows the truncated gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    BPTT,
    ConstantHorizon,
    LastLoss,
    LogUniformHorizon,
    MinimumLoss,
    SumLoss,
    TruncatedBPTT,
    sample_estimates,
    window_gradients,
    window_losses,
)

from .dynamics import ScalarLinear, ScalarTanh, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
META_STEP = jnp.zeros((), jnp.int32)
KEYS = jax.random.split(jax.random.key(0), 1)
SYSTEMS = {
    "linear": (ScalarLinear, lambda: jnp.asarray(0.4)),
    "tanh": (ScalarTanh, lambda: jnp.asarray(0.4)),
    "vector": (VectorLinear, VectorLinear.theta),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def system_and_theta(name):
    system, theta = SYSTEMS[name]
    return system.draw(STEPS), theta()


def estimates(estimator, system, theta, steps):
    """The estimates of one particle, steps first."""
    gradients, _ = sample_estimates(estimator, system, theta, KEYS, steps)
    return jax.tree.map(lambda g: g[0], gradients)


def close(found, expected, **tolerance):
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, **tolerance), found, expected)


@pytest.mark.parametrize("rematerialise", [False, True])
@pytest.mark.parametrize("window", [1, WINDOW, STEPS])
@pytest.mark.parametrize("name", SYSTEMS)
def test_bptt_is_the_gradient_of_the_whole_episode(name, window, rematerialise):
    """T1's other side; whatever the window is, and in every step anew."""
    system, theta = system_and_theta(name)
    estimator = BPTT(**SHARED | {"window": window}, rematerialise=rematerialise)
    exact = jax.grad(lambda theta: window_losses(system, [theta], STEPS)[0])(theta)
    found = estimates(estimator, system, theta, 2)
    for episode in range(2):
        close(jax.tree.map(lambda g, e=episode: g[e], found), exact, rtol=1e-10)


@pytest.mark.parametrize("rematerialise", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_truncated_bptt_is_the_truncated_gradient_of_each_window(name, rematerialise):
    system, theta = system_and_theta(name)
    truncated = window_gradients(system, theta, WINDOWS, WINDOW, truncated=True)
    found = estimates(TruncatedBPTT(**SHARED, rematerialise=rematerialise), system, theta, WINDOWS)
    close(found, truncated, rtol=1e-10)


def test_truncation_turns_the_sign_of_the_published_example():
    system, theta = system_and_theta("linear")
    found = estimates(TruncatedBPTT(**SHARED), system, theta, WINDOWS)
    np.testing.assert_allclose(found, [0.02345455, -0.33224260, 1.12377578], atol=5e-9)
    assert window_gradients(system, theta, WINDOWS, WINDOW)[2] < -0.5 < 0.5 < found[2]


def test_with_the_window_as_long_as_the_horizon_both_are_the_same():
    system, theta = system_and_theta("tanh")
    shared = SHARED | {"window": STEPS}
    one, other = (estimates(cls(**shared), system, theta, 2) for cls in (BPTT, TruncatedBPTT))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("horizon", [2, 4, 6])
def test_a_shorter_episode_than_the_longest_has_its_own_gradient(horizon):
    """What the compiled loop has left over adds nothing."""
    system, theta = system_and_theta("tanh")
    estimator = BPTT(**SHARED | {"horizon": LogUniformHorizon(2, 6)})
    keys = jax.random.split(jax.random.key(1), 40)
    gradients, states = sample_estimates(estimator, system, theta, keys, 1)
    chosen = np.asarray(states.episode.horizon[:, 0]) == horizon
    assert chosen.any()
    exact = jax.grad(lambda theta: window_losses(system, [theta], horizon)[0])(theta)
    np.testing.assert_allclose(gradients[chosen][:, 0], np.full(chosen.sum(), exact), rtol=1e-10)
    assert np.all(states.age[chosen] == horizon)


@pytest.mark.parametrize("objective", [LastLoss(), MinimumLoss()])
def test_telescoping_objectives_have_the_gradient_of_what_they_telescope_to(objective):
    system, theta = system_and_theta("tanh")
    found = estimates(BPTT(**SHARED | {"objective": objective}), system, theta, 1)[0]
    single = lambda theta: window_losses(system, [theta] * STEPS, 1)  # noqa: E731
    chosen = -1 if isinstance(objective, LastLoss) else int(np.argmin(single(theta)))
    np.testing.assert_allclose(found, jax.jacrev(single)(theta)[chosen], rtol=1e-10)


class Wide(ScalarLinear):
    """A step that computes much more than it keeps."""

    def init(self, theta, horizon, key):
        return jnp.ones_like(theta), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        s, t = state
        hidden = s * jnp.linspace(0.1, 1.0, 256)
        for _ in range(6):
            hidden = jnp.tanh(hidden + jnp.roll(hidden, 1) * theta)
        s = jnp.mean(hidden)
        return (s, t + 1), s**2


@pytest.mark.parametrize("cls", [BPTT, TruncatedBPTT])
@pytest.mark.usefixtures("optimised")
def test_rematerialising_takes_less_memory_and_gives_the_same(cls):
    """Counted in the compiled program: bytes of temporaries."""
    steps, window = (64, 8) if cls is BPTT else (64, 64)
    system, theta = Wide(jnp.ones(steps), jnp.ones(steps)), jnp.asarray(0.3)
    plain = cls(ConstantHorizon(steps), window, SumLoss())
    bytes_of, results = [], []
    for estimator in (plain, dataclasses.replace(plain, rematerialise=True)):
        step = jax.jit(lambda theta, state, estimator=estimator: estimator.step(
            system, theta, state, KEYS[0], META_STEP
        ))  # fmt: skip
        state = estimator.init(system, theta)
        compiled = step.lower(theta, state).compile()
        bytes_of.append(compiled.memory_analysis().temp_size_in_bytes)
        results.append(compiled(theta, state)[1].gradient)
    np.testing.assert_allclose(*results, rtol=1e-10)
    assert results[0] != 0
    assert bytes_of[1] < bytes_of[0] / 4
