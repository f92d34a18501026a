"""Orthogonalising keeps singular vectors, brings singular values near 1, and does not see a tensor's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import Layout
from lopt.layout import layout_by_name
from lopt.orthogonal import orthogonalise


@jax.jit
def orthogonal(tensor):
    return orthogonalise(tensor, layout_by_name((), tensor.shape))


def with_singular_values(values, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, rows)))[0][:, : len(values)]
    right = np.linalg.qr(rng.normal(size=(columns, columns)))[0][:, : len(values)]
    return left, right, ((left * values) @ right.T).astype(np.float32)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    values = np.geomspace(1, 0.01, min(shape))
    left, right, matrix = with_singular_values(values, *shape)
    core = left.T @ np.asarray(orthogonal(matrix), np.float64) @ right
    np.testing.assert_allclose(core - np.diag(np.diag(core)), 0, atol=1e-4)
    assert np.diag(core).min() > 0.3
    assert np.diag(core).max() < 1.3


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1e15])
def test_the_size_of_a_tensor_makes_no_difference(size):
    matrix = with_singular_values([1.0, 0.5, 0.2], 3, 5)[2]
    scaled = (matrix * size).astype(np.float32)
    np.testing.assert_allclose(orthogonal(scaled), orthogonal(matrix), atol=1e-5)


def test_zero_stays_zero_and_has_a_finite_derivative():
    zero = jnp.zeros((3, 4))
    np.testing.assert_array_equal(orthogonal(zero), zero)
    slope = jax.jvp(orthogonal, (zero,), (jnp.ones((3, 4)),))[1]
    assert np.isfinite(slope).all()


def test_all_axes_but_the_last_are_one_by_default():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)
    flat = orthogonal(kernel.reshape(-1, 4))
    np.testing.assert_allclose(orthogonal(kernel), np.asarray(flat).reshape(kernel.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), False), ((5,), False), ((1, 5), False), ((5, 1), False), ((2, 2), True), ((1, 3, 2), True)],
)
def test_what_counts_as_a_matrix(shape, expected):
    assert layout_by_name((), shape).is_matrix(shape) is expected


@pytest.mark.parametrize("inputs", [(0,), (1,), (2,), (0, 1), (0, 2), (2, 1)])
def test_inputs_and_outputs_may_be_any_axes(inputs):
    kernel = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    outputs = tuple(axis for axis in range(3) if axis not in inputs)
    order = (*inputs, *outputs)
    flat = np.transpose(kernel, order).reshape(np.prod([kernel.shape[axis] for axis in inputs]), -1)
    found = np.transpose(orthogonalise(jnp.asarray(kernel), Layout(inputs, outputs)), order)
    np.testing.assert_allclose(found.reshape(flat.shape), orthogonal(flat), atol=1e-5)
