"""Paces follow the agreement of successive gradients, tensor by tensor, whatever the scales."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.pacing import AGREEMENT_DECAYS, GAIN, LEAK, SHARPNESS, START, TARGET

HORIZON = 1000
PARAMS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32), "b": jnp.ones(3)}
CONSTANT = jax.tree.map(jnp.ones_like, PARAMS)


def paced(name="paced-nadam", **controller):
    rule = lopt.create(name, jax.random.key(0))
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
    log_pace, average, paces = np.log(START), 0.0, []
    for step, cosine in enumerate(cosines):
        average = AGREEMENT_DECAYS[0] * average + (1 - AGREEMENT_DECAYS[0]) * cosine
        known = average / (1 - AGREEMENT_DECAYS[0] ** max(step, 1))
        change = GAIN * np.tanh(SHARPNESS * (known - TARGET)) if step else 0.0
        log_pace = (1 - LEAK) * log_pace + change
        paces.append(log_pace)
    return paces


def test_gradients_that_agree_raise_the_pace_as_stated():
    _, paces = follow(paced(), repeated(CONSTANT, [1.0] * 30), PARAMS)
    expected = expected_paces([0.0] + [1.0] * 29)
    np.testing.assert_allclose(paces, np.stack([expected, expected], axis=1), rtol=1e-4, atol=1e-5)
    assert expected[-1] > expected[0]


def test_gradients_that_take_turns_lower_it():
    _, paces = follow(paced(), repeated(CONSTANT, [1.0, -1.0] * 20), PARAMS)
    assert (np.diff(paces, axis=0)[2:] < 0).all()


def test_without_changes_it_is_nadam_in_the_tensors_units_on_its_schedule():
    # A change of e^-80, no leak, and a first pace of 1.
    rule = paced(gain=-20.0, leak=-20.0, start=-np.log(START) / 4)
    draws = np.random.default_rng(1).normal(size=(10, 4, 3)).astype(np.float32)
    params, gradients = {"w": PARAMS["w"]}, {"w": jnp.asarray(draws)}
    updates, _ = follow(rule, gradients, params)
    nadam = optax.nadam(1.0, b1=0.9, b2=0.97, eps=1e-8)
    state = nadam.init(params)
    unit = jnp.sqrt(jnp.mean(jnp.square(params["w"])) * 1.3)
    for step in range(10):
        gradient = {"w": gradients["w"][step]}
        with jax.numpy_dtype_promotion("standard"):
            _, state = nadam.update(gradient, state)
        moments = state[0]
        ahead = (0.9 * moments.mu["w"] + 0.1 * gradient["w"]) / (1 - 0.9 ** (step + 2))
        direction = ahead / (jnp.sqrt(moments.nu["w"] / (1 - 0.97 ** (step + 1))) + 1e-8)
        schedule = (1 - step / HORIZON) ** 1.3 + 0.02
        np.testing.assert_allclose(
            updates["w"][step], -rule.step_scale * unit * schedule * direction, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("name", ["paced-nadam", "paced-muon"])
def test_the_scale_of_the_loss_does_not_matter(name):
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(2), (12, *p.shape)), PARAMS)
    once, paces = follow(paced(name), gradients, PARAMS)
    again, paces_again = follow(paced(name), jax.tree.map(lambda g: 1e3 * g, gradients), PARAMS)
    np.testing.assert_allclose(paces, paces_again, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), once, again)


def test_a_tensor_without_gradients_keeps_its_pace_until_it_has_some():
    still = {"w": jnp.zeros((20, 4, 3)), "b": jnp.ones((20, 3))}
    _, paces = follow(paced(leak=-20.0), still, PARAMS)
    by_name = dict(zip(sorted(PARAMS), np.moveaxis(np.asarray(paces), 1, 0), strict=True))
    np.testing.assert_allclose(by_name["w"], np.log(START), rtol=1e-6)
    assert by_name["b"][-1] > np.log(START) + 0.3


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
