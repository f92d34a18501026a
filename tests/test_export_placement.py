"""A rule works where its parameters are: spread over devices, on explicit axes, inside `jax.shard_map`."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from .test_optimizer_contract import a_transformation as transformation
from .test_optimizer_contract import assert_trees_close, every_kind, jitted, normal_tree

DEVICES = 8
SHAPES = {
    "matrix": (16, 96),
    "matrix, the same": (16, 96),
    "kernel": (3, 3, 8, 16),
    "vector": (1024,),
    "vector, the same": (1024,),
    "indivisible": (5,),
}
STATELESS = {"learnable-sgd"}
"""Architectures whose state holds nothing of a parameter's shape."""
ORTHOGONALISING = {"celo2", "muon-star", "paced-muon"}
"""Architectures that need whole matrices."""


def split_of(shape):
    """How FSDP splits a tensor: along the largest axis that the devices divide, if there is one."""
    divisible = [axis for axis, size in enumerate(shape) if size % DEVICES == 0]
    split = max(divisible, key=lambda axis: shape[axis], default=None)
    return P(*["shards" if axis == split else None for axis in range(len(shape))])


SPECS = {key: split_of(shape) for key, shape in SHAPES.items()}
SPLIT_SIZES = [math.prod(shape) for key, shape in SHAPES.items() if "shards" in SPECS[key]]
PARAMS, GRADS = (normal_tree(seed, SHAPES, 0.3) for seed in (0, 1))


@functools.cache
def mesh(kind=AxisType.Auto):
    return jax.make_mesh((DEVICES,), ("shards",), (kind,))


def spread(tree):
    return {k: jax.device_put(jnp.copy(x), NamedSharding(mesh(), SPECS[k])) for k, x in tree.items()}


def owner(path):
    """Name the parameter that a leaf of a state belongs to, or None."""
    keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
    return next((key for key in keys if key in SHAPES), None)


def count_of_placed_leaves(tree):
    """Check that what has a parameter's shape is where that is, and what is as large is not in one place."""
    placed = 0
    for path, leaf in jax.tree.leaves_with_path(tree):
        key, large = owner(path), leaf.size >= min(SPLIT_SIZES)
        like_parameter = key is not None and leaf.shape == SHAPES[key]
        if like_parameter:
            assert leaf.sharding.is_equivalent_to(NamedSharding(mesh(), SPECS[key]), leaf.ndim), path
        if large:
            assert math.prod(leaf.sharding.shard_shape(leaf.shape)) == leaf.size // DEVICES, path
        placed += like_parameter or large
    return placed


# --- spread over devices by the compiler -----------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_a_state_is_made_where_its_parameters_are(name, compiled):
    init = transformation(name).init
    state = (jax.jit(init) if compiled else init)(spread(PARAMS))
    assert (count_of_placed_leaves(state) > 0) == (name not in STATELESS)


@functools.cache
def donating_step(name):
    tx = transformation(name)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, updates

    return jax.jit(step, donate_argnums=(0, 1))


@every_kind
def test_updates_stay_where_the_parameters_are_and_are_those_of_one_device(name):
    init, step, alone = transformation(name).init, donating_step(name), jitted(name)
    params, expected = spread(PARAMS), PARAMS
    state, expected_state = init(params), alone.init(expected)
    placed = count_of_placed_leaves(state)
    for _ in range(3):
        params, state, updates = step(params, state, spread(GRADS))
        expected_updates, expected_state = alone.update(GRADS, expected_state, expected)
        expected = optax.apply_updates(expected, expected_updates)
        assert count_of_placed_leaves(state) == placed
        assert count_of_placed_leaves((params, updates)) == 2 * len(SHAPES)
    assert_trees_close(updates, expected_updates, rtol=1e-3)
    assert_trees_close((params, state), (expected, expected_state), rtol=1e-4)


@every_kind
def test_no_device_is_sent_a_whole_parameter_except_for_orthogonalising_it(name):
    step, params, grads = donating_step(name), spread(PARAMS), spread(GRADS)
    params, state, _ = step(params, transformation(name).init(params), grads)
    whole = [size for size in received_sizes(step, params, state, grads) if size >= min(SPLIT_SIZES)]
    if name in ORTHOGONALISING:
        # The kernel is divided along its short side, which its products run over; matrices along their long.
        assert set(whole) == {math.prod(SHAPES["kernel"])}
        assert len(whole) <= 10
    else:
        assert not whole


RECEIVING = re.compile(r"= (.+?) (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)\(")
LOOP = re.compile(r" while\(.*body=(%[\w.-]+).*known_trip_count\D*(\d+)")


def received_sizes(jitted, *args):
    """Sizes of what a compiled function's communication brings; within a loop, once for each turn.

    Operations of which each device gets another part count for all parts together.
    """
    program = jitted.lower(*args).compile().as_text()
    turns = {body: int(count) for body, count in LOOP.findall(program)}
    sizes, times = [], 1
    for line in program.splitlines():
        if line.endswith("{") and not line.startswith(" "):  # a function of the program begins
            times = turns.get(line.split()[0], 1)
        for result, operation in RECEIVING.findall(line):
            shapes = [map(int, filter(None, dims.split(","))) for dims in re.findall(r"\[([\d,]*)\]", result)]
            arrays = list(map(math.prod, shapes))
            to_all = operation in ("all-gather", "all-reduce")
            sizes += times * (arrays if to_all else [DEVICES * sum(arrays)])
    return sizes


def test_what_a_program_receives_is_found_in_its_text():
    matrix = jax.device_put(jnp.ones((16, 96)), NamedSharding(mesh(), P(None, "shards")))
    place = lambda x, spec: jax.lax.with_sharding_constraint(x, NamedSharding(mesh(), spec))  # noqa: E731
    turn = lambda x, _: (jnp.sin(x) @ place(jnp.cos(x), P()).T @ x, None)  # noqa: E731
    looped = lambda x: jax.lax.scan(turn, x, length=5)[0]  # noqa: E731
    assert [size for size in received_sizes(jax.jit(looped), matrix) if size > 16 * 16] == 5 * [16 * 96]
    assert received_sizes(jax.jit(lambda x: place(x, P("shards", None))), matrix) == [16 * 96]
    assert received_sizes(jax.jit(lambda x: jnp.sum(x, axis=1)), matrix) == [16]
    assert received_sizes(jax.jit(jnp.sin), matrix) == []


# --- explicit axes ---------------------------------------------------------------------------------------


@every_kind
def test_types_with_explicit_axes_are_stable(name):
    """As optax tests its own in `contrib/_sharding_test.py`, but in jit.

    Operation by operation, eight devices on two cores now and then wait for each other until jax gives up.
    """
    tx = transformation(name)
    with jax.set_mesh(mesh(AxisType.Explicit)):
        params = jnp.zeros((2, 8, 4), jnp.float16, out_sharding=P(None, "shards"))
        state = tx.init(params)
        updates, after = jax.jit(tx.update)(params, state, params)
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
        assert jax.typeof(updates) == jax.typeof(params)


@every_kind
@pytest.mark.parametrize("spec", [P(None, "shards"), P("shards", None)], ids=str)
def test_updates_with_explicit_axes_are_those_of_one_device(name, spec):
    tx, explicit = transformation(name), mesh(AxisType.Explicit)
    params, grads = (normal_tree(seed, {"w": (8, 16), "b": (16,)}) for seed in (0, 1))
    expected = jitted(name)[1](grads, tx.init(params), params)
    placed = {key: NamedSharding(explicit, spec) for key, spec in {"w": spec, "b": P("shards")}.items()}
    with jax.set_mesh(explicit):
        params, grads = jax.device_put((params, grads), (placed, placed))
        state = tx.init(params)
        updates, after = jax.jit(tx.update)(grads, state, params)
        assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, state)
        assert jax.tree.map(jax.typeof, updates) == jax.tree.map(jax.typeof, params)
    assert_trees_close((updates, after), expected, rtol=1e-4)


# --- inside shard_map ------------------------------------------------------------------------------------


def three_updates(tx, params):
    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(jnp.cos, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), length=3)[0][0]


@every_kind
def test_each_device_trains_its_own_parameters_inside_shard_map(name):
    """With the check of varying axes, which is on by default."""
    members = normal_tree(0, {"w": (DEVICES, 3, 2), "b": (DEVICES, 2)})
    train = functools.partial(three_updates, transformation(name))
    alone = jax.jit(train)
    expected = [alone(jax.tree.map(lambda leaf: leaf[n], members)) for n in range(DEVICES)]  # noqa: B023

    def own(block):
        trained = train(jax.tree.map(lambda leaf: leaf[0], block))
        return jax.tree.map(lambda leaf: leaf[None], trained)

    together = jax.jit(jax.shard_map(own, mesh=mesh(), in_specs=P("shards"), out_specs=P("shards")))
    assert_trees_close(together(members), jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected))


@every_kind
def test_parameters_that_all_devices_share_stay_shared_inside_shard_map(name):
    train = functools.partial(three_updates, transformation(name))
    params = normal_tree(0)
    shared = jax.jit(jax.shard_map(train, mesh=mesh(), in_specs=P(), out_specs=P()))
    assert_trees_close(shared(params), jax.jit(train)(params))


# --- specs by optax --------------------------------------------------------------------------------------


@every_kind
def test_optax_maps_the_parameters_partitions_over_the_state(name):
    tx, specs = transformation(name), {key: P(f"axis of {key}") for key in SHAPES}
    state, seen = jax.eval_shape(tx.init, PARAMS), []

    def choose(leaf, spec):
        seen.append((leaf, spec))
        return spec

    chosen = optax.tree.map_params(tx, choose, state, specs, transform_non_params=lambda leaf: P())
    assert jax.tree.structure(chosen) == jax.tree.structure(state)
    owned = [(owner(path), leaf) for path, leaf in jax.tree.leaves_with_path(state)]
    assert seen == [(leaf, specs[key]) for key, leaf in owned if key]
    for path, spec in jax.tree.leaves_with_path(chosen):
        assert spec == specs.get(owner(path), P())
    assert any(leaf.size >= max(SPLIT_SIZES) for leaf, _ in seen) == (name not in STATELESS)
