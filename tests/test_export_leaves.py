"""A rule trains real floating arrays; all else is refused in a sentence that says what to write instead."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import as_optax

from .test_optimizer_contract import (
    GRADS,
    PARAMS,
    a_rule,
    a_transformation,
    assert_trees_close,
    every_kind,
    is_finite,
    jitted,
    normal_tree,
    types,
)


def refusal(function, *args):
    """The one sentence by which a call is refused."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function(*args)
    sentence = str(caught.value)
    assert 0 < len(sentence) < 300
    assert not re.search(r"\n|[.!?] [A-Z]", sentence)
    return sentence


def names(sentence, *path):
    return re.search(r"\W+".join(path), sentence) is not None


# --- leaves that are no real floating arrays -------------------------------------------------------------

STRANGE = {
    "an integer": jnp.asarray(20_000),
    "bytes": np.zeros(3, np.uint8),
    "a truth value": jnp.asarray(True),
    "a key": jax.random.key(0),
    "Python's integer": 20_000,
    "Python's truth value": True,
    "a function": jax.nn.relu,
    "a string": "relu",
    "an object": object(),
}


@every_kind
@pytest.mark.parametrize("strange", STRANGE)
def test_a_leaf_that_is_no_real_floating_array_is_refused_by_its_path(name, strange):
    params = {"layer": {"w": PARAMS["w"], "other": STRANGE[strange]}}
    sentence = refusal(a_transformation(name).init, params)
    assert names(sentence, "layer", "other")
    assert "optax.masked" in sentence


@every_kind
def test_it_is_refused_in_jit_too(name):
    sentence = refusal(jax.jit(a_transformation(name).init), PARAMS | {"steps": jnp.asarray(20_000)})
    assert names(sentence, "steps")
    assert "optax.masked" in sentence


@every_kind
def test_with_optax_masked_such_a_leaf_changes_nothing_for_the_others(name):
    """A step counter is larger than all parameters together: it must not be in their mean square."""
    tx = optax.masked(a_transformation(name), {"w": True, "b": True, "steps": False})
    params, grads = PARAMS | {"steps": jnp.asarray(20_000)}, GRADS | {"steps": jnp.asarray(0)}
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    init, update = jitted(name)
    expected, _ = update(GRADS, init(PARAMS), PARAMS)
    assert_trees_close({key: updates[key] for key in PARAMS}, expected)
    assert optax.apply_updates(params, updates)["steps"] == 20_000


@every_kind
def test_a_complex_leaf_is_refused_with_optaxs_wrapper_for_it(name):
    sentence = refusal(a_transformation(name).init, {"layer": {"z": jnp.ones(2, jnp.complex64)}})
    assert names(sentence, "layer", "z")
    assert "optax.contrib.split_real_and_imaginary" in sentence


@every_kind
def test_wrapped_for_complex_leaves_it_trains_real_and_imaginary_parts(name):
    wrapped = optax.contrib.split_real_and_imaginary(a_transformation(name))
    parts = [normal_tree(seed, {"real": (3, 2), "imaginary": (3, 2)}) for seed in (0, 1)]
    params, grads = (
        {"z": jax.lax.complex(part["real"], part["imaginary"]), "b": PARAMS["b"]} for part in parts
    )
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by 1j
        updates, _ = jax.jit(wrapped.update)(grads, wrapped.init(params), params)
    # Tuples, so that the parts stand in the same order as optax has them.
    pairs = [{"z": (part["real"], part["imaginary"]), "b": PARAMS["b"]} for part in parts]
    expected, _ = jitted(name)[1](pairs[1], a_transformation(name).init(pairs[0]), pairs[0])
    assert updates["z"].dtype == jnp.complex64
    assert_trees_close((updates["z"].real, updates["z"].imag), expected["z"])
    assert_trees_close(updates["b"], expected["b"])


# --- other forms of real floating arrays -----------------------------------------------------------------


@every_kind
def test_numpys_arrays_and_pythons_numbers_are_taken_as_jaxs_arrays(name):
    """As `optax.adam` takes them."""
    params = {"single": np.ones(3, np.float32), "double": np.ones(2), "number": 2.0, "numpy's": np.float64(3)}
    grads = {"single": np.ones(3), "double": np.ones(2, np.float32), "number": 0.5, "numpy's": np.float32(-1)}
    tx = a_transformation(name)
    state = tx.init(params)
    updates = tx.update(grads, state, params)
    params, grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (params, grads))
    expected = jitted(name)[1](grads, tx.init(params), params)
    assert types(state) == types(tx.init(params))
    assert types(updates) == types(expected)
    assert_trees_close(updates, expected)


@every_kind
def test_abstract_parameters_are_for_eval_shape(name):
    tx = a_transformation(name)
    abstract = {"layer": jax.eval_shape(lambda: PARAMS)}
    assert "jax.eval_shape(tx.init, params)" in refusal(tx.init, abstract)
    assert types(jax.eval_shape(tx.init, abstract)) == types(tx.init({"layer": PARAMS}))


EMPTY = {"nothing": (0,), "no columns": (3, 0), "no rows": (0, 4)}


@every_kind
def test_tensors_without_elements_pass_through_and_change_nothing_for_the_others(name):
    nothing = normal_tree(0, EMPTY)
    init, update = jitted(name)
    expected, _ = update(GRADS, init(PARAMS), PARAMS)
    state = init(PARAMS | nothing)
    updates, after = update(GRADS | nothing, state, PARAMS | nothing)
    assert {key: updates.pop(key).shape for key in EMPTY} == EMPTY
    assert_trees_close(updates, expected, rtol=0)
    assert types(after) == types(state)
    assert is_finite((state, after))


@every_kind
def test_a_tree_of_nothing_but_tensors_without_elements_is_trained_too(name):
    nothing, tx = normal_tree(0, EMPTY), a_transformation(name)
    state = tx.init(nothing)
    updates, after = tx.update(nothing, state, nothing)
    assert {key: update.shape for key, update in updates.items()} == EMPTY
    assert types(after) == types(state)
    assert is_finite((state, after))


# --- gradients that do not fit ---------------------------------------------------------------------------

UNFIT = {
    "none": GRADS | {"w": None},
    "missing": {"b": GRADS["b"]},
    "transposed": GRADS | {"w": GRADS["w"].T},
    "one that broadcasts": GRADS | {"w": GRADS["w"][:1]},
    "a number": GRADS | {"w": jnp.ones(())},
}


@every_kind
@pytest.mark.parametrize("unfit", UNFIT)
def test_a_gradient_that_does_not_fit_its_parameter_is_refused_by_its_path(name, unfit):
    tx, params = a_transformation(name), {"layer": PARAMS}
    sentence = refusal(tx.update, {"layer": UNFIT[unfit]}, tx.init(params), params)
    assert names(sentence, "layer", "w")
    assert "optax.masked" in sentence or unfit != "none"


@every_kind
def test_a_gradient_of_no_parameter_is_refused_by_its_path(name):
    tx, params = a_transformation(name), {"layer": PARAMS}
    sentence = refusal(tx.update, {"layer": GRADS | {"extra": GRADS["b"]}}, tx.init(params), params)
    assert names(sentence, "layer", "extra")


# --- the horizon -----------------------------------------------------------------------------------------

NO_HORIZONS = [
    *(np.int64(0), np.int64(-3), 0.5, float("nan"), "100", True),
    *(30.0, np.float64(30), jnp.asarray(30.0)),  # whole, but floats
    *(jnp.asarray(0), jnp.asarray(-3), jnp.asarray(True), jnp.asarray([30, 40])),
]
HORIZONS = [np.int64(30), np.uint8(30), np.asarray(30), jnp.asarray(30), jnp.asarray(30, jnp.int16)]


@every_kind
@pytest.mark.parametrize("horizon", NO_HORIZONS, ids=repr)
def test_a_horizon_that_is_no_whole_number_of_steps_is_refused(name, horizon):
    sentence = refusal(as_optax, a_rule(name), horizon)
    assert "horizon" in sentence
    assert "int(" in sentence or not (isinstance(horizon, float) and horizon == 30)


@every_kind
@pytest.mark.parametrize("horizon", HORIZONS, ids=repr)
def test_a_horizon_is_any_whole_number_traced_or_not(name, horizon):
    rule = a_rule(name)
    start = lambda horizon: as_optax(rule, horizon).init(PARAMS)  # noqa: E731
    expected = start(30)
    for state in (start(horizon), jax.jit(start)(horizon)):
        assert types(state) == types(expected)
        assert_trees_close(state, expected)
