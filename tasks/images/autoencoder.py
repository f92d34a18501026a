"""Autoencoders of small images, a deterministic and a variational one, as parametric families."""

from __future__ import annotations

import abc
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..layers import (
    Layers,
    align,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_size,
    draw_whole,
    log_uniform,
)
from ..perceptron import activate, check_activations, live_units
from ..registry import register
from .batches import count_pixels, count_rows, draw_images


class ReconstructionInstance(NamedTuple):
    """One member of a family; every entry is a scalar."""

    width: Int[Array, ""]
    latents: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]
    beta: Float[Array, ""]
    """Weight of the rate; an autoencoder has none."""
    batch_size: Int[Array, ""]


class _Reconstruction(Task):
    """A task on images that doesn't use their labels.

    All ranges are inclusive. A smaller member masks the last hidden units and latent numbers, whose weights
    start at zero and get no gradient.
    """

    dataset: Dataset
    widths: tuple[int, int] = struct.field(pytree_node=False, default=(32, 32))
    latents: tuple[int, int] = struct.field(pytree_node=False, default=(8, 8))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("relu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(64, 64))

    def __post_init__(self) -> None:
        check_ranges(
            widths=self.widths,
            latents=self.latents,
            initial_scales=self.initial_scales,
            batch_sizes=self.batch_sizes,
        )
        check_activations(self.activations)

    @property
    @abc.abstractmethod
    def layers(self) -> dict[str, tuple[str, str]]:
        """Every layer's inputs and outputs: "pixels", "width" or "latents"."""

    def sample(self, key: Key[Array, ""]) -> ReconstructionInstance:
        """Draw a member: initial scale and batch size log-uniformly, the rest uniformly."""
        keys = jax.random.split(key, 5)
        return ReconstructionInstance(
            width=draw_whole(keys[0], self.widths),
            latents=draw_whole(keys[1], self.latents),
            activation=draw_index(keys[2], self.activations),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
            beta=jnp.ones(()),
            batch_size=draw_size(keys[4], self.batch_sizes),
        )

    def init(self, instance: ReconstructionInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); biases start at zero."""
        live = {
            "pixels": jnp.ones(count_pixels(self.dataset)),
            "width": live_units(self.widths, instance.width),
            "latents": live_units(self.latents, instance.latents),
        }
        sizes = {name: (live[one].size, live[other].size) for name, (one, other) in self.layers.items()}
        params = draw_layers(key, {name: dense_shapes(*size) for name, size in sizes.items()})
        for name, (inputs, outputs) in self.layers.items():
            rows, columns = live[inputs], live[outputs]
            # The kernels were drawn for the largest fan in, but only some units are in use.
            factor = instance.initial_scale * jnp.sqrt(rows.size / jnp.sum(rows))
            params[name]["kernel"] *= factor * rows[:, None] * columns[None]
        return params

    def batch(self, instance: ReconstructionInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; the labels are not used."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        return count_rows(batch, self.batch_sizes, instance.batch_size)

    @property
    def ceiling(self) -> float:
        """Four times the loss of predicting the mean, and well above the variational bound's initial loss."""
        return 4.0

    def _hidden(
        self, instance: ReconstructionInstance, layer: dict[str, Array], x: Float[Array, "rows inputs"]
    ) -> Float[Array, "rows width"]:
        hidden = activate(self.activations, instance.activation, dense(layer, x))
        return _mask(self.widths, instance.width, hidden)


class Autoencoder(_Reconstruction):
    """Reconstruct images from a few numbers, with an MLP; the loss is the mean squared error.

    The pixels are standardised over the whole data set, so predicting their mean gives a loss of 1.

    References:
        Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647.

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("tanh",))

    @property
    def layers(self) -> dict[str, tuple[str, str]]:
        """Two layers to the latent numbers, and two back."""
        return {
            "layer_0": ("pixels", "width"),
            "layer_1": ("width", "latents"),
            "layer_2": ("latents", "width"),
            "layer_3": ("width", "pixels"),
        }

    def loss(
        self, instance: ReconstructionInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error per pixel."""
        hidden = self._hidden(instance, params["layer_0"], batch.inputs)
        # The bottleneck is linear, so its values are not bounded.
        latents = _mask(self.latents, instance.latents, dense(params["layer_1"], hidden))
        hidden = self._hidden(instance, params["layer_2"], latents)
        errors = dense(params["layer_3"], hidden) - batch.inputs
        return batch.weights @ jnp.mean(jnp.square(errors), axis=-1)


class VAE(_Reconstruction):
    """Encode images as Gaussians and decode samples; the loss is the negative evidence bound per pixel.

    Pixels between 0 and 1 are the probabilities of Bernoulli variables; the encoder's mean and log variance
    share a hidden layer. The sample is drawn from the loss's key, so the loss is random for a given batch.
    With a beta other than 1, the bound's rate has that weight.

    References:
        Kingma and Welling 2014, arXiv:1312.6114; Higgins et al. 2017, beta-VAE (ICLR).

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    betas: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(betas=self.betas)

    def sample(self, key: Key[Array, ""]) -> ReconstructionInstance:
        """Draw a member: initial scale, beta and batch size log-uniformly, the rest uniformly."""
        return super().sample(key)._replace(beta=log_uniform(jax.random.fold_in(key, 1), *self.betas))

    @property
    def layers(self) -> dict[str, tuple[str, str]]:
        """A layer, the mean and log variance, and two layers back."""
        return {
            "encoder": ("pixels", "width"),
            "mean": ("width", "latents"),
            "log_variance": ("width", "latents"),
            "decoder": ("latents", "width"),
            "output": ("width", "pixels"),
        }

    def loss(
        self, instance: ReconstructionInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the negative evidence bound, estimated with one sample per image, in nats per pixel."""
        hidden = self._hidden(instance, params["encoder"], batch.inputs)
        mean = _mask(self.latents, instance.latents, dense(params["mean"], hidden))
        log_variance = _mask(self.latents, instance.latents, dense(params["log_variance"], hidden))
        drawn = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        drawn = _mask(self.latents, instance.latents, drawn)
        logits = dense(params["output"], self._hidden(instance, params["decoder"], drawn))
        # Rounding may move the unstandardised pixels outside [0, 1].
        pixels = jnp.clip(batch.inputs * self.dataset.std + self.dataset.mean, 0, 1)
        distortion = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, pixels), axis=-1)
        rate = jnp.sum(jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance, axis=-1) / 2
        return batch.weights @ (distortion + instance.beta * rate) / pixels.shape[-1]


def _mask(
    sizes: tuple[int, int], size: Int[Array, ""], x: Float[Array, "rows units"]
) -> Float[Array, "rows units"]:
    return x * align(live_units(sizes, size), x) if sizes[0] != sizes[1] else x


@register("digits-autoencoder")
def digits_autoencoder() -> Task:
    """Reconstruct 8 x 8 digits from eight numbers."""
    return Autoencoder(load_dataset("digits"))


@register("digits-vae")
def digits_vae() -> Task:
    """Model 8 x 8 digits with eight latent variables."""
    return VAE(load_dataset("digits"))


@register("digits-autoencoder-family")
def digits_autoencoder_family() -> Task:
    """Autoencoders whose width, latent numbers, activation, initial scale and batch size are drawn."""
    choices = ("tanh", "relu", "gelu")
    return Autoencoder(load_dataset("digits"), (16, 48), (2, 12), choices, (0.8, 1.25), (32, 128))


@register("digits-vae-family")
def digits_vae_family() -> Task:
    """Variational autoencoders: the same is drawn, and the weight of the rate from 0.3 to 2."""
    choices = ("relu", "tanh", "gelu")
    return VAE(load_dataset("digits"), (16, 48), (2, 12), choices, (0.8, 1.25), (32, 128), (0.3, 2.0))
