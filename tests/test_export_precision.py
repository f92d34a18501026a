"""A rule computes in float32, and keeps its state in it, whatever the arrays and the switches of jax are."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt

from .test_optimizer_contract import (
    GRADS,
    PARAMS,
    a_transformation,
    assert_trees_close,
    every_kind,
    jitted,
    types,
)

PUBLISHED = ["small", "small-2", "tiny-lstm"]
PAIRS = [
    ("float64", "float64"),
    ("float64", "float32"),
    ("float32", "float32"),
    ("float32", "float64"),
    ("float32", "bfloat16"),
    ("bfloat16", "bfloat16"),
    ("bfloat16", "float16"),
    ("float16", "float64"),
]
"""Dtypes of parameters and of their gradients."""

double_precision = functools.partial(jax.enable_x64, True)


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def dtypes(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


def assert_the_same_theta(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert dtypes(actual) == {"float32"}
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# --- theta under x64 -------------------------------------------------------------------------------------


@every_kind
def test_x64_does_not_change_the_theta_that_is_drawn(name):
    expected = lopt.create(name, jax.random.key(3))
    with double_precision():
        drawn = lopt.create(name, jax.random.key(3))
    assert dtypes(drawn) == {"float32"}
    assert_trees_close(drawn, expected, rtol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_x64_does_not_change_the_theta_that_is_loaded(name):
    expected = lopt.load(name)
    with double_precision():
        assert_the_same_theta(lopt.load(name), expected)


@every_kind
@pytest.mark.parametrize("saved_under_x64", [True, False])
def test_what_is_saved_with_x64_loads_without_and_the_other_way_round(name, saved_under_x64, tmp_path):
    with jax.enable_x64(saved_under_x64):
        rule = lopt.create(name, jax.random.key(3))
        lopt.save(rule, tmp_path / "out")
    with jax.enable_x64(not saved_under_x64):
        assert_the_same_theta(lopt.load(tmp_path / "out"), rule)


def test_published_rules_train_in_a_process_that_has_x64_from_the_start():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *PUBLISHED],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} float64 True ['float32', 'int32']" for name in PUBLISHED]


PROGRAM = """
import sys, jax, jax.numpy as jnp, lopt, optax

for name in sys.argv[1:]:
    tx = lopt.as_optax(name, horizon=10)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(jnp.cos, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    (params, state), _ = jax.lax.scan(step, (start, tx.init(start)), length=2)
    moved = bool((params["w"] != start["w"]).all())
    print(name, params["w"].dtype, moved, sorted({str(leaf.dtype) for leaf in jax.tree.leaves(state)}))
"""


# --- updates and states under x64 ------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize(("of_params", "of_grads"), PAIRS)
def test_the_state_is_float32_and_updates_are_like_the_parameters_under_x64(name, of_params, of_grads):
    tx = a_transformation(name)
    expected = types(tx.init(PARAMS))
    with double_precision():
        params, grads = cast(PARAMS, of_params), cast(GRADS, of_grads)
        state = tx.init(params)
        updates, after = jax.eval_shape(tx.update, grads, state, params)
    assert dtypes(updates) == {of_params}
    assert dtypes(state) <= {"float32", "int32"}
    assert optax.tree.get(state, "count").dtype == jnp.int32
    assert types(state) == types(after) == expected


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_scan_under_x64_arrives_where_it_does_without(name, dtype):
    tx = a_transformation(name)

    @jax.jit
    def train(params, grads):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=3)[0]

    expected = train(PARAMS, GRADS)
    with double_precision():
        params, state = train(cast(PARAMS, dtype), cast(GRADS, dtype))
    assert dtypes(params) == {dtype}
    assert_trees_close((params, state), expected)


@every_kind
def test_the_precision_of_the_loss_does_not_matter(name):
    tx = a_transformation(name)
    with double_precision():
        state = tx.init(PARAMS)
        for loss in (0.5, np.float64(0.5), *(jnp.ones((), dtype) for dtype, _ in PAIRS)):
            updates, after = jax.eval_shape(lambda: tx.update(GRADS, state, PARAMS, value=loss))  # noqa: B023
            assert types(after) == types(state)
            assert dtypes(updates) == {"float32"}


@every_kind
def test_gradients_of_another_half_precision_than_the_parameters_count_for_what_they_are(name):
    """They are not rounded to the parameters' precision: the state shows it, which is float32."""
    init, update = jitted(name)
    halves = {"w": jnp.bfloat16, "b": jnp.float16}
    params = {key: PARAMS[key].astype(halves[key]) for key in halves}
    grads = {"w": GRADS["w"].astype(halves["b"]), "b": GRADS["b"].astype(halves["w"])}
    single_params, single_grads = cast(params, jnp.float32), cast(grads, jnp.float32)
    expected, expected_state = update(single_grads, init(single_params), single_params)
    updates, state = update(grads, init(params), params)
    assert {key: updates[key].dtype for key in halves} == halves
    assert_trees_close(updates, expected, rtol=2**-8)
    assert_trees_close(state, expected_state)


# --- jax's stricter modes --------------------------------------------------------------------------------

MODES = {
    "equal ranks": lambda: jax.numpy_rank_promotion("raise"),
    "equal dtypes": lambda: jax.numpy_dtype_promotion("strict"),
    "no NaN": lambda: jax.debug_nans(True),
}


def two_updates(tx, update):
    """An update without any gradient, and the next with some; some tensors start at zero."""
    zeros = {f"{key} of zeros": jnp.zeros_like(param) for key, param in PARAMS.items()}
    params, grads = PARAMS | zeros, GRADS | {f"{key} of zeros": GRADS[key] for key in PARAMS}
    state = tx.init(params)
    first, state = update(jax.tree.map(jnp.zeros_like, grads), state, params)
    second, state = update(grads, state, params)
    return first, second, state


@functools.cache
def expected_updates(name):
    return two_updates(a_transformation(name), jitted(name)[1])


@every_kind
@pytest.mark.parametrize("mode", MODES)
def test_jaxs_stricter_modes_find_nothing(name, mode):
    expected = expected_updates(name)
    tx = a_transformation(name)
    with MODES[mode]():
        assert_trees_close(two_updates(tx, jax.jit(tx.update)), expected)


@every_kind
def test_no_operation_of_an_update_makes_a_nan(name):
    """Without jit, where each operation is looked at."""
    expected = expected_updates(name)
    with jax.debug_nans(True):
        actual = two_updates(a_transformation(name), a_transformation(name).update)
    assert_trees_close(actual, expected, rtol=1e-4)
