"""What every registered architecture keeps to, by itself and as an optax transformation.

A new architecture is tested by being registered.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

import tasks
from lopt import ARCHITECTURES, LearnedOptimizer, as_optax, create, static_fields, theta_size
from meta_train import BPTT, PES, ConstantHorizon, InnerTraining

HORIZON = 20
NARROW = {"hidden_size": 2, "lstm_size": 5, "bank_size": 3, "from_tensors_size": 4, "token_size": 3}
NARROW |= {"num_blocks": 1, "rank": 2}
"""Sizes of networks, where an architecture has such."""

SHAPES = {"w": (3, 2), "b": (2,)}
ALL_SHAPES = {
    "scalar": (),
    "vector": (3,),
    "single": (1,),
    "matrix": (4, 2),
    "one by one": (1, 1),
    "convolution": (3, 3, 2, 4),
}

SIBLINGS = {
    "celo": "velo",
    "celo-adam": "learnable-adam",
    "celo2-base": "celo2",
    "learnable-nadamw": "learnable-adam",
    "learnable-sgd": "learnable-adam",
    "mlp": "adafactor-mlp",
    "paced-muon": "muon-star",
    "star": "muon-star",
    "tensor-lstm": "velo",
}
"""Architectures whose states and programs are of the kind of another one's. What exporting does to them takes
minutes to compile, and is a slow test."""

every_architecture = pytest.mark.parametrize("name", sorted(ARCHITECTURES))
every_kind = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SIBLINGS)) for name in sorted(ARCHITECTURES)],
)

start = jax.jit(lambda rule, params: rule.init(params, HORIZON))
step = jax.jit(lambda rule, grads, state, params, loss=None: rule.update(grads, state, params, loss))


@functools.cache
def a_rule(name, seed=0) -> LearnedOptimizer:
    """A rule whose every meta-parameter is away from where it starts (some start at standing still).

    Its network is narrow, where it has one, so that it compiles in no time.
    """
    rng = np.random.default_rng(seed)
    narrow = {size: units for size, units in NARROW.items() if hasattr(ARCHITECTURES[name], size)}
    rule = create(name, jax.random.key(seed), **narrow)
    noise = lambda x: rng.normal(scale=0.05, size=x.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x) + noise(x)), rule)


@functools.cache
def a_transformation(name):
    return as_optax(a_rule(name), HORIZON)


@functools.cache
def jitted(name):
    """The transformation with its functions compiled, once for all tests: what is around it is not."""
    tx = a_transformation(name)
    return optax.GradientTransformationExtraArgs(jax.jit(tx.init), jax.jit(tx.update))


class Counted:
    """A jitted function that knows how often it was compiled."""

    def __init__(self, function):
        self.compilations = 0

        def counting(*args):
            self.compilations += 1  # this runs when jit traces, not when it executes
            return function(*args)

        self._jitted = jax.jit(counting)

    def __call__(self, *args):
        return self._jitted(*args)


def normal_tree(seed, shapes=SHAPES, size=1.0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(size * rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def scaled(tree, size):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x) * np.asarray(size, x.dtype)), tree)


PARAMS, GRADS = normal_tree(0), normal_tree(1)
LOSS = jnp.asarray(1.0)


def first_update(name, grads=GRADS, params=PARAMS, loss=None):
    return step(a_rule(name), grads, start(a_rule(name), params), params, loss)


def assert_trees_close(actual, expected, rtol=1e-5):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        size = np.abs(np.asarray(e, np.float32)).max(initial=0)
        np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(e, np.float32), rtol=rtol, atol=rtol * size
        )


def is_finite(tree):
    return all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(tree))


def types(tree):
    """Structure, shapes and dtypes, weak types too: what jit looks at."""
    described = jax.eval_shape(lambda: tree)
    return jax.tree.structure(described), [
        (x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(described)
    ]


# --- theta -----------------------------------------------------------------------------------------------


@every_architecture
def test_create_is_a_function_of_its_key(name):
    once, again, other = (create(name, jax.random.key(seed)) for seed in (0, 0, 1))
    assert jax.tree.structure(once) == jax.tree.structure(again) == jax.tree.structure(other)
    same, alike = (
        list(map(np.array_equal, jax.tree.leaves(once), jax.tree.leaves(rule))) for rule in (again, other)
    )
    assert all(same)
    assert all(alike) != reads_its_key(name)


def reads_its_key(name):
    """Tell whether `create` draws anything: a rule with a few rates has nothing to draw."""
    try:
        create(name, object())
    except TypeError:
        return True
    return False


@every_architecture
def test_theta_is_every_array_and_all_of_it_float32(name):
    rule = create(name, jax.random.key(0))
    assert theta_size(rule) == sum(leaf.size for leaf in jax.tree.leaves(rule)) > 0
    assert {leaf.dtype for leaf in jax.tree.leaves(rule)} == {jnp.dtype("float32")}
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(rule))  # else jit compiles for the next theta
    assert is_finite(rule)


@every_architecture
def test_create_takes_the_static_fields(name):
    rule = create(name, jax.random.key(0))
    assert jax.tree.structure(create(name, jax.random.key(0), **static_fields(rule))) == jax.tree.structure(
        rule
    )
    assert hash(jax.tree.structure(rule))


@every_architecture
def test_a_population_of_perturbed_thetas_is_a_vmap(name):
    rules = [a_rule(name, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *rules)

    @jax.jit
    def population(rules, grads, params):
        states = jax.vmap(lambda rule: rule.init(params, HORIZON))(rules)
        return jax.vmap(lambda rule, state: rule.update(grads, state, params))(rules, states)

    updates, states = population(stacked, GRADS, PARAMS)
    for member, rule in enumerate(rules):
        expected = step(rule, GRADS, start(rule, PARAMS), PARAMS)
        assert_trees_close(jax.tree.map(lambda x: np.asarray(x)[member], (updates, states)), expected)  # noqa: B023
    assert not np.allclose(updates["w"][0], updates["w"][1], rtol=1e-3, atol=0)


def _total(tree):
    leaves = jax.tree.leaves(tree)
    return sum((jnp.sum(leaf) for leaf in leaves if leaf.dtype == jnp.float32), jnp.float32(0))


@jax.jit
@jax.grad
def of_update(rule, grads, state, params):
    """Differentiate a sum over an update and the state after it."""
    updates, after = rule.update(grads, state, params)
    # Not the sum of squares, which is the same for any theta where steps are normalised.
    mixed = jnp.cos(jnp.arange(updates["w"].size)).reshape(updates["w"].shape)
    return jnp.sum(updates["w"] * mixed) + _total(after)


@jax.jit
@jax.grad
def of_start(rule, params):
    """Differentiate a sum over the state at the start: some of theta tells nothing else."""
    return _total(rule.init(params, HORIZON))


@every_architecture
@pytest.mark.parametrize("zero", ["none", "a row", "all"])
def test_the_derivative_in_theta_is_finite(name, zero):
    """Dead units and unseen words have zero gradients for ever: a root of zero must not spoil theta's."""
    # Ten wide layers in one array: how steps shrink in large networks shows in nothing smaller.
    params = {"w": PARAMS["w"], "layers": {"kernel": jnp.linspace(-0.2, 0.3, 1280).reshape(10, 64, 2)}}
    factor = {"none": 1.0, "a row": jnp.asarray([[0.0], [1.0], [1.0]]), "all": 0.0}[zero]
    slope = {"kernel": jnp.cos(jnp.arange(1280.0)).reshape(10, 64, 2) * (0.0 if zero == "all" else 1.0)}
    grads = {"w": GRADS["w"] * factor, "layers": slope}
    _, state = first_update(name, grads, params)
    seen = scaled(grads, 0.5)
    rule = a_rule(name)
    grown = scaled(params, 3.0)  # some meta-parameters matter only for tensors that are larger than at first
    derivatives = of_update(rule, seen, state, grown), of_start(rule, params)
    assert is_finite(derivatives)
    if zero != "all":
        pairs = zip(*map(jax.tree.leaves, derivatives), strict=True)
        assert all(np.any(np.asarray(update)) or np.any(np.asarray(start)) for update, start in pairs)


# --- what comes in and what goes out ---------------------------------------------------------------------


@every_architecture
def test_every_shape_gets_an_update_of_its_own_shape(name):
    params, grads = normal_tree(2, ALL_SHAPES), normal_tree(3, ALL_SHAPES)
    updates, state = first_update(name, grads, params)
    assert {key: update.shape for key, update in updates.items()} == ALL_SHAPES
    assert is_finite((updates, state))
    assert all(np.all(np.asarray(update) != 0) for update in updates.values())


@every_architecture
def test_a_tensors_update_does_not_depend_on_its_name_or_on_the_trees_form(name):
    pair = (PARAMS["b"], [PARAMS["w"]])
    updates, _ = first_update(name, (GRADS["b"], [GRADS["w"]]), pair)
    expected, _ = first_update(name)
    assert_trees_close(updates, (expected["b"], [expected["w"]]))


@every_architecture
@pytest.mark.parametrize("empty", [{}, (), {"a": {}, "b": None}], ids=repr)
def test_an_empty_tree_stays_empty(name, empty):
    tx = a_transformation(name)
    updates, state = tx.update(empty, tx.init(empty), empty)
    assert updates == empty
    assert types(state) == types(tx.init(empty))


@every_architecture
def test_holes_in_the_tree_stay_holes(name):
    init, update = jitted(name)
    holes = {"a hole": None, "masked": optax.MaskedNode()}
    updates, _ = update(GRADS | holes, init(PARAMS | holes), PARAMS | holes)
    assert {key: updates.pop(key) for key in holes} == holes
    assert_trees_close(updates, first_update(name)[0])


@every_architecture
def test_updates_have_the_dtypes_of_the_parameters_and_are_computed_in_float32(name):
    low = {"w": jnp.bfloat16, "b": jnp.float16}
    # Values that both precisions hold exactly.
    params, grads = (jax.tree.map(lambda x: jnp.round(4 * x) / 4, tree) for tree in (PARAMS, GRADS))
    low_params, low_grads = ({key: tree[key].astype(low[key]) for key in low} for tree in (params, grads))
    expected, full_state = first_update(name, grads, params)
    for given in (low_grads, grads):
        updates, state = first_update(name, given, low_params)
        assert {key: update.dtype for key, update in updates.items()} == low
        assert_trees_close(updates, expected, rtol=2**-8)
        assert types(state) == types(full_state)


@every_architecture
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-10, 1e10, 1e20, 3e38])
def test_updates_stay_finite_whatever_the_size_of_the_gradients(name, size):
    rule, state = a_rule(name), start(a_rule(name), PARAMS)
    grads = jax.tree.map(lambda x: jnp.asarray(np.float32(size) * np.sign(x)), GRADS)
    for given in (grads, grads, GRADS):
        updates, state = step(rule, given, state, PARAMS)
        assert is_finite(updates)
        assert is_finite(state)


@every_architecture
def test_gradients_that_are_not_numbers_are_not_hidden(name):
    grads = GRADS | {"w": GRADS["w"].at[0, 0].set(jnp.nan)}
    updates, _ = first_update(name, grads)
    assert jnp.isnan(updates["w"]).any()


# --- as an optax transformation --------------------------------------------------------------------------


@every_architecture
def test_the_transformation_is_the_rule(name):
    init, update = jitted(name)
    state, expected_state, params = init(PARAMS), start(a_rule(name), PARAMS), PARAMS
    for seed in range(3):
        grads = normal_tree(seed)
        updates, state = update(grads, state, params)
        expected, expected_state = step(a_rule(name), grads, expected_state, params)
        assert_trees_close((updates, state), (expected, expected_state))
        params = optax.apply_updates(params, updates)


@every_architecture
def test_the_state_keeps_its_form_and_nothing_is_compiled_twice(name):
    tx = a_transformation(name)
    update = Counted(tx.update)  # of its own: what other tests had compiled would hide a second time
    params, state = PARAMS, tx.init(PARAMS)
    before = types(state)
    for _ in range(3):
        updates, state = update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
        assert types(state) == before
    assert update.compilations == 1
    assert types(jitted(name)[0](PARAMS)) == before


@every_architecture
def test_value_is_taken_and_other_extra_arguments_are_ignored(name):
    init, update = jitted(name)
    plain, plain_state = update(GRADS, init(PARAMS), PARAMS)
    with_value, state = update(GRADS, init(PARAMS), PARAMS, value=LOSS)
    assert_trees_close((with_value, state), first_update(name, loss=LOSS))
    others = {"grad": GRADS, "value_fn": lambda p: 0.0, "other": "thing"}
    with_more = functools.partial(a_transformation(name).update, **others)
    program, same = (
        str(jax.make_jaxpr(function)(GRADS, init(PARAMS), PARAMS, value=LOSS))
        for function in (a_transformation(name).update, with_more)
    )
    assert same == program
    assert is_finite(with_value)
    assert types(with_value) == types(plain)
    assert types(state) == types(plain_state)


@every_architecture
def test_the_parameters_are_asked_for(name):
    tx = a_transformation(name)
    with pytest.raises(ValueError, match=r"reads the parameters: call tx\.update\(grads, state, params\)"):
        tx.update(GRADS, tx.init(PARAMS))


@every_architecture
def test_the_horizon_is_asked_for_exactly_by_rules_that_need_it(name):
    rule = a_rule(name)
    if rule.needs_horizon:
        message = rf"{type(rule).__name__} needs the length of the training run: .*horizon="
        with pytest.raises(ValueError, match=message):
            as_optax(rule)
        with pytest.raises(ValueError, match=message):
            rule.init(PARAMS)
    else:
        updates, _ = step(rule, GRADS, as_optax(rule).init(PARAMS), PARAMS)
        assert_trees_close(updates, first_update(name)[0], rtol=0)


@every_architecture
@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_below_one_is_refused(name, horizon):
    with pytest.raises(ValueError, match=f"horizon must be at least 1 step, not {horizon}"):
        as_optax(a_rule(name), horizon)


@every_architecture
def test_the_horizon_may_be_traced(name):
    rule = a_rule(name)  # it is kept: made in a trace, it would hold tracers
    traced = jax.jit(lambda horizon: as_optax(rule, horizon).init(PARAMS))(HORIZON)
    assert_trees_close(traced, start(rule, PARAMS))


@every_architecture
def test_the_state_may_be_donated(name):
    tx = a_transformation(name)
    update = jax.jit(tx.update, donate_argnums=(1,))
    state = tx.init(PARAMS)  # not compiled: there a buffer can be in two places
    old_leaves = jax.tree.leaves(state)
    updates, state = update(GRADS, state, PARAMS)
    assert all(leaf.is_deleted() for leaf in old_leaves)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(PARAMS))
    update(GRADS, state, PARAMS)
    assert_trees_close(updates, first_update(name)[0])


@every_architecture
def test_optax_can_map_over_the_state(name):
    tx = a_transformation(name)
    state = tx.init(PARAMS)
    mapped = optax.tree.map_params(tx, lambda x: x, state)
    assert_trees_close(mapped, state, rtol=0)
    doubled = optax.tree.map_params(tx, lambda x: x, state, transform_non_params=lambda x: x + 1)
    count = optax.tree.get(state, "count")  # a rule without a state has none
    assert count is None or optax.tree.get(doubled, "count") == count + 1


# --- among optax's own transformations -------------------------------------------------------------------


@every_architecture
def test_it_chains(name):
    tx = optax.chain(optax.clip_by_global_norm(0.1), jitted(name), optax.scale(0.5))
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, value=LOSS)
    clipped, _ = optax.clip_by_global_norm(0.1).update(GRADS, optax.EmptyState())
    assert_trees_close(updates, scaled(first_update(name, clipped, loss=LOSS)[0], 0.5))


@every_architecture
def test_it_can_be_masked(name):
    tx = optax.masked(jitted(name), {"w": True, "b": False})
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, value=LOSS)
    alone, _ = first_update(name, {"w": GRADS["w"]}, {"w": PARAMS["w"]}, LOSS)
    assert_trees_close(updates, {"w": alone["w"], "b": GRADS["b"]})


@every_architecture
def test_it_can_be_one_of_several(name):
    tx = optax.multi_transform({"learned": jitted(name), "sgd": optax.sgd(0.1)}, {"w": "learned", "b": "sgd"})
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, value=LOSS)
    alone, _ = first_update(name, {"w": GRADS["w"]}, {"w": PARAMS["w"]}, LOSS)
    assert_trees_close(updates, {"w": alone["w"], "b": -0.1 * GRADS["b"]})


@every_architecture
def test_a_step_that_is_not_finite_can_be_skipped(name):
    tx = optax.apply_if_finite(a_transformation(name), max_consecutive_errors=3)
    update, state = jax.jit(tx.update), tx.init(PARAMS)
    before = state.inner_state
    skipped, state = update(scaled(GRADS, np.nan), state, PARAMS)
    assert_trees_close(skipped, scaled(GRADS, 0.0), rtol=0)
    assert_trees_close(state.inner_state, before, rtol=0)
    assert_trees_close(update(GRADS, state, PARAMS)[0], first_update(name)[0])


@every_architecture
def test_gradients_can_be_accumulated(name):
    steps = optax.MultiSteps(a_transformation(name), every_k_schedule=2)
    update, state = jax.jit(steps.update), steps.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):  # optax divides gradients by an integer count
        nothing, state = update(scaled(GRADS, 0.5), state, PARAMS)
        accumulated, _ = update(scaled(GRADS, 1.5), state, PARAMS)
    assert_trees_close(nothing, scaled(GRADS, 0.0), rtol=0)
    assert_trees_close(accumulated, first_update(name)[0])


@every_architecture
def test_it_sits_in_a_train_state(name):
    train_state = TrainState.create(apply_fn=lambda p: p, params=PARAMS, tx=a_transformation(name))
    after = jax.jit(lambda state, grads: state.apply_gradients(grads=grads))(train_state, GRADS)
    assert_trees_close(after.params, optax.apply_updates(PARAMS, first_update(name)[0]))
    assert after.step == 1


@every_architecture
def test_hyperparameters_can_be_injected(name):
    @optax.inject_hyperparams
    def shrunk(theta_scale):
        return as_optax(jax.tree.map(lambda x: theta_scale * x, a_rule(name)), HORIZON)

    tx = shrunk(theta_scale=1.0)
    state = tx.init(PARAMS)
    update = Counted(tx.update)
    assert_trees_close(update(GRADS, state, PARAMS)[0], first_update(name)[0])
    state.hyperparams["theta_scale"] = jnp.full_like(state.hyperparams["theta_scale"], 0.5)
    halved, begun = scaled(a_rule(name), 0.5), start(a_rule(name), PARAMS)  # a state may start from theta
    assert_trees_close(update(GRADS, state, PARAMS)[0], step(halved, GRADS, begun, PARAMS)[0])
    assert update.compilations == 1


# --- as theta of a run -----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [PES, BPTT])
@every_architecture
def test_a_particle_has_an_episode_of_no_steps_before_its_first(name, estimator):
    """Rules refuse to train for no steps, where they see the number."""
    dynamics = InnerTraining(tasks.Quadratic())
    particle = estimator(horizon=ConstantHorizon(4), window=2).init(dynamics, a_rule(name))
    assert particle.episodes == 0
    assert particle.age == 0
    assert not any(
        np.any(np.asarray(x))
        for x in jax.tree.leaves(particle)
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    )


def test_what_is_tested_in_anothers_place_is_there_with_it():
    assert SIBLINGS.keys() | SIBLINGS.values() <= ARCHITECTURES.keys()
    assert not SIBLINGS.keys() & set(SIBLINGS.values())
