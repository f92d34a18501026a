"""Optimus: its update is a preconditioner times a step, it keeps the last vectors; tensors hear of others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lopt import Optimus

RANK, STEPS = 3, 5
update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


@functools.cache
def a_rule(num_blocks=1):
    rng = np.random.default_rng(0)
    rule = Optimus.create(jax.random.key(0), hidden_size=4, token_size=3, num_blocks=num_blocks, rank=RANK)
    return jax.tree.map(lambda x: x + rng.normal(scale=0.3, size=x.shape).astype(np.float32), rule)


def a_tree(seed, **sizes):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=size), jnp.float32) for name, size in sizes.items()}


def test_an_update_is_the_preconditioner_times_the_step():
    rule, params = a_rule(), a_tree(0, w=(3, 2))
    bare, kept = rule.replace(rank=0), jax.nn.sigmoid(rule.forgetting)
    state = rule.init(params)
    for step in range(STEPS):
        grads, before = a_tree(step + 1, w=(3, 2)), state
        updates, state = update(rule, grads, before, params)
        steps, _ = update(bare, grads, before._replace(vectors=()), params)
        vectors = [np.ravel(tree["w"]) for tree in (state.vectors[0], *before.vectors)]
        preconditioner = np.eye(6) + sum(kept**age * np.outer(u, u) for age, u in enumerate(vectors))
        expected = preconditioner @ np.ravel(steps["w"])
        np.testing.assert_allclose(np.ravel(updates["w"]), expected, rtol=1e-5, atol=1e-9)
        assert np.abs(expected - np.ravel(steps["w"])).max() > 1e-2 * np.abs(expected).max()
        # The new vector comes first, and the last is forgotten.
        np.testing.assert_array_equal(state.vectors[1]["w"], before.vectors[0]["w"])
        assert len(state.vectors) == RANK - 1


def test_tensors_depend_on_one_another_through_the_transformer_alone():
    params, grads = a_tree(0, a=(3, 2), b=(4,)), a_tree(1, a=(3, 2), b=(4,))
    for blocks in (0, 1):
        rule, found = a_rule(blocks), []
        for size in (1.0, 100.0):
            state = rule.init(params)
            for _ in range(2):  # the transformer reads the averages before the update
                scaled = grads | {"b": size * grads["b"]}
                updates, state = update(rule, scaled, state, params)
            found.append(updates["a"])
        assert bool((found[0] == found[1]).all()) == (blocks == 0)
