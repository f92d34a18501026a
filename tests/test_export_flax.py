"""A rule trains modules of flax and equinox as it trains their arrays in a plain loop, named axes or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from .test_optimizer_contract import a_transformation, assert_trees_close, every_kind, jitted, types

DEVICES = 8
MESH = jax.make_mesh((DEVICES,), ("shards",), (AxisType.Auto,))
INPUTS = jnp.linspace(-1, 1, 20).reshape(5, 4)
TARGETS = jnp.sin(3 * INPUTS)
PARAMS = {
    "first": {"kernel": jnp.cos(jnp.arange(64.0)).reshape(4, 16), "bias": jnp.zeros(16)},
    "second": {"kernel": jnp.sin(jnp.arange(64.0)).reshape(16, 4), "bias": jnp.ones(4)},
}
NAMES = {
    "first": {"kernel": (None, "shards"), "bias": ("shards",)},
    "second": {"kernel": ("shards", None), "bias": None},
}
"""Of the parameters' axes; the last bias has none."""
STATELESS = {"learnable-sgd"}
"""Architectures whose state holds nothing of a parameter's shape."""


def loss(params):
    hidden = jnp.tanh(INPUTS @ params["first"]["kernel"] + params["first"]["bias"][None])
    return jnp.mean((hidden @ params["second"]["kernel"] + params["second"]["bias"][None] - TARGETS) ** 2)


@functools.cache
def trained(name):
    """Parameters after three updates in a plain loop, where the other ways must arrive too."""
    tx = jitted(name)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert not np.allclose(params["first"]["kernel"], PARAMS["first"]["kernel"], rtol=0, atol=1e-5)
    return params


def assert_trained(params, name):
    assert_trees_close(params, trained(name), rtol=1e-4)


def leaves_by_parameter(tree):
    """Every leaf that belongs to a parameter, with the parameter's value and its axes' names."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
        layer, part = ([key for key in keys if key in some] for some in (PARAMS, PARAMS["first"]))
        if layer and part:
            yield leaf, PARAMS[layer[0]][part[0]], NAMES[layer[0]][part[0]]


def count_of_spread_leaves(tree):
    """Check that what is as large as its parameter is divided among devices as that one is; count it."""
    large = [(leaf, names) for leaf, param, names in leaves_by_parameter(tree) if leaf.size >= param.size]
    for leaf, names in large:
        parts = leaf.size // np.prod(leaf.sharding.shard_shape(leaf.shape), dtype=int)
        assert parts == (DEVICES if names else 1)
    return len(large)


# --- flax.nnx --------------------------------------------------------------------------------------------


class Network(nnx.Module):
    """Starts at `PARAMS`, with named axes or without."""

    def __init__(self, named=False):
        self.first, self.second = (self._layer(layer, named) for layer in PARAMS)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))

    @staticmethod
    def _layer(layer, named):
        def start(part):
            constant = lambda key, shape, dtype: jnp.zeros(shape, dtype) + np.asarray(PARAMS[layer][part])  # noqa: E731
            names = NAMES[layer][part] if named else None
            return nnx.with_partitioning(constant, names) if names else constant

        shape = PARAMS[layer]["kernel"].shape
        return nnx.Linear(*shape, kernel_init=start("kernel"), bias_init=start("bias"), rngs=nnx.Rngs(0))


def with_optimizer(tx, named=False):
    network = Network(named)
    return network, nnx.Optimizer(network, tx, wrt=nnx.Param)


def train(network, optimizer):
    grads = nnx.grad(lambda network: jnp.mean((network(INPUTS) - TARGETS) ** 2))(network)
    optimizer.update(network, grads)


def parameters(network):
    return nnx.to_pure_dict(nnx.state(network, nnx.Param))


@every_kind
@pytest.mark.parametrize("step", [train, nnx.jit(train)], ids=["eager", "jit"])
def test_an_nnx_optimizer_trains_as_the_plain_loop_does(name, step):
    network, optimizer = with_optimizer(a_transformation(name))
    for _ in range(3):
        step(network, optimizer)
    assert_trained(parameters(network), name)
    assert optimizer.opt_state.count.get_value() == 3


@every_kind
def test_an_nnx_optimizer_is_carried_through_a_scan(name):
    graph, state = nnx.split(with_optimizer(a_transformation(name)))

    def step(state, _):
        both = nnx.merge(graph, state)
        train(*both)
        return nnx.state(both), None

    state, _ = jax.jit(lambda state: jax.lax.scan(step, state, length=3))(state)
    network, optimizer = nnx.merge(graph, state)
    assert_trained(parameters(network), name)
    assert optimizer.opt_state.count.get_value() == 3


@every_kind
def test_an_nnx_optimizers_state_is_spread_over_devices_as_the_networks_named_axes_are(name):
    step, tx = nnx.jit(train), a_transformation(name)
    with jax.set_mesh(MESH):
        network, optimizer = with_optimizer(tx, named=True)
        spread = count_of_spread_leaves(optimizer.opt_state)
        for _ in range(3):
            step(network, optimizer)
        assert count_of_spread_leaves(optimizer.opt_state) == spread
        assert count_of_spread_leaves(parameters(network)) == 4
    assert (spread > 0) == (name not in STATELESS)
    assert_trained(parameters(network), name)


@every_kind
def test_an_nnx_optimizers_state_is_spread_where_it_is_made_in_jit_too(name):
    make = functools.partial(with_optimizer, a_transformation(name), named=True)
    with jax.set_mesh(MESH):
        _, optimizer = nnx.jit(make)()
    assert (count_of_spread_leaves(optimizer.opt_state) > 0) == (name not in STATELESS)


# --- flax.linen ------------------------------------------------------------------------------------------


@every_kind
def test_a_train_state_trains_as_the_plain_loop_does(name):
    state = TrainState.create(apply_fn=loss, params=PARAMS, tx=jitted(name))
    for _ in range(3):
        state = state.apply_gradients(grads=jax.grad(state.apply_fn)(state.params))
    assert_trained(state.params, name)
    assert state.opt_state.count == 3


def boxed(params):
    """Put linen's boxes with the axes' names around the parameters that have some."""
    return jax.tree.map(lambda p, names: linen.Partitioned(p, names) if names else p, params, NAMES)


@every_kind
def test_linens_boxes_are_kept_around_what_is_in_them(name):
    tx, params = a_transformation(name), boxed(PARAMS)
    state = tx.init(params)
    before = types((params, state))
    assert types(linen.unbox(state)) == types(tx.init(PARAMS))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(lambda p: loss(linen.unbox(p)))(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(3):
        params, state = step(params, state)
    assert types((params, state)) == before
    assert_trained(linen.unbox(params), name)


@every_kind
def test_linen_tells_how_the_state_is_partitioned(name):
    """What has its parameter's shape has its partition; what has not, has one that it can be given."""
    tx = a_transformation(name)
    abstract = jax.eval_shape(tx.init, boxed(PARAMS))
    leaves, specs = linen.unbox(abstract), linen.get_partition_spec(abstract)
    assert jax.tree.structure(specs) == jax.tree.structure(leaves)
    for (leaf, param, names), (spec, *_) in zip(*map(leaves_by_parameter, (leaves, specs)), strict=True):
        assert leaf.shape != param.shape or spec == P(*(names or ()))
    state = jax.jit(tx.init, out_shardings=linen.get_sharding(abstract, MESH))(boxed(PARAMS))
    assert (count_of_spread_leaves(linen.unbox(state)) > 0) == (name not in STATELESS)


# --- equinox ---------------------------------------------------------------------------------------------


@every_kind
def test_an_equinox_module_trains_as_the_plain_loop_does(name):
    """Its functions and numbers are leaves, which `eqx.filter` replaces by None."""
    eqx = pytest.importorskip("equinox")
    tx = a_transformation(name)

    class EquinoxNetwork(eqx.Module):
        layers: dict
        activation: object = jnp.tanh
        version: int = 20_000

        def __call__(self, x):
            x = self.activation(x @ self.layers["first"]["kernel"] + self.layers["first"]["bias"][None])
            return x @ self.layers["second"]["kernel"] + self.layers["second"]["bias"][None]

    @eqx.filter_jit
    def step(network, state):
        grads = eqx.filter_grad(lambda network: jnp.mean((network(INPUTS) - TARGETS) ** 2))(network)
        updates, state = tx.update(grads, state, eqx.filter(network, eqx.is_inexact_array))
        return eqx.apply_updates(network, updates), state

    network = EquinoxNetwork(PARAMS)
    state = tx.init(eqx.filter(network, eqx.is_inexact_array))
    for _ in range(3):
        network, state = step(network, state)
    assert (network.activation, network.version) == (jnp.tanh, 20_000)
    assert_trained(network.layers, name)
