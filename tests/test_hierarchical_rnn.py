"""HierarchicalRNN is the rule of its docstring, and its levels hear of one another."""

import jax
import jax.numpy as jnp
import numpy as np

from lopt import HierarchicalRNN, theta_size

SHAPES = {"matrix": (4, 3), "scalar": (), "vector": (5,)}

update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


def a_rule():
    draws = np.random.default_rng(0)
    rule = HierarchicalRNN.create(jax.random.key(0), hidden_size=3, tensor_size=4, whole_size=5)
    return jax.tree.map(lambda x: x + draws.normal(scale=0.1, size=x.shape).astype(np.float32), rule)


def tree(seed, size=1.0):
    draws = np.random.default_rng(seed)
    return {key: jnp.asarray(size * draws.normal(size=shape), jnp.float32) for key, shape in SHAPES.items()}


def run(rule, times):
    params, steps = tree(100), []
    state = rule.init(params)
    for grads in times:
        updates, state = update(rule, grads, state, params)
        steps.append(updates)
    return steps


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def textbook_gru(cell, x, hidden, bias=0.0):
    units = hidden.shape[-1]
    added = cell["bias"] + bias
    gates = sigmoid(np.concatenate([x, hidden], -1) @ cell["gates"] + added[..., : 2 * units])
    reset, keep = gates[..., :units], gates[..., units:]
    candidate = np.concatenate([x, reset * hidden], -1) @ cell["candidate"] + added[..., 2 * units :]
    return keep * hidden + (1 - keep) * np.tanh(candidate)


def textbook(rule, times):
    """The updates of vectorised tensors, in double precision."""
    rule = jax.tree.map(lambda x: np.asarray(x, np.float64), rule)
    size = {key: int(np.prod(shape)) for key, shape in SHAPES.items()}
    zeros = {key: np.zeros((n, 4)) for key, n in size.items()}
    m, v = zeros, zeros
    hidden = {key: np.tile(rule.parameter_cell["start"], (n, 1)) for key, n in size.items()}
    beta, decay = ({key: np.zeros(n) for key, n in size.items()} for _ in range(2))
    rate = {key: np.full(n, rule.log_rate) for key, n in size.items()}
    layers = dict.fromkeys(SHAPES, rule.tensor_cell["start"])
    whole, steps = rule.whole_cell["start"], []
    for grads in times:
        updates, heard = {}, {}
        for key, layer in layers.items():
            grad = np.asarray(grads[key], np.float64).reshape(-1, 1)
            each = beta[key][:, None] ** (1 / 2.0 ** np.arange(4))
            m = m | {key: each * m[key] + (1 - each) * grad}
            d = decay[key][:, None]
            v = v | {key: d * v[key] + (1 - d) * m[key] ** 2}
            scaled, logs = np.arcsinh(m[key] / np.sqrt(v[key] + 1e-16)), np.log(v[key] + 1e-16)
            relative = rate[key] - rate[key].mean()
            seen = np.concatenate([scaled, logs - logs.mean(1, keepdims=True), relative[:, None]], 1)
            bias = layer @ rule.tensor_to_parameter + whole @ rule.whole_to_parameter
            hidden[key] = textbook_gru(rule.parameter_cell, seen, hidden[key], bias)
            heard[key] = np.concatenate([hidden[key], seen], 1).mean(0)
            out = hidden[key] @ rule.readout
            direction = out[:, 0] + scaled @ rule.shortcut
            beta[key], decay[key] = (sigmoid(out[:, 1 + n] + rule.readout_bias[n]) for n in range(2))
            now = rate[key] + out[:, 3] + rule.readout_bias[2]
            kept = sigmoid(rule.rate_decay)
            rate[key] = kept * rate[key] + (1 - kept) * now
            updates[key] = -np.exp(now + rule.offset) * direction / np.sqrt((direction**2).mean() + 1e-16)
        from_whole = whole @ rule.whole_to_tensor
        layers = {key: textbook_gru(rule.tensor_cell, heard[key], layers[key], from_whole) for key in layers}
        whole = textbook_gru(rule.whole_cell, np.mean(list(layers.values()), axis=0), whole)
        steps.append({key: update.reshape(SHAPES[key]) for key, update in updates.items()})
    return steps


def test_updates_are_those_of_the_textbook():
    times = [tree(time, size) for time, size in enumerate((1.0, 0.1, 3.0, 1e-3, 1.0))]
    for ours, theirs in zip(run(a_rule(), times), textbook(a_rule(), times), strict=True):
        for key in SHAPES:
            np.testing.assert_allclose(
                ours[key], theirs[key], rtol=1e-4, atol=1e-5 * np.abs(theirs[key]).max()
            )


def test_the_size_of_the_loss_does_not_matter():
    times = [tree(time) for time in range(4)]
    larger = [jax.tree.map(lambda x: 1024 * x, grads) for grads in times]
    for one, other in zip(run(a_rule(), times), run(a_rule(), larger), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, other)


def test_a_tensor_hears_of_another_one_step_later():
    times = [tree(time) for time in range(3)]
    other = [times[0] | {"vector": jnp.abs(times[0]["vector"])}, *times[1:]]
    first, second, _ = (
        np.abs(a["matrix"] - b["matrix"]).max()
        for a, b in zip(run(a_rule(), times), run(a_rule(), other), strict=True)
    )
    assert first == 0
    assert second > 1e-9


def test_a_rule_that_was_not_trained_descends():
    rule, params = HierarchicalRNN.create(jax.random.key(1)), tree(0)
    state, start = rule.init(params), sum(float(jnp.sum(x**2)) for x in params.values())
    for _ in range(30):
        updates, state = update(rule, params, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    assert sum(float(jnp.sum(x**2)) for x in params.values()) < start


def test_theta_has_7960_entries():
    assert theta_size(HierarchicalRNN.create(jax.random.key(0))) == 7960
