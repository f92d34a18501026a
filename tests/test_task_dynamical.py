"""Solutions solve their equations, a policy's gradient has no bias, and a learned rule does what it says."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from meta_train import z_score
from tasks.dynamical import equations
from tasks.dynamical.policy_gradient import cost, push

KEYS = jax.random.split(jax.random.key(7), 4)


# --- equations -------------------------------------------------------------------------------------------


def test_derivatives_are_those_of_a_polynomial():
    points = jax.random.uniform(KEYS[0], (5, 2))
    x, y = points.T

    def u(points):
        return points[:, 0] ** 3 * points[:, 1] ** 2

    jet = equations.differentiate(u, points)
    np.testing.assert_allclose(jet.value, x**3 * y**2, rtol=1e-5)
    np.testing.assert_allclose(jet.first, (3 * x**2 * y**2, 2 * x**3 * y), rtol=1e-5)
    np.testing.assert_allclose(jet.second, (6 * x * y**2, 2 * x**3), rtol=1e-5)


def test_the_solution_has_no_loss_and_its_neighbours_have():
    task = tasks.PhysicsInformed()

    def measure(key):
        instance = task.sample(key)
        batch = task.batch(instance, key, "train")

        def solution(points):
            return task.solution(instance, points)

        def tilted(points):
            return solution(points) + 0.3 * points[:, 0]

        losses = [task.loss_of(u, instance, batch) for u in (solution, tilted)]
        return instance.equation, jnp.stack(losses)

    kinds, losses = jax.jit(jax.vmap(measure))(jax.random.split(KEYS[0], 20))
    assert set(kinds.tolist()) == {0, 1}
    assert losses[:, 0].max() < 1e-6
    assert losses[:, 1].min() > 1e-3


def test_poissons_equation_has_a_solution_and_a_source_of_the_stated_sizes():
    equation = equations.draw_poisson(KEYS[0])
    # The mean over these points is exact for squares of the few waves there are.
    middle = (jnp.arange(16.0) + 0.5) / 16
    points = jnp.stack(jnp.meshgrid(middle, middle), axis=-1).reshape(-1, 2)
    solution = equations.poisson_solution(equation, points)
    np.testing.assert_allclose(jnp.mean(jnp.square(solution)), 1, rtol=1e-5)
    source = equations.poisson_source(equation, points)
    np.testing.assert_allclose(
        jnp.sqrt(jnp.mean(jnp.square(source))), equations.poisson_size(equation), rtol=1e-5
    )


def test_boundary_points_lie_on_all_sides_and_burgers_last_moment_is_not_asked():
    task = tasks.PhysicsInformed(("burgers",), batch_size=400)
    instance = task.sample(KEYS[0])
    batch = task.batch(instance, KEYS[1], "train")
    on_edge = np.asarray((batch.edge == 0) | (batch.edge == 1))
    assert on_edge.any(1).all()
    sides = [np.mean(np.asarray(batch.edge[:, axis]) == end) for axis in (0, 1) for end in (0, 1)]
    assert np.abs(np.asarray(sides) - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 400)

    def solution_until_the_end(points):
        return task.solution(instance, points) + jnp.where(points[:, 1] == 1, 100.0, 0.0)

    assert task.loss_of(solution_until_the_end, instance, batch) < 1e-6


# --- policies --------------------------------------------------------------------------------------------


def test_the_gradient_of_a_policy_is_that_of_the_expected_cost():
    network = tasks.Perceptron(2, 3, (3, 3), activations=("tanh",))
    task = tasks.PolicyGradient(perceptron=network, steps=3, rollouts=2)
    instance = task.sample(KEYS[0])
    params = task.init(instance, KEYS[1])
    starts = task.batch(instance, KEYS[2], "train")
    sequences = jnp.asarray(list(itertools.product(range(3), repeat=3)))

    def expected_cost(params):
        """Sum over all sequences of actions, each with its probability."""

        def one(actions):
            states, scores, costs = starts, jnp.zeros(2), jnp.zeros(2)
            for action in actions:
                logits = network.apply(instance.perceptron, params, states)
                scores = scores + jax.nn.log_softmax(logits)[:, action]
                states = push(instance, states, jnp.full(2, action))
                costs = costs + cost(states) / 3
            return jnp.mean(jnp.exp(scores) * costs)

        return jnp.sum(jax.vmap(one)(sequences))

    def estimate(key):
        return jax.value_and_grad(lambda params: task.loss(instance, params, starts, key))(params)

    value, gradient = jax.jit(jax.value_and_grad(expected_cost))(params)
    values, gradients = jax.jit(jax.vmap(estimate))(jax.random.split(KEYS[3], 8000))
    assert 0 <= values.min() < values.max() < 1
    assert abs(z_score(values, value)) < 4
    scores = jax.tree.map(z_score, gradients, gradient)
    assert max(np.abs(score).max() for score in jax.tree.leaves(scores)) < 4.5
    wrong = jax.tree.map(lambda samples, g: z_score(samples, 1.3 * g), gradients, gradient)
    assert max(np.abs(score).max() for score in jax.tree.leaves(wrong)) > 6


def test_a_mass_without_friction_goes_straight_on():
    instance = tasks.build("mass-policy").sample(KEYS[0])._replace(friction=jnp.zeros(()))
    states = jnp.asarray([[0.5, -1.0], [0.0, 2.0]])
    np.testing.assert_allclose(
        push(instance, states, jnp.asarray([1, 1])), [[0.3, -1.0], [0.4, 2.0]], rtol=1e-6
    )
    pushed = push(instance, states, jnp.asarray([0, 2]))
    np.testing.assert_allclose(pushed[:, 1], [-1.4, 2.4], rtol=1e-6)
    np.testing.assert_array_equal(cost(jnp.zeros((1, 2))), [0.0])


# --- a learned rule --------------------------------------------------------------------------------------


def rule(steps=6):
    task = tasks.LearnedRule(perceptron=tasks.Perceptron(3, 2, (2, 2)), steps=steps, batch_size=5)
    instance = task.sample(KEYS[0])
    params = jax.tree.map(jnp.zeros_like, task.init(instance, KEYS[1]))
    return task, instance, params, task.batch(instance, KEYS[2], "train")


def test_a_rule_that_does_nothing_has_a_meta_loss_of_one():
    task, instance, params, batch = rule()
    loss, gradient = jax.value_and_grad(lambda params: task.loss(instance, params, batch, KEYS[3]))(params)
    np.testing.assert_allclose(loss, 1, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_rule_can_be_normalised_gradient_descent():
    task, instance, params, batch = rule()
    # relu(g) - relu(-g) = g; a bias for the size makes the rate 0.1 * e.
    params["layer_0"]["kernel"] = jnp.asarray([[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    params["layer_1"]["kernel"] = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]])
    params["layer_1"]["bias"] = jnp.asarray([0.0, 1.0])
    total = 0.0
    for factors, spread, x in zip(*map(np.asarray, batch[:3]), strict=True):
        factors = factors.astype(np.float64) * float(instance.condition) ** spread / 2
        hessian, mean = factors.T @ factors, np.zeros(4)
        first = x @ hessian @ x
        for _ in range(6):
            gradient = hessian @ x
            mean = 0.8 * mean + 0.2 * gradient
            x = x - 0.1 * np.e * gradient / np.sqrt(np.mean(gradient**2 + mean**2))
            total += np.log2(1 + x @ hessian @ x / first) / 30
    loss = task.loss(instance, params, batch, KEYS[3])
    np.testing.assert_allclose(loss, total, rtol=1e-4)
    assert loss < 0.8


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.PhysicsInformed(("heat",)), "are unknown; there are poisson"),
        (lambda: tasks.PhysicsInformed(perceptron=tasks.Perceptron(1, 1)), "give Perceptron"),
        (lambda: tasks.PhysicsInformed(perceptron=tasks.Perceptron(2, 1)), "relu is zero"),
        (lambda: tasks.PolicyGradient(rollouts=1), "at least two rollouts"),
        (lambda: tasks.PolicyGradient(gravities=(0.0, 1.0)), "is not a range"),
        (lambda: tasks.PolicyGradient(perceptron=tasks.Perceptron(2, 2)), "give Perceptron"),
        (lambda: tasks.LearnedRule((0.5, 1.0)), "give at least 1"),
        (lambda: tasks.LearnedRule(perceptron=tasks.Perceptron(3, 1)), "give Perceptron"),
    ],
)
def test_an_impossible_task_is_refused(make, words):
    with pytest.raises(tasks.UsageError, match=words):
        make()
