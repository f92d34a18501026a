"""AdafactorMLP, computed without its planes of features, is the rule that the paper defines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import AdafactorMLP, theta_size

from .textbook_adafactor import textbook_init, textbook_step

SHAPES = {
    "scalar": (),
    "vector": (5,),
    "one by one": (1, 1),
    "tall": (7, 3),
    "wide": (3, 7),
    "square": (4, 4),
    "convolution": (3, 3, 2, 4),
    "rank 3": (2, 5, 3),
    "rank 3, largest first": (5, 2, 3),
    "convolution of one channel": (3, 3, 1, 2),
}
GRADIENT_SIZES = (1.0, 1.0, 1e-4, 1e3, 0.0)  # of five updates in turn
ROUNDING = 1e-5  # where steps are some 0.1

jitted_update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))


def a_rule(seed=0):
    """A rule whose weights and decays are all away from where they start."""
    rng = np.random.default_rng(seed)
    rule = AdafactorMLP.create(jax.random.key(seed), step_scale=1.0, magnitude_scale=0.3)
    return jax.tree.map(lambda x: x + rng.normal(scale=0.05, size=x.shape).astype(np.float32), rule)


def normal_tree(seed, shapes, size=1.0):
    rng = np.random.default_rng(seed)
    return {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def wave(start, shape):
    """Half the sines of start, start + 1, ...: an array that needs no random numbers."""
    sines = np.sin(start + np.arange(np.prod(shape, dtype=int)))
    return jnp.asarray(0.5 * sines.reshape(shape), jnp.float32)


def assert_equal_to_rounding(fast, textbook):
    np.testing.assert_allclose(fast, textbook, rtol=0, atol=ROUNDING)


@pytest.fixture(scope="module")
def trajectories():
    """Updates of the fast form and of the textbook's, by shape and time."""
    rule = a_rule()
    params = normal_tree(1, SHAPES)
    state = rule.init(params)
    averages = {name: textbook_init(shape) for name, shape in SHAPES.items()}
    fast, textbook = [], []
    for time, size in enumerate(GRADIENT_SIZES):
        grads = normal_tree(2 + time, SHAPES, size)
        updates, state = jitted_update(rule, grads, state, params)
        steps = {}
        for name in SHAPES:
            steps[name], averages[name] = textbook_step(rule, averages[name], grads[name], params[name])
        fast.append(updates)
        textbook.append(steps)
        params = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
    return fast, textbook


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("time", range(len(GRADIENT_SIZES)))
def test_the_fast_form_is_the_textbook_form(trajectories, shape, time):
    fast, textbook = (form[time][shape] for form in trajectories)
    assert fast.shape == SHAPES[shape]
    assert_equal_to_rounding(fast, textbook)


def test_the_fast_form_is_the_textbook_form_under_vmap():
    shapes = {"matrix": (4, 2), "vector": (3,)}
    rules, params, grads = (
        [make(seed) for seed in range(3)]
        for make in (a_rule, lambda s: normal_tree(10 + s, shapes), lambda s: normal_tree(20 + s, shapes))
    )
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (rules, params, grads)]

    @jax.jit
    @jax.vmap
    def two_updates(rule, params, grads):
        first, state = rule.update(grads, rule.init(params), params)
        return first, rule.update(grads, state, params)[0]

    first, second = two_updates(*stacked)
    for member in range(3):
        for name, shape in shapes.items():
            averages = textbook_init(shape)
            for updates in (first, second):
                step, averages = textbook_step(
                    rules[member], averages, grads[member][name], params[member][name]
                )
                assert_equal_to_rounding(updates[name][member], step)


@pytest.mark.parametrize("hidden_size", [8, 16, 17, 32])
def test_wide_networks_are_the_textbooks_too(hidden_size):
    """Above 16 units, layers are products of matrices and no longer computed unit by unit."""
    rng, shapes = np.random.default_rng(0), {"matrix": (4, 2), "vector": (3,)}
    rule = AdafactorMLP.create(jax.random.key(0), hidden_size=hidden_size, step_scale=1.0)
    rule = jax.tree.map(lambda x: x + rng.normal(scale=0.05, size=x.shape).astype(np.float32), rule)
    params, averages = normal_tree(1, shapes), {name: textbook_init(shape) for name, shape in shapes.items()}
    state = rule.init(params)
    for time in range(2):
        grads = normal_tree(2 + time, shapes)
        updates, state = jitted_update(rule, grads, state, params)
        for name in shapes:
            step, averages[name] = textbook_step(rule, averages[name], grads[name], params[name])
            assert_equal_to_rounding(updates[name], step)


def test_three_updates_are_those_of_the_original():
    # Printed by google/learned_optimization's AdafacMLPLOpt(step_mult=1, exp_mult=1) with these numbers.
    original = {
        "matrix": [[0.37273365, 0.20177877, -0.07726586], [0.50249553, 0.46205688, -0.13458523]],
        "vector": [-0.29547238, 0.21363923],
    }
    rule = AdafactorMLP(
        layers=tuple(
            {"kernel": wave(1 + i, shape), "bias": wave(4 + i, shape[1:])}
            for i, shape in enumerate([(39, 4), (4, 4), (4, 2)])
        ),
        momentum_decay=wave(7, (3,)) / 20,
        second_decay=wave(8, ()) / 20,
        factored_decay=wave(9, (3,)) / 20,
        step_scale=1.0,
        magnitude_scale=1.0,
    )
    params = start = {"matrix": wave(10, (2, 3)), "vector": wave(11, (2,))}
    state = rule.init(params)
    for time in range(3):
        grads = {"matrix": wave(20 + time, (2, 3)), "vector": wave(30 + time, (2,))}
        updates, state = jitted_update(rule, grads, state, params)
        params = jax.tree.map(lambda p, u: np.asarray(p + u), params, updates)
    for name, expected in original.items():
        np.testing.assert_allclose(params[name] - start[name], expected, rtol=2e-5)


def test_theta_has_197_entries():
    rule = AdafactorMLP.create(jax.random.key(0))
    assert theta_size(rule) == 197
    assert sum(leaf.size for leaf in jax.tree.leaves(rule.layers)) == 190


def test_decays_start_at_the_papers_and_move_tenfold_in_log_memory():
    rule = AdafactorMLP.create(jax.random.key(0))
    for decays in (rule.decays().momentum, rule.decays().factored):
        np.testing.assert_allclose(decays, [0.9, 0.99, 0.999], rtol=1e-6)
    np.testing.assert_allclose(rule.decays().second, 0.999, rtol=1e-6)

    # An offset of log(2)/10 halves the memory 1 / (1 - d); its negative doubles it.
    halved = rule.replace(momentum_decay=jnp.full(3, jnp.log(2.0) / 10)).decays().momentum
    np.testing.assert_allclose(halved, [0.8, 0.98, 0.998], rtol=1e-6)
    doubled = rule.replace(second_decay=-jnp.log(2.0) / 10).decays().second
    np.testing.assert_allclose(doubled, 0.9995, rtol=1e-6)


def test_only_decays_of_squares_are_clipped():
    offset = jnp.log(12.0) / 10  # 1 - 0.1 * 12 = -0.2
    rule = AdafactorMLP.create(jax.random.key(0)).replace(
        momentum_decay=jnp.full(3, offset), factored_decay=jnp.full(3, offset), second_decay=jnp.asarray(1.0)
    )
    np.testing.assert_allclose(rule.decays().momentum[0], -0.2, rtol=1e-5)
    assert rule.decays().factored[0] == 0
    assert rule.decays().second == 0
