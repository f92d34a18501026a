"""A task for tests of what is done to tasks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import tasks


class Rows(NamedTuple):
    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array


class Regression(tasks.Task):
    """Affine regression through tanh: two tensors, few draws, quick to compile."""

    def sample(self, key):
        return {"slope": jax.random.normal(key, (8, 5))}

    def init(self, instance, key):
        return {"kernel": jax.random.normal(key, (8, 5)), "bias": jnp.zeros(5)}

    def batch(self, instance, key, split):
        inputs = jax.random.normal(key, (64, 8))
        return Rows(inputs, inputs @ instance["slope"], jnp.full(64, 1 / 64))

    def loss(self, instance, params, batch, key):
        outputs = 5 * jnp.tanh(batch.inputs @ params["kernel"] + params["bias"][None])
        return batch.weights @ jnp.mean(jnp.square(outputs - batch.targets), axis=-1)

    @property
    def ceiling(self):
        return 1e3


def parts(task, key):
    """Draw an instance, its parameters and a batch; return the key of a loss, too."""
    keys = jax.random.split(key, 4)
    instance = task.sample(keys[0])
    return instance, task.init(instance, keys[1]), task.batch(instance, keys[2], "train"), keys[3]
