"""Wrapped tasks keep their problem: identities of scale, of noise and of batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

from .small_tasks import Regression, parts

KEY = jax.random.key(3)


TASK = Regression()
WRAPPERS = {
    "global": lambda task: tasks.Reparametrised(task, 1.0, 1.0),
    "tensor": lambda task: tasks.Reparametrised(task, 1.0, 1.0, level="tensor"),
    "parameter": lambda task: tasks.Reparametrised(task, 1.0, 1.0, level="parameter"),
    "no noise": lambda task: tasks.NoisyGradient(task, 0.0),
    "whole batches": lambda task: tasks.SmallerBatches(task, 1.0),
}


def look(task, key=KEY):
    """Return an instance's factors, and its parameters, loss and gradient."""
    instance, params, batch, loss_key = parts(task, key)
    loss, gradient = jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, loss_key)
    return getattr(instance, "own", None), (params, loss, gradient)


def see(task):
    return jax.device_get(jax.jit(look)(task))


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_that_changes_nothing_is_the_task_itself_to_the_bit(wrapper):
    bare, wrapped = see(TASK), see(WRAPPERS[wrapper](TASK))
    jax.tree.map(np.testing.assert_array_equal, wrapped[1], bare[1])
    assert WRAPPERS[wrapper](TASK).ceiling == TASK.ceiling


@pytest.mark.parametrize("level", ["global", "tensor", "parameter"])
def test_under_a_factor_parameters_are_divided_and_gradients_multiplied(level):
    params, loss, gradient = see(TASK)[1]
    factors, (divided, same_loss, multiplied) = see(tasks.Reparametrised(TASK, 1e-3, 1e3, level=level))
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-12)  # noqa: E731
    close(same_loss, loss)
    jax.tree.map(lambda d, p, factor: close(d * factor, p), divided, params, factors)
    scale = max(np.abs(g).max() for g in jax.tree.leaves(gradient))
    jax.tree.map(
        lambda m, g, c: np.testing.assert_allclose(m / c, g, rtol=1e-3, atol=1e-5 * scale),
        multiplied,
        gradient,
        factors,
    )
    drawn = np.unique(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(factors)]))
    leaves = jax.tree.leaves(params)
    assert len(drawn) == {"global": 1, "tensor": len(leaves), "parameter": sum(p.size for p in leaves)}[level]
    assert np.all((drawn >= 1e-3) & (drawn <= 1e3))
    assert abs(np.log(drawn)).max() > 0.5


def test_factors_are_log_uniform():
    task = tasks.Reparametrised(TASK, 0.01, 100.0)
    draw = jax.jit(jax.vmap(lambda key: task.sample(key).own["bias"]))
    logs = np.log10(draw(jax.random.split(KEY, 2000)))
    assert np.abs(np.histogram(logs, bins=4, range=(-2, 2))[0] - 500).max() < 4 * np.sqrt(2000 * 3 / 16)


def draw_gradients(scale, samples=2000):
    """Return losses and gradients under many loss keys, and those of the bare task."""
    instance, params, batch, loss_key = parts(TASK, KEY)

    def ask(task):
        own = task.sample(KEY)._replace(task=instance) if hasattr(task, "task") else instance
        look = lambda key: jax.value_and_grad(task.loss, argnums=1)(own, params, batch, key)  # noqa: E731
        return jax.vmap(look)(jax.random.split(loss_key, samples))

    return jax.device_get(jax.jit(lambda: (ask(tasks.NoisyGradient(TASK, scale)), ask(TASK)))())


def test_noise_has_mean_zero_and_the_stated_scale_and_leaves_the_loss_alone():
    scale = 0.5
    (losses, noisy), (bare_losses, bare) = draw_gradients(scale)
    np.testing.assert_array_equal(losses, bare_losses)
    for with_noise, without in zip(jax.tree.leaves(noisy), jax.tree.leaves(bare), strict=True):
        noise, size = with_noise - without, np.sqrt(np.mean(np.square(without[0])))
        scores = noise.mean(0) / (scale * size / np.sqrt(len(noise)))
        assert np.abs(scores).max() < 5
        assert abs(np.square(scores).mean() - 1) < 5 * np.sqrt(2 / scores.size)
        np.testing.assert_allclose(noise.std(), scale * size, rtol=0.1)
        # The test would see a bias of a fifth of the noise.
        assert np.abs(scores + 0.2 * np.sqrt(len(noise))).max() > 5


def test_a_noisy_gradient_can_be_differentiated_forwards_and_twice():
    """The size of the noise follows the gradient's: the Hessian of a noisy task has that in it."""
    task = tasks.NoisyGradient(TASK, 0.5)
    instance, params, batch, loss_key = parts(task, KEY)
    loss = lambda params: task.loss(instance, params, batch, loss_key)  # noqa: E731
    move = jax.tree.map(jnp.cos, params)

    @jax.jit
    def differentiate():
        forwards = jax.jvp(loss, (params,), (move,))[1]
        gradient, curvature = jax.jvp(jax.grad(loss), (params,), (move,))
        at = lambda step: jax.tree.map(lambda p, m: p + step * m, params, move)  # noqa: E731
        ahead, behind = jax.grad(loss)(at(1e-3)), jax.grad(loss)(at(-1e-3))
        return forwards, gradient, curvature, jax.tree.map(lambda a, b: (a - b) / 2e-3, ahead, behind)

    forwards, gradient, curvature, difference = jax.device_get(differentiate())
    along = sum(np.sum(g * m) for g, m in zip(*map(jax.tree.leaves, (gradient, move)), strict=True))
    np.testing.assert_allclose(forwards, along, rtol=1e-4)
    for found, expected in zip(*map(jax.tree.leaves, (curvature, difference)), strict=True):
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_smaller_batches_are_the_first_rows_with_weights_of_sum_one():
    smaller = tasks.SmallerBatches(TASK, 0.3)
    whole, part = (task.batch(task.sample(KEY), KEY, "train") for task in (TASK, smaller))
    rows = 20  # 0.3 of 64, rounded up
    np.testing.assert_array_equal(part.inputs, whole.inputs[:rows])
    np.testing.assert_array_equal(part.targets, whole.targets[:rows])
    np.testing.assert_allclose(part.weights, np.full(rows, 1 / rows), rtol=1e-6)


def test_wrappers_stack():
    stacked = tasks.NoisyGradient(
        tasks.SmallerBatches(tasks.Reparametrised(TASK, 0.1, 10.0, level="tensor"), 0.25), 0.3
    )
    _, (params, loss, gradient) = see(stacked)
    assert jnp.isfinite(loss)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert loss < stacked.ceiling == TASK.ceiling


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tasks.Reparametrised(tasks.Quadratic(), 2.0, 1.0), "is not a range"),
        (lambda: tasks.Reparametrised(tasks.Quadratic(), level="layer"), "no level 'layer'"),  # type: ignore
        (lambda: tasks.NoisyGradient(tasks.Quadratic(), -1.0), "negative"),
        (lambda: tasks.NormalisedGradient(tasks.Quadratic(), "row"), "no level 'row'"),  # type: ignore
        (lambda: tasks.ScaledLoss(tasks.Quadratic(), 0.0), "is not a range"),
        (lambda: tasks.LowPrecision(tasks.Quadratic(), "float8"), "no format 'float8'"),  # type: ignore
        (lambda: tasks.LowPrecision(tasks.Quadratic(), rounded=("loss",)), "some of batch, parameters"),
        (lambda: tasks.DelayedGradient(tasks.Quadratic(), -1), "0 steps late or more"),
        (lambda: tasks.FiniteData(tasks.Quadratic(), 5, 4), "is not a range"),
        (lambda: tasks.NoisyTargets(tasks.Quadratic(), 0.0, 1.5), "between 0 and 1"),
        (lambda: see(tasks.NoisyTargets(tasks.Quadratic())), "Quadratic have no `targets`"),
        (lambda: tasks.RandomSubspace(tasks.Quadratic(), 0), "1 dimension or more"),
        (lambda: tasks.SmallerBatches(tasks.Quadratic(), 0.0), "not a share of a batch"),
        (lambda: tasks.SmallerBatches(tasks.Quadratic(), 1.1), "not a share of a batch"),
        (lambda: see(tasks.SmallerBatches(tasks.Quadratic())), "Quadratic have no `weights`"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
