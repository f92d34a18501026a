"""Landscapes have the minimum, the values and the axes that their names promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.landscapes.classic import CLASSICS

KEYS = jax.random.split(jax.random.key(3), 6)
NAMES = tuple(CLASSICS)
FAMILY = tasks.Landscape(dimension=4, stretches=(0.5, 2.0), condition=3.0, rotated=True)


def published(name, x):
    """The functions as published, and the mean over terms: float64 [rows, dimension] -> [rows]."""
    a, b, d = x[:, ::2], x[:, 1::2], x.shape[1]
    w = 1 + (x - 1) / 4
    match name:
        case "rosenbrock":
            return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).mean(1)
        case "ackley":
            hole = np.exp(np.cos(2 * np.pi * x).mean(1))
            return 20 + np.e - 20 * np.exp(-0.2 * np.sqrt((x**2).mean(1))) - hole
        case "rastrigin":
            return 10 + (x**2 - 10 * np.cos(2 * np.pi * x)).mean(1)
        case "styblinski-tang":
            return 39.16616570377142 + (x**4 - 16 * x**2 + 5 * x).mean(1) / 2
        case "levy":
            inner = (w[:, :-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:, :-1] + 1) ** 2)
            last = (w[:, -1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[:, -1]) ** 2)
            return (np.sin(np.pi * w[:, 0]) ** 2 + inner.sum(1) + last) / d
        case "beale":
            parts = [(c - a + a * b**n) ** 2 for c, n in ((1.5, 1), (2.25, 2), (2.625, 3))]
            return sum(parts).mean(1)
        case "himmelblau":
            return ((a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2).mean(1)
    raise AssertionError(name)


@functools.cache
def measured():
    """Of every function: values at 200 starts, and value and gradient at the minimum; one program."""

    def measure(function):
        instance = FAMILY.sample(KEYS[0])._replace(function=function)
        loss = jax.value_and_grad(lambda params: FAMILY.loss(instance, params, (), KEYS[1]))
        starts = jax.vmap(lambda key: FAMILY.init(instance, key))(jax.random.split(KEYS[2], 200))
        place = instance.rotation @ (instance.stretches[:, None] * (starts["x"] - instance.origin[None]).T)
        return place.T, jax.vmap(loss)(starts), loss(FAMILY.minimum(instance))

    return jax.device_get(jax.jit(jax.vmap(measure))(jnp.arange(len(NAMES))))


@pytest.mark.parametrize("name", NAMES)
def test_a_landscape_is_the_published_function_and_its_minimum_is_zero(name):
    places, (values, gradients), (lowest, flat) = jax.tree.map(lambda x: x[NAMES.index(name)], measured())
    one = CLASSICS[name]
    assert np.abs(places).max() <= 1 + 1e-5
    x = np.resize(one.centre, 4)[None] + one.radius * places.astype(np.float64)
    np.testing.assert_allclose(values * one.mean, published(name, x), rtol=1e-3, atol=1e-3)
    assert values.min() > 1e-4
    assert abs(values.mean() - 1) < 4 * values.std() / np.sqrt(200) + 0.1  # the mean is one in ten dimensions
    assert 0 <= lowest < 1e-5
    assert np.abs(flat["x"]).max() < 0.01 * np.abs(gradients["x"]).max()
    np.testing.assert_allclose(published(name, np.resize(one.minimum, (1, 4))), 0, atol=1e-6)


def test_the_root_of_nothing_has_a_derivative():
    ackley = CLASSICS["ackley"].value
    value, gradient = jax.value_and_grad(ackley)(jnp.zeros(4))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_the_axes_of_a_rotating_quadratic_turn_and_its_spectrum_and_optimum_stay():
    task = tasks.RotatingQuadratic(4, conditions=(10.0, 10.0))
    instance = task.sample(KEYS[0])

    def curvature(key):
        batch = task.batch(instance, key, "train")

        def loss(x):
            return task.loss(instance, {"x": x}, batch, key)

        return jax.hessian(loss)(jnp.zeros(4)), jax.grad(loss)(instance.optimum), batch.directions

    hessians, slopes, planes = jax.jit(jax.vmap(curvature))(KEYS)
    for hessian in hessians:
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), np.sort(instance.spectrum), rtol=1e-4)
    assert np.abs(hessians[0] - hessians[1]).max() > 0.01
    np.testing.assert_allclose(planes @ planes.mT, np.stack([np.eye(2)] * len(KEYS)), atol=1e-5)
    assert not slopes.any()


def test_a_diagonal_quadratic_has_a_curvature_for_each_parameter():
    task = tasks.build("diagonal-quadratic")
    instance = task.sample(KEYS[0])
    assert (np.count_nonzero(instance.matrix, axis=0) == 1).all()
    assert (np.count_nonzero(instance.matrix, axis=1) == 1).all()
    rotated = task.replace(rotated=True).sample(KEYS[0])
    np.testing.assert_array_equal(rotated.optimum, instance.optimum)
    assert np.count_nonzero(rotated.matrix) == rotated.matrix.size


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.Landscape(("hill",)), "are unknown; there are rosenbrock"),
        (lambda: tasks.Landscape(()), "are unknown"),
        (lambda: tasks.Landscape(("beale",), dimension=5), "give an even number"),
        (lambda: tasks.Landscape(condition=0.5), "give at least 1"),
        (lambda: tasks.Landscape(stretches=(2.0, 1.0)), "is not a range"),
        (lambda: tasks.RotatingQuadratic(1), "give at least 2"),
    ],
)
def test_an_impossible_landscape_is_refused(make, words):
    with pytest.raises(tasks.UsageError, match=words):
        make()
