"""Classification of noisy curves that are generated on the fly, without a data set."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from ..augment.reparametrised import Reparametrised
from ..base import Batch, Task
from ..classifier import Classifier
from ..data.prepared import SPLITS, Split
from ..layers import Layers, equal_weights
from ..perceptron import Perceptron, PerceptronInstance, perceptron_family
from ..registry import register

_TEMPLATE_SEED = 0
_FREQUENCIES = 4


class CurveInstance(NamedTuple):
    """One member: its templates and its perceptron."""

    coefficients: Float[Array, "classes waves"]
    """Fourier coefficients of each class's template."""
    perceptron: PerceptronInstance


class ProceduralCurves(Classifier):
    """Classify curves by their template, after random scaling, shifts, tilts and noise.

    A template is a random smooth curve that is zero at both ends. For every example it is multiplied by a
    random factor, shifted and tilted, and noise is added: like MNIST-1D, but with different templates, sizes
    and noise. Every key gives new data, and each split has its own stream of keys. With `draws_templates`,
    each member has its own templates: a family of problems, not only of networks.

    References:
        Greydanus and Kobak 2024, arXiv:2011.14439 (MNIST-1D).
    """

    perceptron: Perceptron = struct.field(pytree_node=False, default=Perceptron(inputs=40, outputs=10))
    draws_templates: bool = struct.field(pytree_node=False, default=False)
    shift: float = struct.field(pytree_node=False, default=0.5)
    tilt: float = struct.field(pytree_node=False, default=0.5)
    noise: float = struct.field(pytree_node=False, default=0.2)
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> CurveInstance:
        """Draw a perceptron, and templates if `draws_templates`; otherwise these are fixed."""
        perceptron_key, template_key = jax.random.split(key)
        template_key = template_key if self.draws_templates else jax.random.key(_TEMPLATE_SEED)
        # Lower frequencies have more weight, as in natural signals.
        amplitudes = 1 / jnp.sqrt(1 + jnp.arange(2 * _FREQUENCIES) // 2)
        shape = (self.perceptron.outputs, 2 * _FREQUENCIES)
        coefficients = amplitudes[None] * jax.random.normal(template_key, shape)
        return CurveInstance(coefficients, self.perceptron.sample(perceptron_key))

    def init(self, instance: CurveInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        return self.perceptron.init(instance.perceptron, key)

    def batch(self, instance: CurveInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw new curves."""
        keys = jax.random.split(jax.random.fold_in(key, SPLITS.index(split)), 4)
        rows = self.batch_size
        labels = jax.random.randint(keys[0], (rows,), 0, self.perceptron.outputs)
        changes = jax.random.uniform(keys[1], (3, rows, 1), minval=-1.0)
        places = jnp.linspace(-1, 1, self.perceptron.inputs)[None]
        curves = evaluate_templates(instance.coefficients[labels], places + self.shift * changes[0])
        curves = curves * jnp.exp(changes[1] / 2) + self.tilt * changes[2] * places
        return Batch(
            curves + self.noise * jax.random.normal(keys[2], curves.shape), labels, equal_weights(rows)
        )

    @property
    def num_classes(self) -> int:
        return self.perceptron.outputs

    def logits(self, instance: CurveInstance, params: Layers, batch: Batch) -> Float[Array, "rows classes"]:
        """Return the perceptron's outputs."""
        return self.perceptron.apply(instance.perceptron, params, batch.inputs)


def evaluate_templates(
    coefficients: Float[Array, "rows waves"], places: Float[Array, "rows points"]
) -> Float[Array, "rows points"]:
    """Return smooth curves that are zero outside [-1/2, 1/2].

    Args:
        coefficients: coefficients of the cosines and sines of all frequencies.
        places: the points at which to evaluate each curve.
    """
    window = jnp.square(jnp.cos(jnp.pi * jnp.clip(places, -0.5, 0.5)))
    frequencies = 1 + jnp.arange(_FREQUENCIES, dtype=places.dtype)[None, None]
    angles = 2 * jnp.pi * places[..., None] * frequencies / 1.5
    waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    return window * jnp.einsum("rpw,rw->rp", waves, coefficients)


@register("procedural-mlp")
def procedural_mlp() -> Task:
    """Ten fixed templates."""
    return ProceduralCurves()


@register("procedural-mlp-family")
def procedural_mlp_family() -> Task:
    """Templates, width, depth, activation and initial scale are drawn."""
    return ProceduralCurves(perceptron_family(40, 10), draws_templates=True)


@register("rescaled-procedural-mlp-family")
def rescaled_procedural_mlp_family() -> Task:
    """The same, reparametrised by a factor from 0.1 to 10 for each tensor."""
    return Reparametrised(procedural_mlp_family(), 0.1, 10.0, level="tensor")


@register("deep-procedural-mlp-family")
def deep_procedural_mlp_family() -> Task:
    """Three or four hidden layers, of at most 32 units."""
    return ProceduralCurves(perceptron_family(40, 10, widths=(16, 32), depths=(3, 4)), draws_templates=True)
