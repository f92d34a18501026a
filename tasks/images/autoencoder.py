"""Autoencoders of small images: a deterministic and a variational one."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Key

from ..base import Batch, Task
from ..data.datasets import Dataset, load_dataset
from ..data.prepared import Split
from ..layers import Layers, Shapes, dense, dense_shapes, draw_layers
from ..registry import register
from .batches import count_pixels, draw_images


class _Reconstruction(Task):
    """A task on images that doesn't use their labels, without random instances."""

    dataset: Dataset
    width: int = struct.field(pytree_node=False, default=32)
    latents: int = struct.field(pytree_node=False, default=8)
    batch_size: int = struct.field(pytree_node=False, default=64)

    def sample(self, key: Key[Array, ""]) -> tuple[()]:
        """Draw nothing."""
        return ()

    def batch(self, instance: tuple[()], key: Key[Array, ""], split: Split) -> Batch:
        """Draw examples with replacement; the labels are not used."""
        return draw_images(self.dataset, key, split, self.batch_size)

    @property
    def ceiling(self) -> float:
        """Four times the loss of predicting the mean, and well above the variational bound's initial loss."""
        return 4.0


class Autoencoder(_Reconstruction):
    """Reconstruct images from a few numbers, with a tanh MLP; the loss is the mean squared error.

    The pixels are standardised over the whole data set, so predicting their mean gives a loss of 1.

    References:
        Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647.
    """

    def init(self, instance: tuple[()], key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale 1 / sqrt(fan in); biases start at zero."""
        pixels = count_pixels(self.dataset)
        units = (pixels, self.width, self.latents, self.width, pixels)
        shapes: Shapes = {
            f"layer_{index}": dense_shapes(*sizes) for index, sizes in enumerate(itertools.pairwise(units))
        }
        return draw_layers(key, shapes)

    def loss(
        self, instance: tuple[()], params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the mean squared error per pixel."""
        hidden = jnp.tanh(dense(params["layer_0"], batch.inputs))
        # The bottleneck is linear, so its values are not bounded.
        hidden = jnp.tanh(dense(params["layer_2"], dense(params["layer_1"], hidden)))
        errors = dense(params["layer_3"], hidden) - batch.inputs
        return batch.weights @ jnp.mean(jnp.square(errors), axis=-1)


class VAE(_Reconstruction):
    """Encode images as Gaussians and decode samples; the loss is the negative evidence bound per pixel.

    Pixels between 0 and 1 are the probabilities of Bernoulli variables; the encoder's mean and log variance
    share a hidden layer. The sample is drawn from the loss's key, so the loss is random for a given batch.

    References:
        Kingma and Welling 2014, arXiv:1312.6114.
    """

    def init(self, instance: tuple[()], key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale 1 / sqrt(fan in); biases start at zero."""
        pixels = count_pixels(self.dataset)
        shapes: Shapes = {
            "encoder": dense_shapes(pixels, self.width),
            "mean": dense_shapes(self.width, self.latents),
            "log_variance": dense_shapes(self.width, self.latents),
            "decoder": dense_shapes(self.latents, self.width),
            "output": dense_shapes(self.width, pixels),
        }
        return draw_layers(key, shapes)

    def loss(
        self, instance: tuple[()], params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the negative evidence bound, estimated with one sample per image, in nats per pixel."""
        hidden = jax.nn.relu(dense(params["encoder"], batch.inputs))
        mean, log_variance = dense(params["mean"], hidden), dense(params["log_variance"], hidden)
        noise = jax.random.normal(key, mean.shape)
        hidden = jax.nn.relu(dense(params["decoder"], mean + jnp.exp(log_variance / 2) * noise))
        logits = dense(params["output"], hidden)
        # Rounding may move the unstandardised pixels outside [0, 1].
        pixels = jnp.clip(batch.inputs * self.dataset.std + self.dataset.mean, 0, 1)
        distortion = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, pixels), axis=-1)
        rate = jnp.sum(jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance, axis=-1) / 2
        return batch.weights @ (distortion + rate) / pixels.shape[-1]


@register("digits-autoencoder")
def digits_autoencoder() -> Task:
    """Reconstruct 8 x 8 digits from eight numbers."""
    return Autoencoder(load_dataset("digits"))


@register("digits-vae")
def digits_vae() -> Task:
    """Model 8 x 8 digits with eight latent variables."""
    return VAE(load_dataset("digits"))
