"""A masked autoregressive density model of binary images."""

from __future__ import annotations

import math
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
    Shapes,
    align,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_layers,
    draw_size,
    draw_whole,
    log_uniform,
    share_right,
)
from ..perceptron import activate, check_activations, live_units
from ..registry import register
from .batches import count_pixels, count_rows, draw_images


class MADEInstance(NamedTuple):
    """One member of the family."""

    degrees: Int[Array, " units"]
    """How many of the first pixels each hidden unit may see."""
    width: Int[Array, ""]
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    initial_scale: Float[Array, ""]
    batch_size: Int[Array, ""]


class MADE(Task):
    """Model black and white images pixel by pixel; the loss is the negative log likelihood per pixel.

    A perceptron with one hidden layer gives the logit of every pixel. Masks let a hidden unit see only as
    many of the first pixels as its degree, and a pixel only units of a degree that is not above its number:
    the logit of a pixel depends on those before it alone. Degrees are spread evenly, or drawn by each member
    (`draws_degrees`). A pixel is white if it is at least half of the brightest possible. If `conditional`,
    each label has a bias for every hidden unit, and accuracy is that of the likeliest label.

    References:
        Germain, Gregor, Murray and Larochelle 2015, arXiv:1502.03509.

    Raises:
        UsageError: for an empty range, or an unknown activation.
    """

    dataset: Dataset
    widths: tuple[int, int] = struct.field(pytree_node=False, default=(64, 64))
    activations: tuple[str, ...] = struct.field(pytree_node=False, default=("relu",))
    initial_scales: tuple[float, float] = struct.field(pytree_node=False, default=(1.0, 1.0))
    batch_sizes: tuple[int, int] = struct.field(pytree_node=False, default=(64, 64))
    draws_degrees: bool = struct.field(pytree_node=False, default=False)
    conditional: bool = struct.field(pytree_node=False, default=False)

    def __post_init__(self) -> None:
        check_ranges(widths=self.widths, initial_scales=self.initial_scales, batch_sizes=self.batch_sizes)
        check_activations(self.activations)

    def sample(self, key: Key[Array, ""]) -> MADEInstance:
        """Draw a member: initial scale and batch size log-uniformly, the rest uniformly."""
        keys, units = jax.random.split(key, 5), self.widths[1]
        # Multiples of the golden ratio, modulo 1, are spread evenly, whatever their number.
        places = (jnp.arange(units, dtype=jnp.float32) * ((math.sqrt(5) - 1) / 2)) % 1
        places = jax.random.uniform(keys[0], (units,)) if self.draws_degrees else places
        return MADEInstance(
            degrees=1 + (places * (count_pixels(self.dataset) - 1)).astype(jnp.int32),
            width=draw_whole(keys[1], self.widths),
            activation=draw_index(keys[2], self.activations),
            initial_scale=log_uniform(keys[3], *self.initial_scales),
            batch_size=draw_size(keys[4], self.batch_sizes),
        )

    def init(self, instance: MADEInstance, key: Key[Array, ""]) -> Layers:
        """Draw truncated normal kernels of scale initial_scale / sqrt(fan in); all else starts at zero."""
        pixels, units = count_pixels(self.dataset), self.widths[1]
        shapes: Shapes = {"hidden": dense_shapes(pixels, units), "output": dense_shapes(units, pixels)}
        layers = draw_layers(key, shapes)
        live = live_units(self.widths, instance.width)
        wider = jnp.sqrt(units / instance.width) * instance.initial_scale
        layers["hidden"]["kernel"] *= instance.initial_scale * live[None]
        layers["output"]["kernel"] *= wider * live[:, None]
        if self.conditional:
            layers["labels"] = {"embedding": jnp.zeros((self.dataset.num_classes, units))}
        return layers

    def batch(self, instance: MADEInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw images with replacement, of pixels that are 0 or 1."""
        batch = draw_images(self.dataset, key, split, self.batch_sizes[1])
        white = batch.inputs * self.dataset.std + self.dataset.mean >= 0.5
        return count_rows(
            batch._replace(inputs=white.astype(jnp.float32)), self.batch_sizes, instance.batch_size
        )

    def loss(
        self, instance: MADEInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the negative log likelihood in nats per pixel, of the images given their labels or not."""
        labels = batch.targets if self.conditional else None
        return batch.weights @ self.surprise(instance, params, batch.inputs, labels)

    def accuracy(
        self, instance: MADEInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the share of images whose label makes them likeliest; None if labels are not used."""
        if not self.conditional:
            return None
        every = [jnp.full_like(batch.targets, label) for label in range(self.dataset.num_classes)]
        surprises = [self.surprise(instance, params, batch.inputs, labels) for labels in every]
        return share_right(-jnp.stack(surprises, axis=-1), batch.targets, batch.weights)

    @property
    def ceiling(self) -> float:
        """Four times the loss of guessing."""
        return 4 * math.log(2)

    def surprise(
        self,
        instance: MADEInstance,
        params: Layers,
        images: Float[Array, "rows pixels"],
        labels: Int[Array, " rows"] | None,
    ) -> Float[Array, " rows"]:
        """Return every image's negative log likelihood, in nats per pixel."""
        logits = self.logits(instance, params, images, labels)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, images), axis=-1)

    def logits(
        self,
        instance: MADEInstance,
        params: Layers,
        images: Float[Array, "rows pixels"],
        labels: Int[Array, " rows"] | None = None,
    ) -> Float[Array, "rows pixels"]:
        """Return the logit of every pixel's being white, given those before it."""
        seen, used = self._masks(instance)
        hidden = dense(params["hidden"] | {"kernel": params["hidden"]["kernel"] * seen}, images)
        if labels is not None:
            hidden = hidden + params["labels"]["embedding"][labels]
        hidden = activate(self.activations, instance.activation, hidden)
        hidden = hidden * align(live_units(self.widths, instance.width), hidden)
        return dense(params["output"] | {"kernel": params["output"]["kernel"] * used}, hidden)

    def _masks(
        self, instance: MADEInstance
    ) -> tuple[Float[Array, "pixels units"], Float[Array, "units pixels"]]:
        """Return 1 where a unit sees a pixel, and where a pixel depends on a unit; else 0."""
        before = jnp.arange(count_pixels(self.dataset), dtype=jnp.int32)
        degrees = instance.degrees
        seen, used = before[:, None] < degrees[None], degrees[:, None] <= before[None]
        return seen.astype(jnp.float32), used.astype(jnp.float32)


@register("digits-made")
def digits_made() -> Task:
    """64 hidden units on black and white 8 x 8 digits."""
    return MADE(load_dataset("digits"))


@register("digits-conditional-made")
def digits_conditional_made() -> Task:
    """The same, given the digit that is shown."""
    return MADE(load_dataset("digits"), conditional=True)


@register("digits-made-family")
def digits_made_family() -> Task:
    """Degrees, width, activation, initial scale and batch size are drawn; the digit is given."""
    return MADE(
        load_dataset("digits"),
        widths=(32, 96),
        activations=("relu", "tanh", "gelu"),
        initial_scales=(0.5, 1.5),
        batch_sizes=(32, 128),
        draws_degrees=True,
        conditional=True,
    )
