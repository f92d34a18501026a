"""MuonSTAR is Muon and NAdam on a schedule, in units of first sizes, and its networks can only bend that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import Layout, MuonSTAR
from lopt.orthogonal import orthogonalise

HORIZON = 10
SHAPES = {"w": (4, 3), "b": (3,)}
B = 0  # the first of the tensors in the order of a tree
MATRIX = Layout((0,), (1,))
STRONGEST, WEAKEST = np.exp(0.3) + 0.3, np.exp(-0.3) - 0.3
SHARE = 1 / (1 + np.exp(-1.5))

jitted_update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


def normal_tree(seed, size=1.0):
    rng = np.random.default_rng(seed)
    return {key: (size * rng.normal(size=shape)).astype(np.float32) for key, shape in SHAPES.items()}


PARAMS = normal_tree(0) | {"b": np.zeros(3, np.float32)}


def scaled(tree, size):
    return jax.tree.map(lambda x: np.float32(size) * x, tree)


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


@pytest.fixture(scope="module")
def untrained():
    return MuonSTAR.create(jax.random.key(0), hidden_size=2)


def with_outputs(rule, direction, magnitude):
    """Replace the per-parameter network by constants."""
    last = rule.layers[-1]
    constant = {"kernel": jnp.zeros_like(last["kernel"]), "bias": jnp.asarray([direction, magnitude])}
    return rule.replace(layers=(*rule.layers[:-1], constant))


def with_pace(rule, output):
    last = rule.pace[-1]
    constant = {"kernel": jnp.zeros_like(last["kernel"]), "bias": jnp.asarray([output], jnp.float32)}
    return rule.replace(pace=(*rule.pace[:-1], constant))


def trajectory(rule, start=PARAMS, at=None, gradient_size=1.0, steps=4):
    """Updates of some steps: the first at `start`, where the state is made, the others at `at`."""
    state, updates = rule.init(start, HORIZON), []
    for seed in range(steps):
        grads = normal_tree(10 + seed, gradient_size)
        update, state = jitted_update(rule, grads, state, start if at is None or not updates else at)
        updates.append(update)
    return updates


def assert_close(actual, expected, rtol=1e-5):
    for a, e in zip(actual, expected, strict=True):
        for key in SHAPES:
            np.testing.assert_allclose(a[key], e[key], rtol=rtol, atol=rtol * np.abs(e[key]).max())


def textbook(start, steps):
    """What the untrained rule is said to be, in float64 but for the orthogonalisation."""
    overall = np.mean(np.concatenate([np.ravel(p) for p in start.values()]).astype(np.float64) ** 2)
    first, second, updates = dict.fromkeys(SHAPES, 0.0), dict.fromkeys(SHAPES, 0.0), []
    own = {key: rms(param) ** 2 for key, param in start.items() if param.any()}
    units = {key: np.sqrt(square + 0.3 * min(overall, 10 * square)) for key, square in own.items()}
    slopes = {key: rms(grad) for key, grad in normal_tree(10).items()}
    weight = np.sqrt(np.mean([(rms(start[key]) * slopes[key]) ** 2 for key in units]))
    for key in SHAPES.keys() - units.keys():
        units[key] = 1.6 * min(np.sqrt(overall), weight / slopes[key])
    decay = 1 - 0.001 * np.exp(3.91)
    for time in range(steps):
        update = {}
        for key, grad in normal_tree(10 + time).items():
            grad = grad.astype(np.float64)
            first[key] = 0.9 * first[key] + 0.1 * grad
            second[key] = decay * second[key] + (1 - decay) * grad**2
            ahead = (0.9 * first[key] + 0.1 * grad) / (1 - 0.9 ** (time + 1))
            step = ahead / np.sqrt(second[key] / (1 - decay ** (time + 1)))
            if key == "w":
                direction = np.asarray(orthogonalise(jnp.asarray(ahead, jnp.float32), MATRIX), np.float64)
                step = SHARE * min(rms(step), 1) * direction / rms(direction) + (1 - SHARE) * step
            update[key] = -0.18 * (max(1 - time / HORIZON, 0) ** 1.5 + 0.02) * units[key] * step
        updates.append(update)
    return updates


def test_untrained_it_is_what_it_is_said_to_be(untrained):
    steps = HORIZON + 3  # beyond the horizon the rate stays at its last value
    assert_close(trajectory(untrained, steps=steps), textbook(PARAMS, steps), rtol=1e-4)


def test_a_small_tensor_is_not_drowned_by_large_ones(untrained):
    start = {"w": 1e4 * PARAMS["w"], "b": normal_tree(0)["b"]}
    assert_close(trajectory(untrained, start=start, steps=2), textbook(start, 2), rtol=1e-4)
    first = trajectory(untrained, start=start, steps=1)[0]["b"]
    # Nesterov's first direction is 1.9 times the gradient's sign.
    assert rms(first) < 1.9 * 0.18 * 1.02 * 2 * rms(start["b"]) * 1.001


@pytest.mark.parametrize("factor", [1e-2, 3.0, 1e3])
def test_a_tensor_that_starts_at_zero_follows_when_it_is_rescaled(untrained, factor):
    """In other units of the bias, its gradient is divided by what its steps are multiplied by."""

    def first_step(factor):
        grads = normal_tree(3) | {"b": 10 * normal_tree(3)["b"] / np.float32(factor)}
        return np.asarray(untrained.update(grads, untrained.init(PARAMS, HORIZON), PARAMS)[0]["b"])

    # Never above the size of all parameters: from a factor of about ten on, that is its unit.
    largest = 1.9 * 0.18 * 1.02 * 1.6 * rms(np.concatenate([np.ravel(p) for p in PARAMS.values()]))
    expected = np.minimum(factor * np.abs(first_step(1.0)), largest)
    np.testing.assert_allclose(np.abs(first_step(factor)), expected, rtol=1e-4)


def test_a_tensor_that_starts_at_zero_waits_for_its_first_gradient(untrained):
    nothing = {"w": normal_tree(4)["w"], "b": np.zeros(3, np.float32)}
    _, state = jitted_update(untrained, nothing, untrained.init(PARAMS, HORIZON), PARAMS)
    assert state.scale[B] == 0
    _, state = jitted_update(untrained, normal_tree(5), state, PARAMS)
    _, last = jitted_update(untrained, scaled(normal_tree(6), 100), state, PARAMS)
    assert last.scale[B] == state.scale[B] > 0


def test_where_only_zeros_have_gradients_their_unit_is_the_size_of_all(untrained):
    grads = {"w": np.zeros((4, 3), np.float32), "b": normal_tree(4)["b"]}
    _, state = jitted_update(untrained, grads, untrained.init(PARAMS, HORIZON), PARAMS)
    overall = rms(np.concatenate([np.ravel(p) for p in PARAMS.values()]))
    np.testing.assert_allclose(state.scale[B], 1.6 * overall, rtol=1e-5)


def test_steps_scale_with_the_initial_parameters_and_not_with_the_gradients(untrained):
    expected = [scaled(update, 8) for update in trajectory(untrained)]
    assert_close(trajectory(untrained, start=scaled(PARAMS, 8), gradient_size=1 / 8), expected, rtol=1e-4)


def test_the_unit_of_steps_is_frozen_at_the_start(untrained):
    assert_close(trajectory(untrained, at=scaled(PARAMS, 1000)), trajectory(untrained), rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_the_correction_is_bounded(untrained, seed):
    rng = np.random.default_rng(seed)
    layers = jax.tree.map(
        lambda x: x + rng.normal(scale=3.0, size=x.shape).astype(np.float32), untrained.layers
    )
    wild = untrained.replace(layers=layers)
    ratios = [
        rms(update[key]) / rms(expected[key])
        for update, expected in zip(trajectory(wild), trajectory(untrained), strict=True)
        for key in SHAPES
    ]
    assert min(ratios) > WEAKEST * 0.9999
    assert max(ratios) < STRONGEST * 1.0001
    assert max(abs(np.log(ratios))) > 0.05  # it does something


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_bounds_of_the_correction_are_reached(untrained, sign):
    expected = trajectory(untrained)
    assert_close(
        trajectory(with_outputs(untrained, 0.0, 100.0 * sign)),
        [scaled(update, np.exp(0.3 * sign)) for update in expected],
    )
    pushed = trajectory(with_outputs(untrained, 100.0 * sign, 0.0))
    for update, plain in zip(pushed, expected, strict=True):
        for key in SHAPES:
            correction = np.asarray(update[key]) - np.asarray(plain[key])
            np.testing.assert_allclose(correction, -sign * 0.3 * rms(plain[key]), rtol=1e-3)


@pytest.mark.parametrize("output", [-100.0, 0.2, 100.0])
def test_the_pace_multiplies_every_step_within_its_bounds(untrained, output):
    factor = np.exp(2 * np.tanh(output))
    expected = [scaled(update, factor) for update in trajectory(untrained)]
    assert_close(trajectory(with_pace(untrained, output)), expected)


def test_the_pace_sees_whether_gradients_agree(untrained):
    last = untrained.pace[-1]
    rule = untrained.replace(
        pace=(untrained.pace[0], {"kernel": 0.1 * jnp.ones_like(last["kernel"]), "bias": last["bias"]})
    )

    def paces(flip):
        """Updates over the untrained rule's, with gradients that stay or change sign at every step."""
        ratios = []
        states = [one.init(PARAMS, HORIZON) for one in (rule, untrained)]
        for time in range(5):
            grads = scaled(normal_tree(1), flip**time)
            (paced, states[0]), (plain, states[1]) = (
                jitted_update(one, grads, state, PARAMS)
                for one, state in zip((rule, untrained), states, strict=True)
            )
            ratios.append([np.asarray(paced[k]).ravel()[0] / np.asarray(plain[k]).ravel()[0] for k in SHAPES])
        return np.array(ratios)

    # The first step has nothing to compare with: no momentum, so no cosine.
    np.testing.assert_allclose(paces(1)[0], paces(-1)[0], rtol=1e-5)
    assert np.abs(np.log(paces(1)[-1] / paces(-1)[-1])).min() > 0.01


def test_without_gradients_it_stands_still(untrained):
    for update in trajectory(with_outputs(untrained, 1.0, 1.0), gradient_size=0.0):
        for key in SHAPES:
            np.testing.assert_allclose(update[key], 0, atol=1e-15)


def test_it_asks_for_the_horizon(untrained):
    with pytest.raises(ValueError, match="give horizon="):
        untrained.init(PARAMS)
