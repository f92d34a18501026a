"""Paces follow the agreement of successive gradients, tensor by tensor, whatever the scales."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.paced import MOST_STEP
from lopt.pacing import (
    AGREEMENT_DECAYS,
    BRAKE,
    GAIN,
    GROWTH,
    HURRY,
    LASTING,
    LEAK,
    MOST_BOUND,
    SHARPNESS,
    START,
    TARGET,
    Seen,
)
from lopt.units import OTHERS_SHARE

HORIZON = 1000
PARAMS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32), "b": jnp.ones(3)}
CONSTANT = jax.tree.map(jnp.ones_like, PARAMS)


def paced(name="paced-nadam", weight_decay=0.0, **controller):
    rule = lopt.create(name, jax.random.key(0), weight_decay=weight_decay)
    controller = {key: [value, 0, 0] if key == "gain" else value for key, value in controller.items()}
    values = {key: jnp.asarray(value, jnp.float32) for key, value in controller.items()}
    pacing = rule.pacing.replace(controller=rule.pacing.controller._replace(**values))
    return rule.replace(pacing=pacing)


@jax.jit
def follow(rule, gradients, params):
    """Return the updates and the logarithms of paces after each of several gradients."""

    def step(state, gradient):
        updates, state = rule.update(gradient, state, params)
        return state, (updates, state.paces.log_pace)

    return jax.lax.scan(step, rule.init(params, HORIZON), gradients)[1]


def repeated(gradient, signs):
    return jax.tree.map(lambda g: jnp.stack([sign * g for sign in signs]), gradient)


def expected_paces(cosines):
    """The recursion of the docstring, in plain numbers."""
    log_pace, averages, paces = np.log(START), np.zeros(2), []
    decays = np.array(AGREEMENT_DECAYS)
    for step, cosine in enumerate(cosines):
        averages = decays * averages + (1 - decays) * cosine
        fast, slow = averages / (1 - decays ** max(step, 1))
        bound = min(1 + HURRY * max(slow - LASTING, 0) + BRAKE * max(-slow - LASTING, 0), MOST_BOUND)
        change = GAIN * bound * np.tanh(SHARPNESS * (fast - TARGET)) if step else 0.0
        log_pace = (1 - LEAK) * log_pace + change
        paces.append(log_pace)
    return paces


def test_gradients_that_agree_raise_the_pace_as_stated():
    _, paces = follow(paced(), repeated(CONSTANT, [1.0] * 20), PARAMS)
    expected = expected_paces([0.0] + [1.0] * 19)
    np.testing.assert_allclose(paces, np.stack([expected, expected], axis=1), rtol=1e-4, atol=1e-5)
    assert expected[-1] > expected[0]


def test_gradients_that_take_turns_lower_it():
    """Until they are as low as paces get."""
    _, paces = follow(paced(), repeated(CONSTANT, [1.0, -1.0] * 10), PARAMS)
    assert (np.diff(paces, axis=0)[2:] < 0).all()


def test_disagreement_that_lasts_lowers_it_faster():
    """The cosine of a gradient and an average of opposite ones is -1."""
    signs = [1.0] * 3 + [-1.0]
    _, paces = follow(paced(), repeated(CONSTANT, signs), PARAMS)
    expected = expected_paces([0.0, 1.0, 1.0, -1.0])
    np.testing.assert_allclose(paces, np.stack([expected, expected], axis=1), rtol=1e-4, atol=1e-5)


def test_steps_are_bounded_by_the_present_size():
    """However high a pace: gradients that agree on the way out of a plateau would carry a tensor away."""
    rule = paced(start=2.0, gain=-20.0, leak=-20.0)  # a first pace of 983
    sizes = {"small": jnp.full((4,), 1e-3), "usual": jnp.full((4,), 1.0)}
    state = rule.init(sizes, HORIZON)
    updates, state = rule.update(jax.tree.map(jnp.ones_like, sizes), state, sizes)
    for name, update in updates.items():
        unit = np.abs(sizes[name][0]) * np.sqrt(1 + 0.3 * (10 if name == "small" else 0.5))
        np.testing.assert_allclose(-update, MOST_STEP * unit, rtol=1e-3)
    grown = jax.tree.map(lambda x: 50 * x, sizes)
    updates, _ = rule.update(jax.tree.map(jnp.ones_like, sizes), state, grown)
    for name, update in updates.items():
        np.testing.assert_allclose(-update, MOST_STEP * grown[name], rtol=1e-3)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_averages_are_unbiased_while_their_decays_change(name):
    """Of a constant gradient every weighted mean is the gradient, so Adam's direction has entries of 1."""
    rule = paced(name, gain=-20.0, leak=-20.0, start=np.log(0.5 / START) / 4)
    rule = rule.replace(decays=jnp.float32([[0.2, -0.5, 0.1], [-0.1, 0.4, 0.2]]), newest=jnp.float32(0.3))
    params = {"b": jnp.ones(3)}
    updates, _ = follow(rule, {"b": jnp.full((40, 3), 0.7)}, params)
    schedule = (1 - np.arange(40) / HORIZON) ** 1.3 + 0.02
    expected = -0.5 * rule.step_scale * np.sqrt(1.3) * schedule
    np.testing.assert_allclose(updates["b"], np.tile(expected[:, None], 3), rtol=1e-4)


def test_derivatives_in_theta_are_finite_where_gradients_stay_zero():
    params = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}

    still = jax.tree.map(lambda p: jnp.zeros((3, *p.shape)), params)

    def moved(rule):
        updates, paces = follow(rule, still, params)
        return jnp.sum(paces) + sum(jnp.sum(jnp.square(1 + u)) for u in jax.tree.leaves(updates))

    derivatives = jax.grad(moved)(paced())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(derivatives))


def test_the_network_tells_kinds_lengths_and_noise_apart():
    rule = paced(start=-1.0)  # far from the bound of steps
    first, last = rule.pacing.network
    seeing = rule.replace(pacing=rule.pacing.replace(network=(first, jax.tree.map(lambda x: x + 0.3, last))))
    params = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4), "embedding": jnp.ones((4, 4))}
    draws = jax.random.normal(jax.random.key(3), (6, 4))

    def sizes(horizon, gradients):
        state, found = seeing.init(params, horizon), None
        for row in gradients:
            grads = jax.tree.map(lambda p, row=row: jnp.broadcast_to(row, p.shape), params)
            found, state = seeing.update(grads, state, params)
        return {name: float(jnp.mean(jnp.square(update))) for name, update in found.items()}

    usual = sizes(500, draws)
    assert len({round(size / usual["bias"], 4) for size in usual.values()}) == 3
    assert sizes(5000, draws)["bias"] != pytest.approx(usual["bias"], rel=0.1)
    one, other = seeing.pacing.follow, paced().pacing.follow
    state = seeing.init(params, 500)
    timing = jnp.zeros(10)

    def factor(follow, clear):
        ones = jnp.ones(3)
        seen = Seen(*[0.1 * ones, ones, ones, clear * ones, ones, 0 * ones, 0 * ones])
        return follow(state.paces, seen, jnp.int32(5), ones, timing, jnp.ones(2))[1]

    assert not np.allclose(factor(one, 1.0), factor(one, 0.05), rtol=1e-2)
    np.testing.assert_array_equal(factor(other, 1.0), factor(other, 0.05))


def test_features_reach_the_outputs_directly():
    rule = paced(start=-1.0)
    direct = rule.pacing.direct.at[-3, 1].set(0.5)  # "is a matrix", to the factor of this step
    seeing = rule.replace(pacing=rule.pacing.replace(direct=direct))
    params = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
    grads = jax.tree.map(jnp.ones_like, params)
    usual, other = (r.update(grads, r.init(params, 500), params)[0] for r in (rule, seeing))
    np.testing.assert_allclose(other["kernel"], np.exp(np.tanh(0.5)) * usual["kernel"], rtol=1e-5)
    np.testing.assert_allclose(other["bias"], usual["bias"], rtol=1e-6)


def test_without_changes_it_is_nadam_in_the_tensors_units_on_its_schedule():
    # A change of e^-80, no leak, and a first pace of 1.
    rule = paced(gain=-20.0, leak=-20.0, start=-np.log(START) / 4)
    draws = np.random.default_rng(1).normal(size=(10, 4, 3)).astype(np.float32)
    params, gradients = {"w": PARAMS["w"]}, {"w": jnp.asarray(draws)}
    updates, _ = follow(rule, gradients, params)
    nadam = optax.nadam(1.0, b1=0.86, b2=0.976, eps=1e-8)
    state = nadam.init(params)
    unit = jnp.sqrt(jnp.mean(jnp.square(params["w"])) * 1.3)
    for step in range(10):
        gradient = {"w": gradients["w"][step]}
        with jax.numpy_dtype_promotion("standard"):
            _, state = nadam.update(gradient, state)
        moments = state[0]
        ahead = (0.86 * moments.mu["w"] + 0.14 * gradient["w"]) / (1 - 0.86 ** (step + 2))
        direction = ahead / (jnp.sqrt(moments.nu["w"] / (1 - 0.976 ** (step + 1))) + 1e-8)
        schedule = (1 - step / HORIZON) ** 1.3 + 0.02
        np.testing.assert_allclose(
            updates["w"][step], -rule.step_scale * unit * schedule * direction, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("horizon", "strength"), [(100, 0.3), (500, 0.3), (8000, 0.15)])
@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_weights_shrink_by_a_share_of_their_steps(name, horizon, strength):
    """By `weight_decay` times the step over the size, less in longer runs; a bias does not shrink."""
    params = {"w": 3 * PARAMS["w"], "embedding": {"embedding": 0.1 * PARAMS["w"]}, "b": PARAMS["b"]}
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(2), p.shape), params)
    plain, decayed = paced(name), paced(name, weight_decay=0.3)
    state = plain.init(params, horizon)
    before, _ = plain.update(gradients, state, params)
    after, _ = decayed.update(gradients, state, params)
    np.testing.assert_array_equal(before["b"], after["b"])
    _, *units = np.asarray(state.scale)  # of b, embedding, w
    for group, unit in zip(("embedding", "w"), units, strict=True):
        param, step, shrunk = (
            jax.tree.leaves(tree[group])[0]
            for tree in (params, before, jax.tree.map(jnp.subtract, before, after))
        )
        # The entries of Adam's first direction are 1 and -1; five Newton-Schulz steps come near their size.
        relative = np.sqrt(np.mean(np.square(step))) / max(unit, np.sqrt(np.mean(np.square(param))))
        np.testing.assert_allclose(
            shrunk, strength * relative * param, rtol=0.03 if name == "paced-muon" else 1e-3
        )


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_the_scale_of_the_loss_does_not_matter(name):
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(2), (12, *p.shape)), PARAMS)
    once, paces = follow(paced(name), gradients, PARAMS)
    again, paces_again = follow(paced(name), jax.tree.map(lambda g: 1e3 * g, gradients), PARAMS)
    np.testing.assert_allclose(paces, paces_again, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), once, again)


def test_the_sizes_of_inputs_do_not_matter_if_entries_are_normalised_before_a_matrix_is_made_orthogonal():
    """A row of a gradient is in proportion to its input; first updates depend on nothing but directions."""
    gradient = {"w": jax.random.normal(jax.random.key(3), (4, 3)), "b": jnp.ones(3)}
    sizes = jnp.asarray([1e-3, 0.1, 1.0, 30.0])[:, None]
    scaled = {"w": sizes * gradient["w"], "b": gradient["b"]}

    def first(rule, gradient):
        return rule.update(gradient, rule.init(PARAMS, HORIZON), PARAMS)[0]["w"]

    normalising = paced("paced-muon")
    plain = normalising.replace(normalise_first=False)
    expected = first(normalising, gradient)
    np.testing.assert_allclose(first(normalising, scaled), expected, rtol=1e-3, atol=1e-5)
    # Without it, the row of the smallest input gets less of the step, all but the share that is Adam's.
    of_rows = lambda step: np.sqrt(np.mean(np.square(step), axis=1))  # noqa: E731
    assert of_rows(first(plain, scaled))[0] < 0.4 * of_rows(first(plain, gradient))[0]
    assert of_rows(expected)[0] > 0.5 * of_rows(first(plain, gradient))[0]


def test_a_tensor_without_gradients_keeps_its_pace_until_it_has_some():
    still = {"w": jnp.zeros((20, 4, 3)), "b": jnp.ones((20, 3))}
    _, paces = follow(paced(leak=-20.0), still, PARAMS)
    by_name = dict(zip(sorted(PARAMS), np.moveaxis(np.asarray(paces), 1, 0), strict=True))
    np.testing.assert_allclose(by_name["w"], np.log(START), rtol=1e-6)
    assert by_name["b"][-1] > np.log(START) + 0.3


def test_a_pace_that_nothing_pushes_goes_to_a_power_of_the_growth_of_its_tensor():
    """Exactly, from where it starts; a tensor that shrank goes to 1, and so does one that is learned to."""
    steps, sizes = 200, {"grew": 30.0, "shrank": 0.1}
    at_first = {name: jnp.ones((2, 3)) for name in sizes}
    now = {name: jnp.full((2, 3), size) for name, size in sizes.items()}

    @jax.jit
    def last(rule):
        state = rule.init(at_first, HORIZON)
        step = lambda state, _: (rule.update(at_first, state, now)[1], None)  # noqa: E731
        return jax.lax.scan(step, state, None, steps)[0].paces.log_pace

    unit = np.sqrt(1 + OTHERS_SHARE)  # both start alike
    for learned, power in ((0.0, GROWTH), (0.1, GROWTH + 0.2), (-GROWTH / 2, 0.0)):
        rest = power * np.array([np.log(sizes["grew"] / unit), 0.0])
        expected = rest + (1 - LEAK) ** steps * (np.log(START) - rest)
        np.testing.assert_allclose(last(paced(gain=-20.0, growth=learned)), expected, rtol=2e-3)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_a_tensor_that_started_at_zero_and_was_never_moved_has_no_growth(name):
    """Whatever its size became from outside: without a unit, there is nothing that it grew from."""
    params = {"w": jnp.zeros((2, 3)), "b": jnp.ones(3)}
    rule = paced(name)
    state = rule.init(params, HORIZON)
    for _ in range(2):
        none = jax.tree.map(jnp.zeros_like, params)
        _, state = rule.update(none, state, {"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    np.testing.assert_allclose(state.paces.log_pace[1], (1 - LEAK) ** 2 * np.log(START), rtol=1e-5)


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_a_first_size_that_is_a_hundred_times_too_small_is_made_up_for(name):
    """Weights of 0.01 that should be 1: fixed steps in units of their size would not arrive."""
    params, rule = {"w": jnp.full((8, 1), 1e-2)}, paced(name)

    def step(carry, _):
        params, state = carry
        gradient = jax.tree.map(lambda w: w - 1.0, params)
        updates, state = rule.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), jnp.abs(params["w"] - 1).max()

    _, errors = jax.lax.scan(step, (params, rule.init(params, 400)), None, 400)
    assert errors[-1] < 0.05
