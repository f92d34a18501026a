"""Matrix problems have the optima that linear algebra gives them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from meta_train import z_score

KEYS = jax.random.split(jax.random.key(4), 4)


def low_rank():
    """A task of three factors, one of its matrices, and its singular vectors."""
    task = tasks.LowRank(inputs=6, outputs=5, rank=2, depth=3, noise=0.2, batch_size=8)
    instance = task.sample(KEYS[0])
    matrix = (instance.left * instance.values[None]) @ instance.right.T
    return task, instance, np.asarray(matrix, np.float64)


def test_the_best_product_has_the_loss_of_eckart_and_young():
    task, instance, matrix = low_rank()
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    np.testing.assert_allclose(values, instance.values, rtol=1e-5)
    np.testing.assert_allclose(np.sum(values**2), task.outputs, rtol=1e-5)
    best = {
        "factor_0": {"kernel": jnp.asarray(left[:, :2], jnp.float32)},
        "factor_1": {"kernel": jnp.diag(jnp.asarray(values[:2], jnp.float32))},
        "factor_2": {"kernel": jnp.asarray(right[:2], jnp.float32)},
    }
    # With these rows the mean over a batch is the expectation over normal inputs.
    inputs = jnp.eye(6) * np.float32(6**0.5)
    batch = tasks.Batch(inputs, inputs @ jnp.asarray(matrix, jnp.float32), jnp.full(6, 1 / 6))
    loss = jax.jit(jax.value_and_grad(lambda params: task.loss(instance, params, batch, KEYS[1])))
    lowest, slope = loss(best)
    np.testing.assert_allclose(lowest, np.sum(values[2:] ** 2) / 5, rtol=1e-4)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slope)) < 1e-5
    for index in range(20):
        keys = jax.random.split(jax.random.fold_in(KEYS[2], index), 3)
        keys = jax.tree.unflatten(jax.tree.structure(best), list(keys))
        moved = jax.tree.map(lambda x, key: x + 0.05 * jax.random.normal(key, x.shape), best, keys)
        assert loss(moved)[0] > lowest

    def fresh(key):
        return task.loss(instance, best, task.batch(instance, key, "test"), key)

    losses = jax.jit(jax.vmap(fresh))(jax.random.split(KEYS[3], 2000))
    expected = lowest + task.noise**2
    assert abs(z_score(losses, expected)) < 4
    assert abs(z_score(losses, lowest)) > 4


def test_entries_of_a_matrix_belong_to_one_split_each():
    task = tasks.MatrixCompletion(size=16, true_ranks=(2, 2), batch_size=4000)
    instance = task.sample(KEYS[0])
    matrix = instance.rows @ instance.columns.T
    seen = np.zeros((4, 16, 16), bool)
    params = {
        name: {"embedding": jnp.pad(factor, ((0, 0), (0, 2)))}
        for name, factor in (("rows", instance.rows), ("columns", instance.columns))
    }
    for number, split in enumerate(tasks.SPLITS):
        batch = task.batch(instance, KEYS[1], split)
        rows, columns = batch.inputs.T
        seen[number, rows, columns] = True
        errors = np.asarray(batch.targets - matrix[rows, columns]) / instance.noise
        assert abs(z_score(np.square(errors), 1.0)) < 4
        # The true factors explain every split but for the noise.
        np.testing.assert_allclose(
            task.loss(instance, params, batch, KEYS[1]), np.mean(np.square(errors)) * 0.01, rtol=1e-3
        )
    assert (seen.sum(0) == 1).all()
    np.testing.assert_array_equal(seen.sum((1, 2)), [160, 32, 32, 32])
    assert (seen[0].sum(0) == 10).all()


@pytest.mark.parametrize("rank", [1, 4])
def test_a_matrix_to_complete_has_its_rank_and_a_variance_of_one(rank):
    task = tasks.MatrixCompletion(size=80, true_ranks=(1, 4))
    keys = jax.random.split(KEYS[0], 40)
    ranks = np.asarray(jax.vmap(lambda key: jnp.linalg.norm(task.sample(key).rows, axis=0) > 0)(keys)).sum(1)
    instance = task.sample(keys[list(ranks).index(rank)])
    matrix = np.asarray(instance.rows @ instance.columns.T)
    assert np.linalg.matrix_rank(matrix, tol=1e-3) == rank
    np.testing.assert_allclose(np.mean(np.square(matrix)), 1, rtol=0.5)


def lasso(matrix, targets, penalty, steps=20_000):
    """Minimise mean((matrix x - targets)^2) + penalty |x|_1 by proximal gradients, in float64."""
    rows = len(matrix)
    rate = rows / (2 * np.linalg.norm(matrix, 2) ** 2)
    x = np.zeros(matrix.shape[1])
    for _ in range(steps):
        x = x - rate * 2 / rows * matrix.T @ (matrix @ x - targets)
        x = np.sign(x) * np.maximum(np.abs(x) - rate * penalty, 0)
    return x


def test_the_penalty_finds_what_least_squares_cannot():
    task = tasks.SparseRecovery(dimension=24, measurements=14, nonzeros=(3, 3))
    instance = task.sample(KEYS[0])
    matrix, truth = np.asarray(instance.matrix, np.float64), np.asarray(instance.truth, np.float64)
    assert np.count_nonzero(truth) == 3
    found = lasso(matrix, matrix @ truth, 0.01)
    shortest = np.linalg.lstsq(matrix, matrix @ truth, rcond=None)[0]
    assert np.linalg.norm(found - truth) < 0.05 * np.linalg.norm(truth)
    assert np.linalg.norm(shortest - truth) > 0.3 * np.linalg.norm(truth)
    # The task's loss is this objective, but for the corner of the penalty.
    batch = tasks.Batch(instance.matrix, instance.matrix @ instance.truth, jnp.full(14, np.float32(1 / 14)))
    instance = instance._replace(penalty=jnp.float32(0.01))
    for x in (found, shortest):
        exact = np.mean((matrix @ (x - truth)) ** 2) + 0.01 * np.abs(x).sum()
        loss = task.loss(instance, {"x": jnp.asarray(x, jnp.float32)}, batch, KEYS[1])
        assert exact - 24 * 0.01 * 0.01 < loss <= exact + 1e-6
    train = task.batch(instance, KEYS[1], "train").inputs
    assert all(any(np.array_equal(row, known) for known in instance.matrix) for row in train)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tasks.LowRank(rank=17), "give 1 to 16"),
        (lambda: tasks.LowRank(depth=1), "at least two factors"),
        (lambda: tasks.LowRank(decays=(1.0, 0.0)), "is not a range"),
        (lambda: tasks.MatrixCompletion(size=20), "give a multiple of 8"),
        (lambda: tasks.SparseRecovery(penalties=(0.0, 1.0)), "is not a range"),
    ],
)
def test_an_impossible_matrix_problem_is_refused(make, words):
    with pytest.raises(tasks.UsageError, match=words):
        make()
