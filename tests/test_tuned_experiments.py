"""The experiments that tune hyperparameters: what they compare with is right, and their checks can fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval.reproductions import tuned_l2, tuned_network, tuned_schedule
from eval.reproductions.searches import Halving, PopulationBased, train
from eval.reproductions.training import Curve
from eval.reproductions.tuned_images import find_images
from meta_train import Dynamics


class Constant(Dynamics):
    """Every step's loss is the square of theta, whatever was before."""

    def init(self, theta, horizon, key):
        return jnp.zeros((), jnp.float32)

    def step(self, theta, state, key):
        return state + 1, jnp.square(theta["x"])


class Line:
    """A space of one number."""

    def draw_widely(self, key):
        return {"x": jax.random.normal(key)}


def found(search, seed=0):
    return jax.jit(lambda key: search(Constant(), Line(), 3, key))(jax.random.key(seed))


def test_halving_finds_the_best_of_all_that_it_drew():
    search = Halving((9, 3, 1), (1, 3, 9))
    best = found(search)
    draw_key = jax.random.split(jax.random.key(0), 2 + 3)[0]
    drawn = np.asarray(jax.vmap(Line().draw_widely)(jax.random.split(draw_key, 9))["x"])
    np.testing.assert_allclose(best.path["x"], np.full(3, drawn[np.argmin(drawn**2)]), rtol=1e-6)
    np.testing.assert_allclose(best.objective, np.min(drawn**2), rtol=1e-5)


def test_rounds_cost_what_they_train():
    assert Halving((9, 3, 1), (1, 3, 9)).steps == 9 + 3 * 2 + 6
    assert [one.steps for one in tuned_network.HYPERBAND] == [810, 780, 900, 1080]
    assert all(one.rungs[-1] == tuned_network.STEPS for one in tuned_network.HYPERBAND)


def test_a_population_improves_and_its_path_is_what_was_trained():
    search = PopulationBased(10, 30, noise=0.01)
    best = found(search)
    path = np.asarray(best.path["x"])
    assert len(set(path.tolist())) > 1 or search.noise == 0 or abs(path[0]) < 0.2  # the best may stay itself
    again = train(Constant(), best.path, 30, jax.random.key(5))
    np.testing.assert_allclose(again, best.objective, rtol=1e-5)
    np.testing.assert_allclose(best.objective, np.mean(path**2), rtol=1e-5)


def test_the_analytic_derivative_of_one_step_is_that_of_the_training():
    """At weights that are fully trained, one step more: the derivative of the loss after it."""
    problem = tuned_l2.problem()
    dynamics = problem.members()[tuned_l2.TASK].dynamics
    (inputs, targets), _ = tuned_l2.read_rows().values()
    point = 0.3
    ridge = inputs.T @ inputs / tuned_l2.TRAIN + np.exp(point) * np.eye(inputs.shape[1])
    weights = jnp.asarray(np.linalg.solve(ridge, inputs.T @ targets / tuned_l2.TRAIN), jnp.float32)
    key = jax.random.key(0)

    def after(point):
        theta = {"l2": point}
        state = dynamics.init(theta, jnp.asarray(10, jnp.int32), key)
        return dynamics.step(theta, state._replace(params={"weights": weights}), key)[1]

    loss, derivative = jax.jit(jax.value_and_grad(after))(jnp.asarray(point, jnp.float32))
    losses, short = tuned_l2.solve(np.asarray([point]))
    np.testing.assert_allclose(loss, losses[0], rtol=1e-4)
    np.testing.assert_allclose(derivative, tuned_l2.RATE * np.exp(point) * short[0], rtol=1e-3)


def test_the_two_points_of_the_regression():
    best, wrong = tuned_l2.optima()
    losses, short = tuned_l2.solve(np.asarray([best - 0.05, best, best + 0.05, wrong - 0.05, wrong + 0.05]))
    assert losses[1] < min(losses[0], losses[2])
    assert short[3] < 0 < short[4]
    assert wrong - best > 1


def test_there_are_digits_where_nothing_is_prepared():
    assert find_images("mnist", "fashion_mnist").name == "digits"


def test_the_network_has_29_hyperparameters():
    theta = tuned_network.problem().theta(jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(theta)) == 29


def curve(values, thetas):
    steps = np.arange(values.shape[1])
    return Curve(steps, 100 * steps, values, thetas)


@functools.cache
def outcome_of_schedules(swapped):
    good, bad = np.full((6, 11), 0.31), np.full((6, 11), 0.6)
    if swapped:
        good, bad = bad, good
    surface = tuned_schedule.Surface(
        np.linspace(-3, 0, 3), np.linspace(-1, 2, 4), np.linspace(0.3, 2, 12).reshape(3, 4)
    )
    thetas = np.zeros((6, 11, 2))
    curves = {
        name: curve(good if tuned_schedule.ALLOWED[name][0] else bad, thetas)
        for name in tuned_schedule.METHODS
    }
    return tuned_schedule.outcome(curves, surface, quick=False)


def test_the_checks_of_the_schedule_hold_and_fail():
    kept, broken = outcome_of_schedules(False), outcome_of_schedules(True)
    assert kept.holds
    assert len(kept.rows) == len(kept.checks) == 4
    assert not any(check.holds for check in broken.checks)


@pytest.mark.parametrize("method", ["PES", "TBPTT"])
def test_the_checks_of_the_regression_fail_for_a_method_that_ends_elsewhere(method):
    best, wrong = tuned_l2.optima()
    ends = {name: wrong if name in tuned_l2.WRONG else best for name in tuned_l2.METHODS}
    ends |= {method: wrong + best - ends[method]}
    curves = {name: curve(np.full((6, 21), end), np.full((6, 21, 1), end)) for name, end in ends.items()}
    outcome = tuned_l2.outcome(curves, 20)
    assert [check.promise.split(":")[0] for check in outcome.checks if not check.holds] == [method]


def test_the_table_of_the_network_takes_the_last_points_within_a_budget():
    steps, errors = np.asarray([10, 20, 40]), np.asarray([[0.5, 0.4, 0.3], [0.7, 0.6, 0.5]])
    outcome = tuned_network.outcome({"PES": (steps, errors), "PBT": (steps, errors + 0.1)}, quick=False)
    assert outcome.columns[1:4] == ["mean error at 10", "mean error at 20", "mean error at 40"]
    assert outcome.rows[0] == ["PES", "0.6000", "0.5000", "0.4000", "0.3000 to 0.5000"]
    assert outcome.holds
    (check,) = outcome.checks
    assert check.measured == pytest.approx(0.8)
