"""Regression on Friedman's function, with random data and irrelevant inputs."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..augment.noisy_gradient import NoisyGradient
from ..base import Batch, Task
from ..data.prepared import SPLITS, Split
from ..layers import Layers, equal_weights
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register

_INPUTS = 10
_MEAN, _DEVIATION = 14.4, 4.9
"""Mean and standard deviation of the function below, for uniform inputs."""


class FriedmanInstance(NamedTuple):
    """The order of the inputs, and the perceptron that learns the function."""

    order: Int[Array, " inputs"]
    perceptron: PerceptronInstance


class Friedman(Task):
    """Learn 10 sin(pi a b) + 20 (c - 1/2)^2 + 10 d + 5 e of five among ten uniform inputs; squared error.

    Inputs and targets are standardised; `noise` is in units of the target's standard deviation. A member
    permutes the inputs. Every key gives new data, and each split has its own stream of keys.

    References:
        Friedman 1991, Multivariate adaptive regression splines (Annals of Statistics 19).
    """

    perceptron: Perceptron = struct.field(pytree_node=False, default=Perceptron(_INPUTS, 1))
    noise: float = struct.field(pytree_node=False, default=0.1)
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> FriedmanInstance:
        """Draw the order of the inputs and a perceptron."""
        order_key, perceptron_key = jax.random.split(key)
        order = jax.random.permutation(order_key, _INPUTS)
        return FriedmanInstance(order, self.perceptron.sample(perceptron_key))

    def init(self, instance: FriedmanInstance, key: Key[Array, ""]) -> Layers:
        """Draw the perceptron."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: FriedmanInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw new rows."""
        input_key, noise_key = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        x = jax.random.uniform(input_key, (self.batch_size, _INPUTS))
        a, b, c, d, e = (x[:, column] for column in range(5))
        y = 10 * jnp.sin(jnp.pi * a * b) + 20 * jnp.square(c - 0.5) + 10 * d + 5 * e
        noise = self.noise * jax.random.normal(noise_key, y.shape)
        inputs = ((x - 0.5) * jnp.sqrt(12.0))[:, instance.order]
        return Batch(inputs, (y - _MEAN) / _DEVIATION + noise, equal_weights(self.batch_size))

    def loss(
        self, instance: FriedmanInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error."""
        outputs = self.perceptron.apply(instance.perceptron, params, batch.inputs)[:, 0]
        return batch.weights @ jnp.square(outputs - batch.targets)

    @property
    def ceiling(self) -> float:
        """Ten times the variance of the targets."""
        return 10.0


@register("friedman-mlp-family")
def friedman_mlp_family() -> Task:
    """Perceptrons whose width, depth, activation and initial scale are drawn."""
    return Friedman(perceptron_family(_INPUTS, 1))


@register("noisy-friedman-mlp-family")
def noisy_friedman_mlp_family() -> Task:
    """`friedman-mlp-family` with gradient noise as large as the gradient."""
    return NoisyGradient(friedman_mlp_family(), 1.0)
