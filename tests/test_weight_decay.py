"""Weight decay as an option of the export."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt

PARAMS = {"kernel": jnp.full((4, 2), 3.0), "bias": jnp.full(2, 3.0)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
DECAYING = {"paced-nadam", "paced-muon", "celo2", "celo2-base"}


def first_update(rule, **options):
    tx = lopt.as_optax(rule, horizon=100, **options)
    return tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("name", sorted(lopt.ARCHITECTURES))
def test_a_rule_has_it_or_says_so(name):
    rule = lopt.create(name, jax.random.key(0))
    if name in DECAYING:
        assert lopt.as_optax(rule, horizon=100, weight_decay=0.1)
    else:
        with pytest.raises(lopt.UsageError, match="no weight decay of its own"):
            lopt.as_optax(rule, horizon=100, weight_decay=0.1)


@pytest.mark.parametrize("unfit", [-0.1, math.nan, math.inf])
def test_it_is_a_finite_number_of_at_least_0(unfit):
    with pytest.raises(lopt.UsageError, match="finite number of at least 0"):
        lopt.as_optax(lopt.create("paced-nadam", jax.random.key(0)), 100, weight_decay=unfit)


def test_none_is_the_rules_own_and_0_is_none():
    rule = lopt.create("paced-nadam", jax.random.key(0), weight_decay=0.3)
    own, off, given = (first_update(rule, **kw) for kw in ({}, {"weight_decay": 0.0}, {"weight_decay": 0.3}))
    jax.tree.map(np.testing.assert_array_equal, own, given)
    np.testing.assert_array_equal(own["bias"], off["bias"])
    assert (np.asarray(own["kernel"]) < np.asarray(off["kernel"])).all()
