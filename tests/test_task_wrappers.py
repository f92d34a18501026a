"""What wrappers do to a gradient: of norm one, rounded, projected, late; and one wrapper on another."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import PES, ConstantHorizon, InnerTraining

from .small_tasks import Regression, parts

KEY = jax.random.key(5)
TASK = Regression()
SIZE = 9


@jax.jit
def see(task):
    """Return an instance's own draws, and its parameters, loss and gradient."""
    instance, params, batch, key = parts(task, KEY)
    loss, gradient = jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, key)
    return getattr(instance, "own", None), params, loss, gradient


def norm(tree):
    return float(optax.tree.norm(tree))


def assert_close(found, expected, rtol=1e-5):
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, rtol * scale), found, expected)


def test_a_normalised_gradient_has_norm_one_and_the_direction_and_loss_are_the_same():
    (_, _, loss, gradient), (_, _, same, unit) = see(TASK), see(tasks.NormalisedGradient(TASK))
    assert float(same) == float(loss)
    assert norm(gradient) > 3
    assert_close(unit, jax.tree.map(lambda g: g / norm(gradient), gradient))
    by_tensor = see(tasks.NormalisedGradient(TASK, "tensor"))[3]
    assert_close(by_tensor, jax.tree.map(lambda g: g / np.linalg.norm(g), gradient))


class Bowl(tasks.Quadratic):
    """A quadratic whose size is the batch."""

    def loss(self, instance, params, batch, key):
        return batch * jnp.sum(jnp.square(params["x"])) / 2


@jax.jit
def sensitivity(x, size):
    """Return a normalised gradient, and its derivative in a direction."""
    task = tasks.NormalisedGradient(Bowl(dimension=2))
    instance = task.sample(KEY)
    gradient = lambda x: jax.grad(task.loss, argnums=1)(instance, {"x": x}, size, KEY)["x"]  # noqa: E731
    return jax.jvp(gradient, (x,), (jnp.asarray([1.0, 0.0]),))


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_gradient_of_any_size_is_normalised_and_so_are_its_derivatives(size):
    found = sensitivity(jnp.asarray([3.0, 4.0]), jnp.float32(size))
    np.testing.assert_allclose(found[0], [0.6, 0.8], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0.128, -0.096], rtol=1e-4)


def test_a_gradient_of_zero_stays_zero_and_has_finite_derivatives():
    found = sensitivity(jnp.zeros(2), jnp.float32(1.0))
    np.testing.assert_array_equal(found[0], 0)
    assert np.isfinite(found[1]).all()


def test_a_scaled_loss_has_a_scaled_gradient_and_ceiling():
    _, params, loss, gradient = see(TASK)
    factor, same, scaled, steeper = see(tasks.ScaledLoss(TASK, 20.0, 30.0))
    assert 20 < factor < 30
    jax.tree.map(np.testing.assert_array_equal, same, params)
    np.testing.assert_allclose(scaled, factor * loss, rtol=1e-6)
    assert_close(steeper, jax.tree.map(lambda g: factor * g, gradient))
    assert tasks.ScaledLoss(TASK, 20.0, 30.0).ceiling == 30 * TASK.ceiling


@pytest.mark.parametrize(("format", "dtype"), [("bfloat16", jnp.bfloat16), ("float16", jnp.float16)])
def test_low_precision_rounds_what_it_is_told_to(format, dtype):

    def rounded(tree):
        tiny = float(jnp.finfo(dtype).tiny)
        return jax.tree.map(lambda x: jnp.where(abs(x) < tiny, 0, x.astype(dtype).astype(x.dtype)), tree)

    low = lambda *places: tasks.LowPrecision(TASK, format, places)  # noqa: E731
    instance, params, batch, key = parts(TASK, KEY)
    grad = jax.jit(jax.value_and_grad(TASK.loss, argnums=1))
    gradient = grad(instance, params, batch, key)[1]
    np.testing.assert_array_equal(see(low("gradient"))[2], see(TASK)[2])
    coarse = see(low("gradient"))[3]
    jax.tree.map(np.testing.assert_array_equal, coarse, rounded(coarse))
    jax.tree.map(lambda c, g: np.testing.assert_allclose(c, g, rtol=2**-8), coarse, gradient)
    # The rule's parameters stay exact; the loss and its gradient are those of the rounded ones.
    _, own, loss, at_rounded = see(low("parameters"))
    jax.tree.map(np.testing.assert_array_max_ulp, own, params)  # by one, as two programs drew them
    expected = grad(instance, rounded(params), batch, key)
    assert_close((loss, at_rounded), expected)
    assert expected[0] != see(TASK)[2]
    coarse = low("batch").batch(low("batch").sample(KEY), KEY, "train")
    fine = TASK.batch(TASK.sample(KEY), KEY, "train")
    np.testing.assert_array_equal(coarse.inputs, rounded(fine.inputs))
    np.testing.assert_array_equal(coarse.weights, fine.weights)
    assert np.any(coarse.inputs != fine.inputs)


def test_the_gradient_in_a_subspace_is_the_projected_one():
    """P is laid out as a matrix by moving each coordinate by one."""
    task = tasks.RandomSubspace(TASK, SIZE)
    instance, params, batch, key = parts(task, KEY)
    flat = lambda x: jax.flatten_util.ravel_pytree(task.weights(instance, {"x": x}))[0]  # noqa: E731
    start = task.weights(instance, params)
    matrix = np.asarray(jax.jit(jax.vmap(flat))(jnp.eye(SIZE)) - flat(params["x"])[None])
    assert params["x"].shape == (SIZE,)
    np.testing.assert_array_equal(np.count_nonzero(matrix, axis=0), 1)
    np.testing.assert_allclose(np.abs(matrix).max(axis=0), np.sqrt(SIZE / matrix.shape[1]), rtol=1e-5)
    gradient = jax.grad(TASK.loss, argnums=1)(instance.task, start, batch, key)
    own = jax.grad(task.loss, argnums=1)(instance, params, batch, key)["x"]
    np.testing.assert_allclose(own, matrix @ jax.flatten_util.ravel_pytree(gradient)[0], rtol=1e-4)
    assert {True, False} == set((matrix[matrix != 0] > 0).tolist())


def test_a_late_gradient_is_that_of_earlier_parameters():
    """Gradient descent by hand, with the batches of the same keys."""
    late, rate = 2, np.float32(0.1)
    rule = lopt.OptaxRule.create(KEY, optax.sgd, learning_rate=rate)
    dynamics = InnerTraining(tasks.DelayedGradient(tasks.DelayedGradient(TASK, 1), late - 1))
    assert dynamics.task.gradient_delay == late
    step = jax.jit(lambda state, key: dynamics.step(rule, state, key))
    state = dynamics.init(rule, jnp.asarray(5, jnp.int32), KEY)
    instance, by_hand, sent = state.instance.task.task, state.params, []
    first = by_hand
    grad = jax.jit(jax.value_and_grad(TASK.loss, argnums=1))
    for key in jax.random.split(KEY, 5):
        batch_key, loss_key, _ = jax.random.split(key, 3)
        loss, gradient = grad(instance, by_hand, TASK.batch(instance, batch_key, "train"), loss_key)
        state, found = step(state, key)
        np.testing.assert_allclose(found, loss, rtol=1e-5)
        sent.append(gradient)
        if len(sent) > late:
            by_hand = jax.tree.map(lambda p, g: p - rate * g, by_hand, sent[-1 - late])
        assert_close(state.params, by_hand)
    assert norm(jax.tree.map(jnp.subtract, by_hand, first)) > 0.1


def test_finite_data_are_a_few_batches_again_and_again():
    task = tasks.FiniteData(TASK, 3, 3)
    draw = jax.jit(jax.vmap(lambda instance, key: task.batch(instance, key, "train").inputs[0, 0], (None, 0)))
    one, other = (task.sample(jax.random.key(n)) for n in range(2))
    found = [set(draw(member, jax.random.split(KEY, 60)).tolist()) for member in (one, other)]
    assert [len(values) for values in found] == [3, 3]
    assert not found[0] & found[1]
    held_out = task.batch(one, KEY, "test"), TASK.batch(one.task, KEY, "test")
    np.testing.assert_array_equal(held_out[0].inputs, held_out[1].inputs)
    counts = jax.jit(jax.vmap(lambda key: tasks.FiniteData(TASK, 2, 50).sample(key).own.count))
    drawn = counts(jax.random.split(KEY, 200))
    assert (drawn.min(), drawn.max()) >= (2, 40)
    assert drawn.max() <= 50


def test_noisy_targets_are_those_of_other_rows_and_are_kept_by_finite_data():
    task = tasks.NoisyTargets(TASK, 0.5, 0.5)
    instance, fine = task.sample(KEY), TASK.batch(TASK.sample(KEY), KEY, "train")
    noisy = task.batch(instance, KEY, "train")
    kept = np.all(np.asarray(noisy.targets == fine.targets), axis=1)
    assert abs(kept.mean() - 0.5) < 4 * 0.5 / 8
    assert {tuple(row) for row in noisy.targets.tolist()} <= {tuple(row) for row in fine.targets.tolist()}
    np.testing.assert_array_equal(noisy.inputs, fine.inputs)
    whole = task.batch(instance, KEY, "test"), TASK.batch(instance.task, KEY, "test")
    np.testing.assert_array_equal(whole[0].targets, whole[1].targets)
    always = tasks.FiniteData(task, 1, 1)
    drawn = [always.batch(always.sample(KEY), jax.random.key(n), "train").targets for n in range(2)]
    np.testing.assert_array_equal(*drawn)


def test_wrappers_act_from_the_inside_out():
    """Noise after normalising is not normalised; normalising after noise is."""
    inner = tasks.NormalisedGradient(tasks.NoisyGradient(TASK, 1.0))
    outer = tasks.NoisyGradient(tasks.NormalisedGradient(TASK), 1.0)
    assert norm(see(inner)[3]) == pytest.approx(1, rel=1e-5)
    assert abs(norm(see(outer)[3]) - 1) > 0.1
    scaled = tasks.NormalisedGradient(tasks.ScaledLoss(TASK, 7.0, 7.0))
    assert norm(see(scaled)[3]) == pytest.approx(1, rel=1e-5)
    scaled = tasks.ScaledLoss(tasks.NormalisedGradient(TASK), 7.0, 7.0)
    assert norm(see(scaled)[3]) == pytest.approx(7, rel=1e-5)


def test_two_wrappers_of_a_kind_draw_apart():
    twice = see(tasks.ScaledLoss(tasks.ScaledLoss(TASK)))
    once = see(tasks.ScaledLoss(TASK))
    instance = tasks.ScaledLoss(tasks.ScaledLoss(TASK)).sample(jax.random.split(KEY, 4)[0])
    assert float(instance.task.own) == float(once[0]) != float(twice[0])


STACK = tasks.NoisyGradient(
    tasks.NormalisedGradient(
        tasks.LowPrecision(
            tasks.RandomSubspace(tasks.Reparametrised(TASK, level="parameter"), SIZE), rounded=("batch",)
        )
    ),
    0.1,
)


def test_all_of_them_at_once_under_vmap_are_each_by_itself():
    keys = jax.random.split(KEY, 3)

    def one(key):
        instance, params, batch, key = parts(STACK, key)
        return jax.value_and_grad(STACK.loss, argnums=1)(instance, params, batch, key)

    together, alone = jax.jit(jax.vmap(one))(keys), jax.jit(one)
    for i, key in enumerate(keys):
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), alone(key), rtol=1e-2)


def test_a_directional_derivative_is_that_of_the_changed_gradient():
    instance, params, batch, key = parts(STACK, KEY)
    loss = lambda params: STACK.loss(instance, params, batch, key)  # noqa: E731
    move = {"x": jnp.cos(jnp.arange(SIZE, dtype=jnp.float32))}
    forwards, gradient = jax.jit(lambda: (jax.jvp(loss, (params,), (move,))[1], jax.grad(loss)(params)))()
    np.testing.assert_allclose(forwards, np.sum(gradient["x"] * move["x"]), rtol=1e-4)


def test_persistent_evolution_strategies_run_on_all_of_them():
    theta, dynamics = lopt.LearnableAdam.create(KEY), InnerTraining(tasks.DelayedGradient(STACK, 3))
    estimator = PES(ConstantHorizon(8), window=4, sigma=0.1)
    particle = estimator.init(dynamics, theta)
    step = jax.jit(
        lambda particle, key: estimator.step(dynamics, theta, particle, key, jnp.zeros((), jnp.int32))
    )
    particle, _ = step(particle, jax.random.key(1))
    _, estimate = step(particle, jax.random.key(2))
    assert np.isfinite(norm(estimate.gradient))
    assert norm(estimate.gradient) > 0
