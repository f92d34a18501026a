"""Random problems: regression on a random teacher, classification of Gaussian mixtures."""

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
from ..layers import Layers, equal_weights
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register


class TeacherInstance(NamedTuple):
    """One teacher, and the student's perceptron."""

    scales: Float[Array, " inputs"]
    """Standard deviation of each input."""
    hidden: Float[Array, "inputs units"]
    output: Float[Array, "units outputs"]
    student: PerceptronInstance


class Teacher(Task):
    """Learn a random two-layer tanh network from its noisy outputs; the loss is the squared error.

    The inputs' standard deviations are log-uniform over a factor of `condition`, so the problem is as badly
    conditioned as real tables are. Targets have a variance of about 1. Every key gives new data, and each
    split has its own stream of keys.

    References:
        Saad and Solla 1995, doi:10.1103/PhysRevE.52.4225 (students and teachers).
    """

    student: Perceptron = struct.field(pytree_node=False, default=Perceptron(inputs=16, outputs=4))
    teacher_units: int = struct.field(pytree_node=False, default=16)
    condition: float = struct.field(pytree_node=False, default=10.0)
    noise: float = struct.field(pytree_node=False, default=0.1)
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> TeacherInstance:
        """Draw a teacher, the spectrum of the inputs, and a student."""
        scale_key, weight_key, student_key = jax.random.split(key, 3)
        inputs, units = self.student.inputs, self.teacher_units
        scales = self.condition ** jax.random.uniform(scale_key, (inputs,), minval=-0.5, maxval=0.5)
        scales = scales / jnp.sqrt(jnp.mean(jnp.square(scales)))
        # One draw for both layers, because each separate draw takes seconds to compile.
        weights = jax.random.normal(weight_key, (units, inputs + self.student.outputs))
        # Preactivations have a standard deviation of 2; their tanh has a mean square of about a half.
        hidden = 2 / math.sqrt(inputs) * weights[:, :inputs].T
        output = math.sqrt(2 / units) * weights[:, inputs:]
        return TeacherInstance(scales, hidden, output, self.student.sample(student_key))

    def init(self, instance: TeacherInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.student.init(instance.student, key)

    def batch(self, instance: TeacherInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw inputs, and compute the teacher's outputs."""
        key, columns = jax.random.fold_in(key, SPLITS.index(split)), self.student.inputs
        draws = jax.random.normal(key, (self.batch_size, columns + self.student.outputs))
        inputs = instance.scales[None] * draws[:, :columns]
        answers = jnp.tanh(inputs @ instance.hidden) @ instance.output
        return Batch(inputs, answers + self.noise * draws[:, columns:], equal_weights(self.batch_size))

    def loss(
        self, instance: TeacherInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error per output."""
        errors = self.student.apply(instance.student, params, batch.inputs) - batch.targets
        return batch.weights @ jnp.mean(jnp.square(errors), axis=-1)

    @property
    def ceiling(self) -> float:
        """About twenty times the loss of predicting zero, because the variance differs between teachers."""
        return 20.0


class MixtureInstance(NamedTuple):
    """One mixture, and its classifier."""

    means: Float[Array, "classes modes inputs"]
    spreads: Float[Array, "classes modes"]
    """Standard deviation of each component."""
    perceptron: PerceptronInstance


class GaussianMixture(Classifier):
    """Classify points of a random Gaussian mixture with several modes per class.

    The means are standard normal and the standard deviations log-uniform over `spreads`, so classes overlap,
    and with more than one mode they are not linearly separable. Every key gives new data, and each split has
    its own stream of keys.
    """

    perceptron: Perceptron = struct.field(pytree_node=False, default=Perceptron(inputs=8, outputs=5))
    modes: int = struct.field(pytree_node=False, default=3)
    spreads: tuple[float, float] = struct.field(pytree_node=False, default=(0.3, 0.8))
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> MixtureInstance:
        """Draw means, spreads and a perceptron."""
        keys = jax.random.split(key, 3)
        shape = (self.perceptron.outputs, self.modes)
        low, high = map(math.log, self.spreads)
        return MixtureInstance(
            means=jax.random.normal(keys[0], (*shape, self.perceptron.inputs)),
            spreads=jnp.exp(jax.random.uniform(keys[1], shape, minval=low, maxval=high)),
            perceptron=self.perceptron.sample(keys[2]),
        )

    def init(self, instance: MixtureInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: MixtureInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw new points, with equal probabilities of all classes and modes."""
        keys = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)))
        rows, inputs = self.batch_size, self.perceptron.inputs
        components = jax.random.randint(keys[0], (rows,), 0, self.perceptron.outputs * self.modes)
        labels, modes = components // self.modes, components % self.modes
        noise = instance.spreads[labels, modes][:, None] * jax.random.normal(keys[1], (rows, inputs))
        return Batch(instance.means[labels, modes] + noise, labels, equal_weights(rows))

    @property
    def num_classes(self) -> int:
        return self.perceptron.outputs

    def logits(self, instance: MixtureInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the perceptron's outputs."""
        return self.perceptron.apply(instance.perceptron, params, batch.inputs)


register("teacher-mlp")(Teacher)
register("mixture-mlp")(GaussianMixture)


@register("teacher-mlp-family")
def teacher_mlp_family() -> Task:
    """Students with random width, depth, activation and initial scale, of smaller teachers."""
    return Teacher(perceptron_family(12, 3), teacher_units=10, condition=5.0)


@register("mixture-mlp-family")
def mixture_mlp_family() -> Task:
    """Classifiers with random width, depth, activation and initial scale, and twice as many inputs."""
    return GaussianMixture(perceptron_family(16, 6), modes=2)
