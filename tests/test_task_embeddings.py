"""Losses of embeddings are those of their definitions; views of an image are that image."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.images.metric import contrastive_losses, triplet_losses

KEYS = jax.random.split(jax.random.key(7), 6)
TRIPLETS, CONTRASTS = jax.jit(triplet_losses), jax.jit(contrastive_losses)
ALL = jnp.ones(6, bool)


def unit_vectors(rows=6, columns=3):
    x = jax.random.normal(KEYS[0], (rows, columns))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("counted", [6, 4])
def test_the_triplet_loss_is_the_mean_over_all_triplets_of_an_anchor(counted):
    x, labels = np.asarray(unit_vectors()), np.array([0, 1, 0, 0, 1, 2])
    counts = np.arange(6) < counted
    losses = TRIPLETS(jnp.asarray(x), jnp.asarray(labels), jnp.asarray(counts), jnp.asarray(0.7))
    for anchor in range(counted):
        triplets = [
            max(0, 0.7 + ((x[anchor] - x[p]) ** 2).sum() - ((x[anchor] - x[n]) ** 2).sum())
            for p, n in itertools.product(range(counted), repeat=2)
            if p != anchor and labels[p] == labels[anchor] != labels[n]
        ]
        assert float(losses[anchor]) == pytest.approx(np.mean(triplets) if triplets else 0, abs=1e-5)
    assert losses.any()


def test_the_triplet_loss_is_zero_where_classes_are_apart_by_the_margin():
    labels = jnp.asarray([0, 0, 1, 1, 2, 2])
    corners = jnp.eye(3)[labels]  # squared distances: 0 within a class, 2 between classes
    margins = {margin: TRIPLETS(corners, labels, ALL, jnp.asarray(margin)) for margin in (2.0, 2.5)}
    assert not margins[2.0].any()
    np.testing.assert_allclose(margins[2.5], 0.5, atol=1e-6)
    one_point = TRIPLETS(jnp.ones((6, 3)), labels, ALL, jnp.asarray(0.4))
    np.testing.assert_allclose(one_point, 0.4, atol=1e-6)
    gradient = jax.grad(lambda x: TRIPLETS(x, labels, ALL, jnp.asarray(2.5)).sum())(corners)
    assert np.isfinite(gradient).all()  # though some distances are zero


@pytest.mark.parametrize("counted", [6, 4])
def test_the_contrastive_loss_is_the_cross_entropy_of_the_partner(counted):
    x = np.asarray(unit_vectors())
    losses = CONTRASTS(jnp.asarray(x), jnp.arange(6) < counted, jnp.asarray(0.3))
    for view in range(counted):
        others = [other for other in range(counted) if other != view]
        logits = [x[view] @ x[other] / 0.3 for other in others]
        partner = view + 1 if view % 2 == 0 else view - 1
        expected = np.log(np.sum(np.exp(logits))) - logits[others.index(partner)]
        assert float(losses[view]) == pytest.approx(expected, abs=1e-5)
    at_one_point = CONTRASTS(jnp.ones((6, 3)), ALL, jnp.asarray(0.3))
    np.testing.assert_allclose(at_one_point, math.log(5), rtol=1e-5)


def make(task):
    instance = task.sample(KEYS[1])
    return instance, task.init(instance, KEYS[2]), task.batch(instance, KEYS[3], "train")


def test_accuracy_is_that_of_the_nearest_other_image():
    task = tasks.TripletEmbedding(tasks.load_dataset("digits"), batch_sizes=(6, 6))
    instance, params, batch = make(task)
    images = batch.inputs.at[3:].set(batch.inputs[:3])  # each image is there twice
    accuracy = jax.jit(task.accuracy)
    for labels, expected in (([4, 5, 6, 4, 5, 6], 1), ([4, 5, 6, 4, 6, 5], 1 / 3), ([1, 2, 3, 4, 5, 6], 0)):
        one = batch._replace(inputs=images, targets=jnp.asarray(labels))
        assert float(accuracy(instance, params, one, KEYS[0])) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["digits-triplets", "digits-contrastive"])
def test_rows_without_weight_play_no_part(name):
    task = tasks.SmallerBatches(tasks.build(name), 0.25)
    instance, params, batch = make(task)
    other = batch._replace(inputs=batch.inputs.at[8:].set(3.0), targets=batch.targets.at[8:].set(1))
    loss = jax.jit(jax.value_and_grad(task.loss, argnums=1))
    value, gradient = loss(instance, params, batch, KEYS[4])
    np.testing.assert_array_equal(loss(instance, params, other, KEYS[4])[0], value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert value > 0


def test_views_are_the_image_moved_with_other_contrast_and_noise():
    task = tasks.ContrastiveEmbedding(tasks.load_dataset("digits"), batch_sizes=(8, 8), noise=0.0)
    black = -task.dataset.mean / task.dataset.std
    images = jax.random.uniform(KEYS[4], (64, 64)) + 0.5 + black
    views = np.asarray(task._views(KEYS[5], images)).reshape(64, 8, 8) - black
    padded = np.pad(np.asarray(images).reshape(64, 8, 8) - black, ((0, 0), (1, 1), (1, 1)))
    seen = set()
    for view, image in zip(views, padded, strict=True):
        for row, column in itertools.product(range(3), repeat=2):
            moved = image[row : row + 8, column : column + 8]
            contrast = (view * moved).sum() / (moved * moved).sum()
            if np.abs(view - contrast * moved).max() < 1e-4:
                seen.add((row, column))
                break
        else:
            pytest.fail("a view is no moved image")
    assert len(seen) == 9
    inputs = make(task)[2].inputs
    assert inputs.shape == (8, 2, 64)
    assert not np.array_equal(inputs[:, 0], inputs[:, 1])
