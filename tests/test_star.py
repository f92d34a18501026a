"""STAR is Adam on a schedule in units of each tensor's first size, and its network can only bend that."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import STAR

HORIZON = 10
SHAPES = {"w": (4, 3), "b": (3,)}
STRONGEST = np.exp(0.3) + 0.3
WEAKEST = np.exp(-0.3) - 0.3

jitted_update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


def normal_tree(seed, size=1.0):
    rng = np.random.default_rng(seed)
    return {key: (size * rng.normal(size=shape)).astype(np.float32) for key, shape in SHAPES.items()}


PARAMS = normal_tree(0) | {"b": np.zeros(3, np.float32)}


def scaled(tree, size):
    return jax.tree.map(lambda x: np.float32(size) * x, tree)


def with_outputs(rule, direction, magnitude):
    """Replace the network by constants."""
    last = rule.layers[-1]
    constant = {"kernel": jnp.zeros_like(last["kernel"]), "bias": jnp.asarray([direction, magnitude])}
    return rule.replace(layers=(*rule.layers[:-1], constant))


@pytest.fixture(scope="module")
def untrained():
    return STAR.create(jax.random.key(0), hidden_size=2)


@pytest.fixture(scope="module")
def nominal(untrained):
    """STAR with its correction switched off."""
    return with_outputs(untrained, 0.0, 0.0)


def trajectory(rule, start=PARAMS, at=None, gradient_size=1.0, steps=4):
    """Updates of some steps at `at`, from a state made at `start`."""
    state, updates = rule.init(start, HORIZON), []
    for seed in range(steps):
        grads = normal_tree(10 + seed, gradient_size)
        update, state = jitted_update(rule, grads, state, start if at is None else at)
        updates.append(update)
    return updates


def size_of(tree):
    """Return S of each tensor: sqrt(rms(p)^2 + 0.1 rms(all)^2)."""
    everything = np.concatenate([np.ravel(p) for p in tree.values()])
    overall = np.mean(everything.astype(np.float64) ** 2)
    return {key: np.sqrt(np.mean(p.astype(np.float64) ** 2) + 0.1 * overall) for key, p in tree.items()}


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def assert_close(actual, expected, rtol=1e-5):
    for a, e in zip(actual, expected, strict=True):
        for key in SHAPES:
            np.testing.assert_allclose(a[key], e[key], rtol=rtol, atol=rtol * np.abs(e[key]).max())


# --- the nominal term ------------------------------------------------------------------------------------


def test_without_its_network_it_is_adam_times_schedule_and_size(nominal):
    adam = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
    adam_state, expected, size = adam.init(PARAMS), [], size_of(PARAMS)
    steps = HORIZON + 3  # beyond the horizon the rate stays at its last value
    for time in range(steps):
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            direction, adam_state = adam.update(normal_tree(10 + time), adam_state)
        rate = 0.066 * max(1.02 - time / HORIZON, 0.02)
        expected.append({key: -rate * size[key] * direction[key] for key in SHAPES})
    # 1 - 0.999 has a rounding error of 1e-5 in float32.
    assert_close(trajectory(nominal, steps=steps), expected, rtol=3e-5)


def test_the_schedule_is_learned(nominal):
    weights = np.float32(0.02 * np.arange(-4, 5))
    changed = nominal.replace(log_rate=jnp.asarray(0.05), schedule=jnp.asarray(weights))
    centres = np.array([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1])
    steps = HORIZON + 2
    expected = []
    for time, update in enumerate(trajectory(nominal, steps=steps)):
        fraction = min(time / HORIZON, 1)
        factor = np.exp(10 * (0.05 + weights @ np.tanh(10 * (fraction - centres))))
        expected.append({key: factor * np.asarray(update[key]) for key in SHAPES})
    assert_close(trajectory(changed, steps=steps), expected)


def test_the_horizon_stretches_the_schedule(nominal):
    def fourth_update(horizon):
        state = nominal.init(PARAMS, horizon)._replace(count=jnp.asarray(4))
        return jitted_update(nominal, normal_tree(10), state, PARAMS)[0]

    expected = scaled(fourth_update(10), (1.02 - 4 / 40) / (1.02 - 4 / 10))
    assert_close([fourth_update(40)], [expected])


def test_steps_scale_with_the_initial_parameters_and_not_with_the_gradients(nominal):
    expected = [scaled(update, 8) for update in trajectory(nominal)]
    assert_close(trajectory(nominal, start=scaled(PARAMS, 8), gradient_size=1 / 8), expected)


def test_the_unit_of_steps_is_frozen_at_the_start(nominal, untrained):
    # Nothing of the nominal term depends on where the parameters have gone ...
    assert_close(trajectory(nominal, at=scaled(PARAMS, 1000)), trajectory(nominal), rtol=0)
    # ... and of the correction, only normalised features do.
    moved = trajectory(untrained, at=scaled(PARAMS, 1000))
    for update, still in zip(moved, trajectory(untrained), strict=True):
        for key in SHAPES:
            assert WEAKEST / STRONGEST < rms(update[key]) / rms(still[key]) < STRONGEST / WEAKEST


@pytest.mark.parametrize("zero", [["b"], ["b", "w"]])
def test_tensors_that_start_at_zero_move(nominal, zero):
    start = PARAMS | {key: np.zeros(SHAPES[key], np.float32) for key in zero}
    (first,) = trajectory(nominal, start=start, steps=1)
    # Adam's first direction is the gradient's sign.
    unit = rms(np.concatenate([p.ravel() for p in start.values()])) or 1.0
    for key in zero:
        np.testing.assert_allclose(np.abs(first[key]), 0.066 * 1.02 * np.sqrt(0.1) * unit, rtol=1e-4)


# --- what the network can do -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_correction_is_bounded(untrained, nominal, seed):
    rng = np.random.default_rng(seed)
    layers = jax.tree.map(
        lambda x: x + rng.normal(scale=3.0, size=x.shape).astype(np.float32), untrained.layers
    )
    wild = untrained.replace(layers=layers)
    ratios = [
        rms(update[key]) / rms(expected[key])
        for update, expected in zip(trajectory(wild), trajectory(nominal), strict=True)
        for key in SHAPES
    ]
    assert min(ratios) > WEAKEST * 0.9999
    assert max(ratios) < STRONGEST * 1.0001
    assert max(abs(np.log(ratios))) > 0.05  # it does something


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_bounds_are_reached(untrained, nominal, sign):
    expected = trajectory(nominal)
    louder = [scaled(update, np.exp(0.3 * sign)) for update in expected]
    assert_close(trajectory(with_outputs(untrained, 0.0, 100.0 * sign)), louder)
    for update, plain in zip(trajectory(with_outputs(untrained, 100.0 * sign, 0.0)), expected, strict=True):
        for key in SHAPES:
            correction = np.asarray(update[key]) - np.asarray(plain[key])
            np.testing.assert_allclose(correction, -sign * 0.3 * rms(plain[key]), rtol=1e-4)


def test_without_gradients_it_stands_still(untrained):
    for update in trajectory(with_outputs(untrained, 1.0, 1.0), gradient_size=0.0):
        for key in SHAPES:
            np.testing.assert_allclose(update[key], 0, atol=1e-15)
