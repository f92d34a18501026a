"""What a tensor is taken for, by its name and shape or as the user says; stacks go layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

from lopt import Layout, as_optax, create, layouts
from lopt.layout import layout_by_name, resolve

MATRIX = Layout((0,), (1,))


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("w", (), Layout()),
        ("w", (5,), Layout()),
        ("w", (5, 4), MATRIX),
        ("Dense_0/kernel", (5, 4), MATRIX),
        ("Conv_0/kernel", (3, 3, 2, 4), Layout((0, 1, 2), (3,))),
        ("Conv_0/kernel", (3, 2, 4), Layout((0, 1), (2,))),
        ("conv/weight", (4, 2, 3, 3), Layout((1, 2, 3), (0,))),
        ("layers/Dense_0/kernel", (12, 5, 4), Layout((1,), (2,), (0,))),
        ("layers/Dense_0/bias", (12, 4), Layout(stacked=(0,))),
        ("layers/LayerNorm_0/scale", (12, 4), Layout(stacked=(0,))),
        ("attention/query/kernel", (16, 4, 4), Layout((0,), (1, 2))),
        ("attention/query/bias", (4, 4), Layout()),
        ("attention/out/kernel", (4, 4, 16), Layout((0, 1), (2,))),
        ("attention/out/bias", (16,), Layout()),
        ("layers/attention/value/kernel", (12, 16, 4, 4), Layout((1,), (2, 3), (0,))),
        ("layers/attention/value/bias", (12, 4, 4), Layout(stacked=(0,))),
        ("layers/attention/out/kernel", (12, 4, 4, 16), Layout((1, 2), (3,), (0,))),
        ("Embed_0/embedding", (100, 16), Layout()),
        ("transformer/wte", (100, 16), Layout()),
        ("wpe/embedding", (100, 16), Layout()),
    ],
)
def test_names_tell(name, shape, expected):
    assert layout_by_name(name.split("/"), shape) == expected


def test_the_default_can_be_looked_at():
    params = {"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    assert layouts(params) == {"Dense_0": {"kernel": MATRIX, "bias": Layout()}}


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (Layout((1,), (0,)), [Layout((1,), (0,))] * 2),
        ({"a": None, "b": {"c": Layout((-1,), (-2,))}}, [Layout(), Layout((1,), (0,))]),
        ({"a": MuonDimensionNumbers(), "b": None}, [MATRIX, Layout()]),
        (lambda params: jax.tree.map(lambda p: None, params), [Layout()] * 2),
    ],
    ids=["one for all", "a tree", "optax's, and a part", "a function"],
)
def test_a_user_may_say_otherwise(option, expected):
    assert resolve(option, {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones((3, 2))}}) == expected


def test_optaxs_other_axes_are_stacked():
    found = resolve(MuonDimensionNumbers((1, 2), 3), {"w": jnp.ones((12, 4, 4, 16))})
    assert found == [Layout((1, 2), (3,), (0,))]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (Layout((0,), (2,)), r"a/b, of shape \(2, 3\), can't have the layout"),
        (Layout((0,), (0,)), "can't have the layout"),
        (Layout((0,)), "can't have the layout"),
        ({"other": None}, "layout= is not a tree like the parameters"),
        ({"a": {"b": "matrix"}}, "instead of a lopt.Layout"),
    ],
)
def test_what_does_not_fit_is_refused(option, says):
    params = {"a": {"b": jnp.ones((2, 3))}}
    with pytest.raises(ValueError, match=says):
        as_optax(create("learnable-adam", jax.random.key(0)), layout=option).init(params)


@pytest.mark.parametrize("name", ["adafactor-mlp", "star", "muon-star", "coordinatewise-lstm"])
def test_stacked_layers_are_updated_as_layers_of_their_own(name):
    """As `nn.scan` stacks them: a matrix and a bias of each layer, here with sizes of their own."""
    rng = np.random.default_rng(0)
    rule = create(name, jax.random.key(0), hidden_size=2)
    rule = jax.tree.map(lambda x: x + rng.normal(scale=0.1, size=x.shape).astype(np.float32), rule)
    sizes = (1.0, 5.0, 0.1)
    kernels = [jnp.asarray(size * rng.normal(size=(4, 3)), jnp.float32) for size in sizes]
    biases = [jnp.asarray(size * rng.normal(size=3), jnp.float32) for size in sizes]
    apart = {str(i): {"kernel": k, "bias": b} for i, (k, b) in enumerate(zip(kernels, biases, strict=True))}
    stacked = {"layers": {"kernel": jnp.stack(kernels), "bias": jnp.stack(biases)}}
    tx = as_optax(rule, horizon=10)

    @jax.jit
    def train(params):
        state = tx.init(params)
        for _ in range(2):
            updates, state = tx.update(jax.tree.map(lambda p: jnp.cos(3 * p), params), state, params)
            params = optax.apply_updates(params, updates)
        return params

    expected, found = train(apart), train(stacked)["layers"]
    for layer in range(3):
        for part in ("kernel", "bias"):
            np.testing.assert_allclose(found[part][layer], expected[str(layer)][part], rtol=1e-4, atol=1e-5)


def test_what_a_matrix_is_makes_a_difference():
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)}
    rule = create("muon-star", jax.random.key(0), hidden_size=2)
    steps = []
    for layout in (None, {"w": None}, {"w": Layout((1,), (0,))}):
        tx = as_optax(rule, horizon=10, layout=layout)
        steps.append(tx.update(params, tx.init(params), params)[0]["w"])
    assert not np.allclose(steps[0], steps[1], rtol=0.1)
    np.testing.assert_allclose(steps[0], steps[2], rtol=1e-4)
