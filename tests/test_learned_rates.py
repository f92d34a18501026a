"""Learned schedules and rates by kind of tensor, and the rules that have them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import LearnableAdam, LearnableNAdamW, LearnableSGD, as_optax, theta_size

from .test_optimizer_contract import assert_trees_close, normal_tree

SHAPES = {"dense": {"kernel": (3, 2), "bias": (2,)}, "embed": {"embedding": (4, 2)}, "scalar": ()}
every_rule = pytest.mark.parametrize("cls", [LearnableSGD, LearnableAdam, LearnableNAdamW])


def a_tree(seed):
    return jax.tree.map(
        lambda shape: normal_tree(seed, {"x": shape})["x"], SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


def updates_of(rule, horizon, steps, params=None):
    tx, params, found = as_optax(rule, horizon), a_tree(0) if params is None else params, []
    update, state = jax.jit(tx.update), tx.init(params)
    for time in range(steps):
        updates, state = update(a_tree(1 + time), state, params)
        found.append(updates)
    return found


def test_nadamw_is_optaxs():
    ours = as_optax(
        LearnableNAdamW.create(jax.random.key(0), learning_rate=0.02, b1=0.8, b2=0.97, weight_decay=0.3)
    )
    theirs = optax.nadamw(0.02, 0.8, 0.97, weight_decay=0.3)
    params, states = a_tree(0), [tx.init(a_tree(0)) for tx in (ours, theirs)]
    for time in range(5):
        updates, states[0] = ours.update(a_tree(1 + time), states[0], params)
        with jax.numpy_dtype_promotion("standard"):  # which optax relies on
            expected, states[1] = theirs.update(a_tree(1 + time), states[1], params)
        assert_trees_close(updates, expected, rtol=1e-5)
        params = optax.apply_updates(params, updates)


@every_rule
def test_both_options_change_nothing_at_first(cls):
    plain = cls.create(jax.random.key(0))
    rich = cls.create(jax.random.key(0), schedule_knots=10, rates_by_kind=True)
    assert theta_size(rich) == theta_size(plain) + 14
    for ours, theirs in zip(updates_of(rich, 7, 3), updates_of(plain, None, 3), strict=True):
        assert_trees_close(ours, theirs, rtol=1e-6)


@every_rule
def test_a_schedule_is_linear_between_its_knots_and_constant_after_them(cls):
    knots = [0.5, -1.0, 0.25, -2.0]
    plain = cls.create(jax.random.key(0))
    rule = cls.create(jax.random.key(0), schedule_knots=4).replace(schedule=jnp.asarray(knots, jnp.float32))
    horizon, steps = 9, 12
    fractions = np.minimum(np.arange(steps) / horizon, 1.0)
    factors = np.exp(np.interp(fractions, np.linspace(0, 1, 4), knots))
    pairs = zip(updates_of(rule, horizon, steps), updates_of(plain, None, steps), factors, strict=True)
    for ours, theirs, factor in pairs:
        assert_trees_close(ours, jax.tree.map(lambda x: x * factor, theirs), rtol=1e-5)  # noqa: B023


@every_rule
def test_a_single_knot_is_a_constant(cls):
    rule = cls.create(jax.random.key(0), schedule_knots=1).replace(schedule=jnp.asarray([1.0], jnp.float32))
    (plain,), (ours,) = (updates_of(one, 5, 1) for one in (cls.create(jax.random.key(0)), rule))
    assert_trees_close(ours, jax.tree.map(lambda x: x * np.e, plain), rtol=1e-5)


@every_rule
def test_each_kind_has_its_rate(cls):
    rates = jnp.asarray([1.0, 2.0, 3.0, 4.0], jnp.float32)  # of matrices, vectors, embeddings, scalars
    rule = cls.create(jax.random.key(0), rates_by_kind=True).replace(kind_rates=rates)
    (plain,), (ours,) = (updates_of(one, None, 1) for one in (cls.create(jax.random.key(0)), rule))
    kinds = {"dense": {"kernel": 1.0, "bias": 2.0}, "embed": {"embedding": 3.0}, "scalar": 4.0}
    assert_trees_close(ours, jax.tree.map(lambda x, log: x * np.exp(log), plain, kinds), rtol=1e-5)


@every_rule
def test_a_schedule_needs_a_horizon_and_nothing_else_does(cls):
    rule = cls.create(jax.random.key(0), schedule_knots=3)
    assert rule.needs_horizon
    with pytest.raises(ValueError, match=f"{cls.__name__} needs the length of the training run"):
        as_optax(rule)
    with pytest.raises(ValueError, match=f"{cls.__name__} needs the length of the training run"):
        rule.init(a_tree(0))
    assert not cls.create(jax.random.key(0), rates_by_kind=True).needs_horizon


@every_rule
def test_theta_reaches_the_update_by_every_knot_and_kind(cls):
    rule, params = cls.create(jax.random.key(0), schedule_knots=3, rates_by_kind=True), a_tree(0)

    def total(rule):
        state, sum_of_all = rule.init(params, 5), jnp.float32(0)
        for time in range(5):
            updates, state = rule.update(a_tree(1 + time), state, params)
            sum_of_all = sum_of_all + sum(jnp.sum(jnp.square(u)) for u in jax.tree.leaves(updates))
        return sum_of_all

    derivative = jax.jit(jax.grad(total))(rule)
    assert all(bool((leaf != 0).all()) and bool(jnp.isfinite(leaf).all()) for leaf in derivative.schedule)
    assert bool((derivative.kind_rates > 0).all())


@every_rule
def test_they_are_published_and_read_again(cls, tmp_path):
    rule = cls.create(jax.random.key(0), schedule_knots=3, rates_by_kind=True)
    rule = jax.tree.map(lambda x: x + 0.5, rule)
    lopt.save(rule, tmp_path / "rule")
    assert_trees_close(lopt.load(tmp_path / "rule"), rule, rtol=0)
