"""Steps shrink with the number of tensors and the width of a network, however its parameters are stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt import Layout, Tensors, layouts
from lopt.paced import LARGE_POWERS


def share(params, layout=layouts):
    return float(lopt.create("paced-nadam", jax.random.key(0))._share(Tensors(params, layout)))


def layers(count, inputs, outputs=16):
    return {
        f"layer{i}": {"kernel": jnp.ones((inputs, outputs)), "bias": jnp.ones(outputs)} for i in range(count)
    }


def without_decay(name):
    return lopt.create(name, jax.random.key(0), weight_decay=0.0)


def gradients(params):
    return jax.tree.map(lambda x: 0.01 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)


@pytest.mark.parametrize(
    ("count", "inputs", "expected"),
    [
        (1, 4, 1.0),
        (4, 32, 1.0),  # eight tensors
        (16, 32, 0.5),  # thirty-two of them: (8 / 32)^(1/2)
        (4, 512, 0.5),  # (32 / 512)^(1/4)
        (16, 512, 0.25),
    ],
)
def test_the_factor_is_as_stated(count, inputs, expected):
    np.testing.assert_allclose(share(layers(count, inputs)), expected, rtol=1e-6)


def test_the_width_is_the_geometric_mean_of_the_matrices_inputs():
    params = {"a": {"kernel": jnp.ones((64, 16))}, "b": {"kernel": jnp.ones((1024, 16))}}
    np.testing.assert_allclose(share(params), (32 / 256) ** 0.25, rtol=1e-6)


def test_vectors_embeddings_and_empty_leaves_have_no_width():
    params = {
        "embedding": jnp.ones((5000, 16)),
        "bias": jnp.ones(4096),
        "column": {"kernel": jnp.ones((4096, 1))},
        "nothing": jnp.ones((0, 512)),
    }
    assert share(params) == 1.0
    assert share({}) == 1.0


def test_layers_in_one_array_count_like_separate_ones():
    separate = layers(12, 64)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *separate.values())
    layout = {"kernel": Layout((1,), (2,), (0,)), "bias": Layout((), (), (0,))}
    np.testing.assert_allclose(share(stacked, layout), share(separate), rtol=1e-6)
    assert share(separate) < 0.6


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_updates_have_the_factor(name):
    rule = without_decay(name)
    few, many = layers(4, 8), layers(16, 8)
    grads = gradients(many)
    one, _ = rule.update({name: grads[name] for name in few}, rule.init(few, 100), few)
    other, _ = rule.update(grads, rule.init(many, 100), many)
    for layer in few:
        np.testing.assert_allclose(other[layer]["kernel"], 0.5 * one[layer]["kernel"], rtol=1e-5)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_weights_of_large_networks_decay_like_those_of_small_ones(name):
    """Decay of a tensor is in proportion to what its step would be in a small network."""
    plain, decaying = without_decay(name), lopt.create(name, jax.random.key(0), weight_decay=0.3)
    shrunk = {}
    for params in layers(4, 8), layers(16, 8):
        grads = gradients(params)
        updates = [rule.update(grads, rule.init(params, 100), params)[0] for rule in (plain, decaying)]
        shrunk[len(params)] = updates[0]["layer1"]["kernel"] - updates[1]["layer1"]["kernel"]
    np.testing.assert_allclose(shrunk[16], shrunk[4], rtol=1e-3)
    assert jnp.all(shrunk[4] > 0)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_the_powers_are_learned(name):
    rule = without_decay(name)
    flat = rule.replace(large=jnp.float32([-10.0, 0.0]))  # the number of tensors no longer counts
    many = layers(16, 8)
    grads = gradients(many)
    usual, larger = (r.update(grads, r.init(many, 100), many)[0]["layer0"]["kernel"] for r in (rule, flat))
    np.testing.assert_allclose(larger, 2 * usual, rtol=1e-5)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_an_update_tells_both_powers(name):
    params, rule = layers(5, 64), without_decay(name)
    grads = gradients(params)

    def size(rule):
        updates, _ = rule.update(grads, rule.init(params, 100), params)
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(updates))

    # Steps are proportional to exp(-powers . log_largeness).
    expected = -2 * size(rule) * 4 * np.multiply(LARGE_POWERS, [np.log(10 / 8), np.log(2)])
    np.testing.assert_allclose(jax.grad(size)(rule).large, expected, rtol=0.02)
