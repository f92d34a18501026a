"""Density models are densities: their parts sum to 1, and depend on what they may depend on."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

KEYS = jax.random.split(jax.random.key(11), 6)
LOSS = jax.jit(lambda task, instance, params, batch: task.loss(instance, params, batch, KEYS[0]))
STEP = jax.jit(jax.grad(lambda params, task, *rest: task.loss(rest[0], params, rest[1], KEYS[0])))


def make(task):
    instance = task.sample(KEYS[1])
    return instance, task.init(instance, KEYS[2]), task.batch(instance, KEYS[3], "train")


def train(task, instance, params, steps, rate):
    for key in jax.random.split(KEYS[4], steps):
        gradient = STEP(params, task, instance, task.batch(instance, key, "train"))
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
    return params


# --- pixel by pixel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [False, True])
def test_a_pixel_depends_on_all_pixels_before_it_and_no_other(draws):
    task = tasks.MADE(
        tasks.load_dataset("digits"), (96, 96), ("tanh",), batch_sizes=(2, 2), draws_degrees=draws
    )
    instance, params, _ = make(task)
    points = jax.random.uniform(KEYS[5], (64,))
    jacobian = jax.jit(jax.jacobian(lambda x: task.logits(instance, params, x[None])[0]))(points)
    before = np.tri(64, k=-1, dtype=bool)
    assert not jacobian[~before].any()
    # A pixel sees an earlier one if there is a unit with a degree between them.
    degrees = np.asarray(instance.degrees)
    linked = [np.any((i < degrees) & (degrees <= o)) for o, i in itertools.product(range(64), repeat=2)]
    np.testing.assert_array_equal(np.asarray(jacobian) != 0, np.reshape(linked, (64, 64)))
    assert np.mean(np.asarray(jacobian)[before] != 0) > 0.9
    assert degrees.min() >= 1
    assert degrees.max() <= 63


def tiny_images():
    rng = np.random.default_rng(0)
    splits = {
        split: (rng.integers(0, 256, (8, 2, 3, 1), dtype=np.uint8), rng.integers(0, 3, 8, dtype=np.int32))
        for split in tasks.SPLITS
    }
    return tasks.Dataset(
        images={split: jnp.asarray(images) for split, (images, _) in splits.items()},
        labels={split: jnp.asarray(labels) for split, (_, labels) in splits.items()},
        name="tiny", num_classes=3, mean=0.5, std=0.25,
    )  # fmt: skip


def test_the_probabilities_of_all_images_sum_to_one_for_every_label():
    task = tasks.MADE(tiny_images(), widths=(8, 8), conditional=True, initial_scales=(3.0, 3.0))
    instance, params, _ = make(task)
    params["labels"]["embedding"] = jax.random.normal(KEYS[5], (3, 8))
    every = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=6)))
    surprise = jax.jit(lambda labels: task.surprise(instance, params, every, labels))
    sums = [np.exp(-6 * surprise(jnp.full(64, label))) for label in range(3)]
    np.testing.assert_allclose([one.sum() for one in sums], 1, rtol=1e-5)
    assert np.abs(sums[0] - sums[1]).max() > 0.01
    assert np.ptp(sums[0]) > 0.01


def test_the_likeliest_label_is_that_of_bayes():
    task = tasks.MADE(tasks.load_dataset("digits"), conditional=True)
    instance, params, batch = make(task)
    accuracy = jax.jit(task.accuracy)
    start = float(accuracy(instance, params, batch, KEYS[0]))
    # At first, all labels are equally probable: the first one is guessed.
    assert start == pytest.approx(float(np.mean(np.asarray(batch.targets) == 0)))
    params = train(task, instance, params, 150, 20.0)
    assert float(accuracy(instance, params, batch, KEYS[0])) > start + 0.3
    assert set(np.unique(batch.inputs)) == {0.0, 1.0}


def test_masked_units_of_a_density_play_no_part():
    task = tasks.MADE(tasks.load_dataset("digits"), widths=(8, 16), batch_sizes=(4, 4))
    instance, _, batch = make(task)
    instance = instance._replace(width=jnp.asarray(8))
    params = task.init(instance, KEYS[2])
    spoiled = jax.tree.map(lambda p: p, params)
    spoiled["output"]["kernel"] = spoiled["output"]["kernel"].at[8:].set(7.0)
    spoiled["hidden"]["kernel"] = spoiled["hidden"]["kernel"].at[:, 8:].set(7.0)
    np.testing.assert_array_equal(LOSS(task, instance, spoiled, batch), LOSS(task, instance, params, batch))


# --- flows ------------------------------------------------------------------------------------------------


def flow(**options):
    options = {"widths": (8, 8), "depths": (3, 3), "output_scales": (1.0,), "batch_size": 64} | options
    return tasks.RealNVP(**options)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_the_log_determinant_is_that_of_the_jacobian(dimensions):
    task = flow(dimensions=dimensions)
    instance, params, batch = make(task)
    mapped = jax.jit(lambda x: task.to_normal(instance, params, x))
    jacobians = jax.jit(jax.vmap(jax.jacobian(lambda x: mapped(x[None])[0][0])))(batch.inputs[:5])
    signs, expected = np.linalg.slogdet(np.asarray(jacobians, np.float64))
    np.testing.assert_allclose(mapped(batch.inputs[:5])[1], expected, atol=1e-4)
    assert (signs == 1).all()
    assert np.ptp(expected) > 0.1


def test_the_density_integrates_to_one_and_is_trained_towards_the_true_one():
    task = flow(depths=(4, 4), output_scales=(0.5,), batch_size=128)
    instance, params, _ = make(task)
    axis = jnp.linspace(-9, 9, 451)
    grid = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = jax.jit(lambda params: jnp.exp(task.log_density(instance, params, grid)))
    area = float(axis[1] - axis[0]) ** 2
    trained = train(task, instance, params, 200, 0.05)
    for one in (params, trained):
        assert float(density(one).sum()) * area == pytest.approx(1, abs=2e-3)
    components = -jnp.square(grid[:, None] - instance.means[None]).sum(-1) / 2 / instance.spreads[None] ** 2
    truth = np.mean(np.exp(components) / (2 * math.pi * np.square(instance.spreads))[None], axis=1)
    assert truth.sum() * area == pytest.approx(1, abs=1e-3)
    entropy = -np.sum(truth * np.log(truth + 1e-30)) * area / 2
    cross = [-float(np.sum(truth * np.log(density(one) + 1e-30)) * area / 2) for one in (params, trained)]
    assert entropy < cross[1] < cross[0] - 0.2
    # The loss of batches estimates the same number.
    losses = [
        LOSS(task, instance, params, task.batch(instance, key, "test"))
        for key in jax.random.split(KEYS[5], 30)
    ]
    error = np.std(losses) / math.sqrt(30)
    assert abs(np.mean(losses) - cross[0]) < 4 * error
    assert error < 0.1


def test_a_flow_with_outputs_of_zero_is_the_identity():
    task = flow(output_scales=(0.0,))
    instance, params, batch = make(task)
    z, log_determinants = task.to_normal(instance, params, batch.inputs)
    np.testing.assert_array_equal(z, batch.inputs)
    assert not log_determinants.any()


def test_skipped_layers_and_masked_units_of_a_flow_play_no_part():
    task = flow(widths=(4, 8), depths=(1, 3))
    instance, _, batch = make(task)
    instance = instance._replace(width=jnp.asarray(4), depth=jnp.asarray(2))
    params = task.init(instance, KEYS[2])
    spoiled = jax.tree.map(lambda p: p, params)
    spoiled["output_0"]["kernel"] = spoiled["output_0"]["kernel"].at[4:].set(7.0)
    spoiled["output_2"]["kernel"] = spoiled["output_2"]["kernel"] + 7.0
    loss = LOSS(task, instance, params, batch)
    np.testing.assert_array_equal(LOSS(task, instance, spoiled, batch), loss)
    spoiled["output_1"]["kernel"] = spoiled["output_1"]["kernel"].at[:4].add(0.5)
    assert LOSS(task, instance, spoiled, batch) != loss


def test_a_flow_of_one_dimension_is_refused():
    with pytest.raises(tasks.UsageError, match="at least 2 dimensions"):
        tasks.RealNVP(dimensions=1)
