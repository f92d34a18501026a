"""With `mu_parametrised`, a matrix's step is divided by its number of inputs; no other step is changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import ARCHITECTURES, Layout, as_optax, create

from .test_optimizer_contract import assert_trees_close, normal_tree

SHAPES = {
    "kernel": (6, 4),
    "weight": (5, 2, 3, 3),
    "conv_kernel": (3, 3, 2, 5),
    "bias": (4,),
    "embedding": (7, 2),
    "one output": (6, 1),
    "scalar": (),
}
INPUTS = {"kernel": 6, "weight": 18, "conv_kernel": 18}
KINDS = [name for name, cls in sorted(ARCHITECTURES.items()) if hasattr(cls, "mu_parametrised")]


def first_update(rule, layout=None):
    params, grads = (normal_tree(seed, SHAPES) for seed in (0, 1))
    tx = as_optax(rule, layout=layout)
    return jax.jit(tx.update)(grads, tx.init(params), params)[0]


def pair(name):
    return [create(name, jax.random.key(0), hidden_size=2, mu_parametrised=mu) for mu in (False, True)]


def test_the_mlp_kinds_have_it():
    assert {"mlp", "adafactor-mlp"} <= {*KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_steps_of_matrices_are_divided_by_their_inputs(name):
    plain, ours = map(first_update, pair(name))
    assert_trees_close(ours, {key: x / INPUTS.get(key, 1) for key, x in plain.items()}, rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_the_layout_says_what_is_a_matrix(name):
    layout = dict.fromkeys(SHAPES) | {"kernel": Layout((1,), (0,))}
    plain, ours = (first_update(rule, layout) for rule in pair(name))
    assert_trees_close(ours, {key: x / (4 if key == "kernel" else 1) for key, x in plain.items()}, rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_changes_the_outputs_as_much_at_every_width(name):
    """Where all inputs push the same way, the changes of an output add up."""
    changes = []
    for width in (4, 32, 256):
        rule = create(name, jax.random.key(2), hidden_size=8, mu_parametrised=True)
        same = {"w": jnp.ones((width, width), jnp.float32)}
        updates, _ = rule.update(same, rule.init(same), same)
        changes.append(float(jnp.sum(updates["w"][:, 0])))
    assert abs(changes[0]) > 1e-6
    np.testing.assert_allclose(changes, changes[0], rtol=1e-4)
