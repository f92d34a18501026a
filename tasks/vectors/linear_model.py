"""Linear, logistic and softmax regression on inputs of very different sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..classifier import Classifier
from ..data.prepared import SPLITS, Split
from ..errors import UsageError
from ..layers import Layers, dense, dense_shapes, draw_layers, equal_weights, log_uniform
from ..registry import register


class LinearInstance(NamedTuple):
    """One problem."""

    scales: Float[Array, " inputs"]
    """Standard deviation of each input."""
    truth: Float[Array, "inputs outputs"]
    """The true weights, for inputs of standard deviation 1."""
    start: Float[Array, ""]
    """Factor of the initial weights."""


class _LinearModel(Task):
    """What the regressions share: inputs, true weights, and where the weights start.

    The inputs' standard deviations are log-uniform over a factor of `condition`, around 1. Weights start
    normal, truncated at 2, times start / sqrt(inputs), with `start` log-uniform over `starts`; (0, 0) starts
    at zero. Every key gives new data, and each split has its own stream of keys.
    """

    inputs: int = struct.field(pytree_node=False, default=16)
    outputs: int = struct.field(pytree_node=False, default=1)
    condition: float = struct.field(pytree_node=False, default=1.0)
    starts: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_size: int = struct.field(pytree_node=False, default=64)

    def __post_init__(self) -> None:
        low, high = self.starts
        if not (0 < low <= high or low == high == 0):
            raise UsageError(f"starts=({low}, {high}): give two positive numbers, low first, or (0, 0)")
        if not 1 <= self.condition < math.inf:
            raise UsageError(f"condition={self.condition} is a ratio of sizes: give at least 1")

    def sample(self, key: Key[Array, ""]) -> LinearInstance:
        """Draw the inputs' sizes, the true weights, and the size of the first weights."""
        scale_key, truth_key, start_key = jax.random.split(key, 3)
        spread = jax.random.uniform(scale_key, (self.inputs,), minval=-0.5, maxval=0.5)
        start = log_uniform(start_key, *self.starts) if self.starts[0] else jnp.zeros(())
        truth = jax.random.normal(truth_key, (self.inputs, self.outputs)) / math.sqrt(self.inputs)
        return LinearInstance(self.condition**spread, truth, start)

    def init(self, instance: LinearInstance, key: Key[Array, ""]) -> Layers:
        """Draw the weights; biases start at zero."""
        layers = draw_layers(key, {"output": dense_shapes(self.inputs, self.outputs)})
        layers["output"]["kernel"] *= instance.start
        return layers

    def _draw(self, key: Key[Array, ""], split: Split) -> tuple[Array, Array]:
        """Return inputs of standard deviation 1, and standard normal noise for the targets."""
        key, columns = jax.random.fold_in(key, SPLITS.index(split)), self.inputs
        draws = jax.random.normal(key, (self.batch_size, columns + self.outputs))
        return draws[:, :columns], draws[:, columns:]


class LinearRegression(_LinearModel):
    """Predict noisy linear functions of the inputs; the loss is the mean squared error per output.

    Targets have a variance of about 1, of which `noise` squared can't be explained.
    """

    noise: float = struct.field(pytree_node=False, default=0.1)

    def batch(self, instance: LinearInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw inputs, and compute noisy targets."""
        x, noise = self._draw(key, split)
        targets = x @ instance.truth + self.noise * noise
        return Batch(x * instance.scales[None], targets, equal_weights(self.batch_size))

    def loss(
        self, instance: LinearInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error per output."""
        errors = dense(params["output"], batch.inputs) - batch.targets
        return batch.weights @ jnp.mean(jnp.square(errors), axis=-1)

    @property
    def ceiling(self) -> float:
        """Above the first loss of badly scaled inputs: their sizes squared, times a wide margin."""
        return 20.0 * self.condition


class SoftmaxRegression(_LinearModel, Classifier):
    """Tell the largest of several linear functions of the inputs; with two of them, logistic regression.

    Classes are separable except for a normal error of standard deviation `noise` in each function, where the
    functions themselves have a standard deviation of about 1. Without noise the best weights are infinite, so
    that those that start small have far to go.
    """

    outputs: int = struct.field(pytree_node=False, default=4)
    noise: float = struct.field(pytree_node=False, default=0.0)

    def batch(self, instance: LinearInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw inputs and their labels."""
        x, noise = self._draw(key, split)
        labels = jnp.argmax(x @ instance.truth + self.noise * noise, axis=-1)
        return Batch(x * instance.scales[None], labels, equal_weights(self.batch_size))

    @property
    def num_classes(self) -> int:
        return self.outputs

    def logits(self, instance: LinearInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the linear functions."""
        return dense(params["output"], batch.inputs)

    @property
    def ceiling(self) -> float:
        """Above the first loss of badly scaled inputs."""
        return 4 * math.log(self.outputs) * math.sqrt(self.condition)


register("linear-regression")(LinearRegression)
register("softmax-regression")(SoftmaxRegression)


@register("logistic-regression")
def logistic_regression() -> Task:
    """Two classes with some noise, standardised inputs."""
    return SoftmaxRegression(outputs=2, noise=0.3)


@register("small-start-logistic-regression")
def small_start_logistic_regression() -> Task:
    """Two separable classes, inputs whose sizes differ up to a hundredfold, weights that start near zero."""
    return SoftmaxRegression(outputs=2, condition=100.0, starts=(0.01, 0.01))


@register("small-start-softmax-regression")
def small_start_softmax_regression() -> Task:
    """Ten separable classes, inputs whose sizes differ up to thirtyfold, weights that start near zero."""
    return SoftmaxRegression(inputs=32, outputs=10, condition=30.0, starts=(0.01, 0.01))


@register("small-start-linear-regression")
def small_start_linear_regression() -> Task:
    """Inputs whose sizes differ up to thirtyfold, weights that start near zero."""
    return LinearRegression(inputs=32, condition=30.0, starts=(0.01, 0.01))


@register("zero-start-softmax-regression")
def zero_start_softmax_regression() -> Task:
    """Four separable classes, inputs whose sizes differ up to tenfold, weights that start at zero."""
    return SoftmaxRegression(condition=10.0, starts=(0.0, 0.0))


@register("linear-regression-family")
def linear_regression_family() -> Task:
    """Four outputs, inputs whose sizes differ up to thirtyfold, first weights of any size."""
    return LinearRegression(outputs=4, condition=30.0, starts=(0.01, 1.0))


@register("softmax-regression-family")
def softmax_regression_family() -> Task:
    """Four classes with little noise, inputs whose sizes differ up to thirtyfold, any first weights."""
    return SoftmaxRegression(condition=30.0, noise=0.1, starts=(0.01, 1.0))
