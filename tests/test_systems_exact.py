"""The systems of the published experiments have the published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import MeanLoss, SumLoss, advance, run_episode, start, systems, z_score

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def episode_loss(dynamics, theta, steps, objective=SumLoss()):  # noqa: B008 (it is frozen)
    return run_episode(dynamics, objective, theta, steps, KEY)[0].objective


# --- a linear system -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [6, 12])
def test_closed_form_gradient_is_the_backpropagated_one(steps):
    system, theta = systems.Linear.create(jax.random.key(1), 12), jnp.asarray([0.3, -0.5, 0.8, 0.1])
    exact = system.gradients(theta, 3, steps)
    assert exact.shape == (steps // 3, 4)
    backpropagated = jax.grad(episode_loss, argnums=1)(system, theta, steps)
    np.testing.assert_allclose(exact.sum(0), backpropagated, rtol=1e-12)


def test_first_windows_gradient_is_that_of_an_episode_of_one_window():
    system, theta = systems.Linear.create(jax.random.key(1), 12), jnp.asarray([0.3, -0.5, 0.8, 0.1])
    backpropagated = jax.grad(episode_loss, argnums=1)(system, theta, 3)
    np.testing.assert_allclose(system.gradients(theta, 3)[0], backpropagated, rtol=1e-12)


# --- influence balancing ---------------------------------------------------------------------------------


def test_influence_has_the_published_values():
    measured = systems.influence(100)
    published = {1: 1, 2: 2, 5: 5, 10: 10, 15: 14.6759, 19: 16.47606, 20: 16.47606, 30: 9.86993}
    published |= {40: 0.565538, 41: -0.218987, 50: -4.75267, 100: -5.99999998}
    for steps, value in published.items():
        np.testing.assert_allclose(measured[steps - 1], value, atol=6e-6, err_msg=str(steps))


def test_influence_is_the_derivative_of_the_system():
    system = systems.InfluenceBalancing()

    def first_unit(theta):
        state = system.init(theta, jnp.asarray(30), KEY)
        return jax.lax.scan(lambda s, _: (system.step(theta, s, KEY)[0], None), state, None, 30)[0][0][0]

    np.testing.assert_allclose(jax.grad(first_unit)(jnp.asarray(0.5)), systems.influence(30)[-1], rtol=1e-12)


def test_short_windows_have_the_wrong_sign():
    by_end = systems.influence(120)
    assert list(np.flatnonzero(np.diff(np.sign(by_end))) + 1) == [40]
    summed = np.cumsum(by_end)
    assert list(np.flatnonzero(np.diff(np.sign(summed))) + 1) == [109]


@pytest.mark.parametrize(("summed", "wrong", "right"), [(False, 40, 41), (True, 109, 110)])
def test_truncated_gradients_turn_where_influence_does(summed, wrong, right):
    signs = {window: np.sign(_truncated_gradient(window, summed)) for window in (wrong, right)}
    # The long-term gradient at 0.5 is 24, so a positive sign is the right one.
    assert signs == {wrong: -1, right: 1}


def _truncated_gradient(window, summed):
    """Backpropagate a window from the fixed point of theta = 0.5, where all losses have one slope."""
    theta = jnp.asarray(0.5)
    drive = theta * jnp.where(jnp.arange(23) < 10, 1.0, -1.0)
    fixed = jnp.linalg.solve(0.5 * (jnp.eye(23) - jnp.eye(23, k=1)), drive)
    system = systems.InfluenceBalancing(every=window, summed=summed)
    begun = start(system, theta, jnp.asarray(window), KEY).replace(state=(fixed, jnp.asarray(0, jnp.int32)))
    loss = lambda theta: advance(system, SumLoss(), theta, begun, window, KEY)[1].objective  # noqa: E731
    return jax.jit(jax.grad(loss))(theta)


def test_long_term_loss_is_what_long_episodes_end_with():
    system = systems.InfluenceBalancing(every=600)
    for theta in (0.5, -0.2):
        ended = episode_loss(system, jnp.asarray(theta), 600)
        np.testing.assert_allclose(ended, systems.long_term_loss(jnp.asarray(theta)), rtol=1e-9)
    assert systems.long_term_loss(jnp.asarray(0.5)) == 8
    assert jax.grad(systems.long_term_loss)(jnp.asarray(0.5)) == 24
    assert systems.long_term_loss(jnp.asarray(systems.OPTIMUM)) < 1e-30


@pytest.mark.parametrize(
    ("window", "radius"),
    [
        (None, 0.9933691),
        (1, 1.00056338),
        (10, 1.00565252),
        (40, 1.00033920),
        (41, 0.99986859),
        (100, 0.9964000),
    ],
)
def test_spectral_radii_at_the_published_rate(window, radius):
    np.testing.assert_allclose(systems.spectral_radius(1e-4, window), radius, atol=6e-8)


def test_rtrl_is_stable_up_to_a_rate_of_2888e_7():
    assert systems.spectral_radius(2.888e-4) < 1 < systems.spectral_radius(2.889e-4)


# --- the toy problem -------------------------------------------------------------------------------------


def test_toy_losses_are_the_published_ones():
    system = systems.ToyRegression()
    loss = jax.jit(jax.vmap(lambda theta: episode_loss(system, theta, 100)))
    corners = loss(jnp.asarray([[-4.0, -4.0], [0.0, 0.0], [np.log(0.01)] * 2]))
    np.testing.assert_allclose(corners, [2487.77, 2423.47, 2490.56], atol=0.01)


def test_toy_losses_are_least_near_the_published_place():
    system = systems.ToyRegression()
    axis = jnp.linspace(-5, 5, 81)  # Steps of 1/8.
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    losses = jax.jit(jax.vmap(lambda theta: episode_loss(system, theta, 100)))(grid)
    near = jnp.max(jnp.abs(grid - jnp.asarray([[2.75, -1.75]])), axis=1) < 0.01
    assert 553 < losses.min() < 556
    assert losses[near].min() < 554.5
    # The short-sighted optimum, where gradient methods end.
    plateau = episode_loss(system, jnp.asarray([0.14, -0.78]), 100)
    np.testing.assert_allclose(plateau, 2423.2, atol=0.1)


# --- the noisy quadratic ---------------------------------------------------------------------------------


def test_the_noisy_quadratics_losses_are_those_of_its_random_descents():
    system, theta = systems.NoisyQuadratic(dimensions=3, condition=10.0), jnp.log(jnp.asarray([0.7, 2.0]))
    draws = np.random.default_rng(0)
    h, x, losses = system.curvatures, np.ones((200_000, 3)), []
    for t in range(4):
        centre = draws.normal(size=x.shape) * np.sqrt(system.noise / h)
        x = x - 0.7 * (1 + t / 4) ** -2.0 * h * (x - centre)
        losses.append(np.sum(h * (x**2 + system.noise / h), axis=1) / 2)
    state, expected = system.init(theta, jnp.asarray(4), KEY), []
    for _ in range(4):
        state, loss = system.step(theta, state, KEY)
        expected.append(loss)
    assert np.all(np.abs(z_score(np.stack(losses, 1), np.stack(expected))) < 4)
    assert np.all(np.abs(z_score(np.stack(losses, 1), 1.01 * np.stack(expected))) > 4)


def test_the_best_rate_for_one_step_is_below_the_best_for_many():
    """In closed form for one step: sum h^2 A / sum h^3 (A + noise / h)."""
    system, steps = systems.NoisyQuadratic(), 200
    theta = jnp.log(jnp.asarray([1.32, 7.79]))  # about the best schedule for all 200 steps
    state, h = system.init(theta, jnp.asarray(steps), KEY), system.curvatures
    for _ in range(steps // 4):
        state, _ = system.step(theta, state, KEY)
    squared = np.asarray(state.squared)
    greedy = np.sum(h**2 * squared) / np.sum(h**3 * (squared + system.noise / h))
    rate = lambda x: systems.rate_at(jnp.stack([jnp.log(x), -jnp.inf]), jnp.zeros(()))  # noqa: E731
    np.testing.assert_allclose(rate(0.2), 0.2, rtol=1e-12)
    one = lambda x: system.step(jnp.stack([jnp.log(x), -jnp.inf]), state, KEY)[1]  # noqa: E731
    np.testing.assert_allclose(jax.grad(one)(jnp.asarray(greedy)), 0, atol=1e-9)
    assert greedy < 0.6 * systems.rate_at(theta, jnp.asarray(0.25))


# --- chaos -----------------------------------------------------------------------------------------------


def test_lorenz_gradients_explode_as_published():
    system, theta = systems.Lorenz.create(2000), jnp.asarray(systems.GUESS)
    loss = lambda theta, steps: episode_loss(system, theta, steps, MeanLoss())  # noqa: E731
    np.testing.assert_allclose(loss(theta, 2000), 353.2994, atol=6e-5)
    for steps, norm in {100: 3.18e3, 500: 9.6e2, 1000: 3.44e4, 2000: 9.84e5}.items():
        gradient = jax.grad(loss)(theta, steps)
        np.testing.assert_allclose(jnp.linalg.norm(gradient), norm, rtol=6e-3, err_msg=str(steps))


def test_lorenz_is_matched_by_its_own_parameters():
    system = systems.Lorenz.create(200)
    assert episode_loss(system, jnp.asarray(systems.TRUTH), 200) == 0
