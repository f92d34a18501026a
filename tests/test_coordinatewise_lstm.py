"""CoordinatewiseLSTM is one LSTM for every parameter, and reads a gradient's logarithm and sign."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import CoordinatewiseLSTM
from lopt.lstm import log_sign

UNITS = 3
FLOOR = np.float32(np.exp(-10.0))

jitted_update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


@pytest.fixture(scope="module")
def rule():
    rng = np.random.default_rng(0)
    rule = CoordinatewiseLSTM.create(jax.random.key(0), hidden_size=UNITS)
    return jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32), rule)


def updates_of(rule, grads, params):
    """Return the updates of a sequence of gradients, at the same parameters."""
    state, updates = rule.init(params), []
    for grad in grads:
        update, state = jitted_update(rule, grad, state, params)
        updates.append(update)
    return updates


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- what it reads ---------------------------------------------------------------------------------------


def test_log_sign_is_the_papers_formula():
    grad = jnp.asarray([1.0, -1.0, np.e**-5, -(np.e**-9), np.e**3, -1e-5, 2e-5, 0.0])
    expected = [[0, 1], [0, -1], [-0.5, 1], [-0.9, -1], [0.3, 1]]
    expected += [[-1, np.exp(10) * -1e-5], [-1, np.exp(10) * 2e-5], [-1, 0]]
    np.testing.assert_allclose(log_sign(grad, 10.0), expected, rtol=1e-5, atol=1e-6)


def test_log_sign_does_not_jump():
    # Across the floor, and through zero: neighbours a thousandth of the floor apart.
    line = jnp.asarray(FLOOR * np.linspace(-3, 3, 6001), jnp.float32)
    steps = np.abs(np.diff(log_sign(line, 10.0), axis=0))
    assert steps.max() < 2e-3


@pytest.mark.parametrize("log_range", [5.0, 10.0])
def test_log_sign_is_bounded_monotone_and_odd_in_sign(log_range):
    grad = jnp.asarray(np.logspace(-37, 0, 400), jnp.float32)
    log, sign = np.asarray(log_sign(grad, log_range)).T
    assert ((log >= -1) & (log <= 0)).all()
    assert ((sign >= 0) & (sign <= 1)).all()
    assert (np.diff(log) >= 0).all()
    assert (np.diff(sign) >= 0).all()
    # Every size is told from every other that is twice as large, unless both signs vanish in rounding.
    assert ((np.diff(log) > 0) | (np.diff(sign) > 0)).all()
    np.testing.assert_array_equal(log_sign(-grad, log_range), np.stack([log, -sign], axis=-1))


# --- what it does with it --------------------------------------------------------------------------------


def test_it_is_flaxs_lstm_with_a_linear_read_out(rule):
    params = {"w": normal(1, 4)}
    grads = [{"w": normal(2 + t, 4) * 10.0 ** (-3 * t)} for t in range(3)]
    cell = flax.linen.OptimizedLSTMCell(UNITS)
    weights = [_as_flax(layer) for layer in rule.layers]
    carries = [(np.zeros((4, UNITS)), np.zeros((4, UNITS))) for _ in rule.layers]
    for grad, update in zip(grads, updates_of(rule, grads, params), strict=True):
        x = log_sign(jnp.asarray(grad["w"]), 10.0)
        for number, layer in enumerate(weights):
            carries[number], x = cell.apply({"params": layer}, carries[number], x)
        expected = 0.1 * np.asarray(x) @ np.asarray(rule.output)
        np.testing.assert_allclose(update["w"], expected, rtol=2e-5, atol=1e-6)


def _as_flax(layer):
    """Name one layer's weights as flax does: inputs and outputs of gates i, f, g, o."""
    inputs, hidden, biases = (np.split(layer[part], 4, axis=-1) for part in ("input", "hidden", "bias"))
    named = {f"i{gate}": {"kernel": kernel} for gate, kernel in zip("ifgo", inputs, strict=True)}
    for gate, kernel, bias in zip("ifgo", hidden, biases, strict=True):
        named[f"h{gate}"] = {"kernel": kernel, "bias": bias}
    return named


def test_parameters_do_not_see_each_other(rule):
    params, order = {"w": normal(1, 6)}, np.array([3, 0, 5, 1, 4, 2])
    grads = [{"w": normal(2 + t, 6)} for t in range(3)]
    permuted = [{"w": grad["w"][order]} for grad in grads]
    straight = updates_of(rule, grads, params)
    for update, expected in zip(updates_of(rule, permuted, params), straight, strict=True):
        np.testing.assert_allclose(update["w"], expected["w"][order], rtol=1e-5, atol=1e-7)

    # Another parameter's gradients change nothing; its own do.
    changed = [{"w": np.concatenate([[7.0], grad["w"][1:]]).astype(np.float32)} for grad in grads]
    for update, expected in zip(updates_of(rule, changed, params), straight, strict=True):
        np.testing.assert_allclose(update["w"][1:], expected["w"][1:], rtol=1e-5, atol=1e-7)
        assert abs(update["w"][0] - expected["w"][0]) > 1e-4


def test_the_shape_of_a_tensor_does_not_matter(rule):
    grads, flat = [{"w": normal(2, 2, 3)}], [{"w": normal(2, 2, 3).reshape(6)}]
    (update,) = updates_of(rule, grads, {"w": normal(1, 2, 3)})
    (expected,) = updates_of(rule, flat, {"w": normal(1, 6)})
    np.testing.assert_allclose(update["w"].reshape(6), expected["w"], rtol=1e-5, atol=1e-7)


def test_it_remembers(rule):
    params, once = {"w": normal(1, 2)}, {"w": normal(2, 2)}
    after_zeros = updates_of(rule, [{"w": np.zeros(2, np.float32)}, once], params)[-1]
    after_ones = updates_of(rule, [{"w": np.ones(2, np.float32)}, once], params)[-1]
    assert (np.abs(after_zeros["w"] - after_ones["w"]) > 1e-4).all()


def test_untrained_it_stands_still():
    rule = CoordinatewiseLSTM.create(jax.random.key(0), hidden_size=UNITS)
    for update in updates_of(rule, [{"w": normal(2, 2)}] * 2, {"w": normal(1, 2)}):
        assert (update["w"] == 0).all()


def test_it_forgets_slowly_at_first():
    layers = CoordinatewiseLSTM.create(jax.random.key(0), hidden_size=UNITS).layers
    for layer in layers:
        _, forget, *_ = jnp.split(layer["bias"], 4)
        assert (forget == 1).all()
        assert layer["bias"].sum() == UNITS  # and no other gate is biased
