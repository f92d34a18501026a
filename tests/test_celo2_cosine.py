"""Celo2's steps along a cosine: the constant ones, times the share of the schedule that is left."""

import jax
import numpy as np
import pytest

import lopt

HORIZON = 8
PARAMS = {
    "kernel": jax.random.normal(jax.random.key(1), (4, 3)),
    "bias": jax.random.normal(jax.random.key(2), (3,)),
}


def updates_of(rule):
    """Return a rule's updates for fixed parameters and changing gradients, as one array a step."""
    update = jax.jit(rule.update)
    state, steps = rule.init(PARAMS, HORIZON), []
    for step in range(HORIZON + 2):
        grads = jax.tree.map(lambda p, step=step: jax.random.normal(jax.random.key(step), p.shape), PARAMS)
        updates, state = update(grads, state, PARAMS)
        steps.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(updates)]))
    return np.stack(steps)


@pytest.mark.parametrize("name", ["celo2", "celo2-base"])
def test_steps_and_decay_shrink_along_half_a_cosine_to_zero(name):
    constant = lopt.create(name, jax.random.key(0), weight_decay=0.1)
    share = (1 + np.cos(np.pi * np.minimum(np.arange(HORIZON + 2) / HORIZON, 1))) / 2
    expected = share[:, None] * updates_of(constant)
    np.testing.assert_allclose(updates_of(constant.replace(cosine=True)), expected, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["celo2", "celo2-base"])
def test_the_length_of_the_run_is_asked_for_where_steps_shrink_only(name):
    rule = lopt.create(name, jax.random.key(0))
    assert lopt.as_optax(rule).init(PARAMS).horizon is None
    with pytest.raises(lopt.UsageError, match="needs the length of the training run"):
        lopt.as_optax(rule.replace(cosine=True))
