"""Fields of theta are frozen by their names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt


@pytest.fixture(scope="module")
def rule():
    return lopt.create("celo", jax.random.key(0), lstm_size=3)


def test_what_is_frozen_stays_as_it_was(rule):
    mask = lopt.trainable(rule, frozen=["mlp"])
    tx = optax.chain(optax.sgd(1.0), optax.masked(optax.set_to_zero(), jax.tree.map(lambda x: not x, mask)))
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, rule), tx.init(rule), rule)
    moved = optax.apply_updates(rule, updates)
    assert type(moved) is lopt.Celo
    jax.tree.map(np.testing.assert_array_equal, moved.mlp, rule.mlp)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b - 1), moved.scheduler, rule.scheduler)


def test_nothing_is_frozen_by_default(rule):
    mask = lopt.trainable(rule)
    assert all(jax.tree.leaves(mask))
    assert jax.tree.structure(mask) == jax.tree.structure(rule)


@pytest.mark.parametrize("frozen", [["layers"], ["step_scale"], "mlp", ["mlp", "scheduler"]], ids=str)
def test_what_is_no_field_of_arrays_or_leaves_nothing_is_refused(rule, frozen):
    with pytest.raises(lopt.UsageError, match=r"mlp, scheduler"):
        lopt.trainable(rule, frozen=frozen)
