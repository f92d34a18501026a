"""Blocks of a transformer whose depth, normalisation, activation and initial outputs may be drawn."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from .errors import UsageError
from .layers import (
    Layers,
    Shapes,
    align,
    check_choices,
    check_ranges,
    dense,
    dense_shapes,
    draw_index,
    draw_scale,
    draw_whole,
    normalise,
    scale_and_shift,
)
from .perceptron import activate, check_activations

NORMS = ("pre", "post")


class BlocksInstance(NamedTuple):
    """One member of the family; every entry is a scalar."""

    depth: Int[Array, ""]
    norm: Int[Array, ""]
    """Index into the family's `norms`."""
    activation: Int[Array, ""]
    """Index into the family's `activations`."""
    branch_scale: Float[Array, ""]
    """Factor of the last kernel of every attention and every feed-forward layer at the start."""


@dataclasses.dataclass(frozen=True)
class TransformerBlocks:
    """A family of transformers between embeddings and output: functions of the parameters.

    A block adds attention and then a feed-forward layer, whose width is twice the features. Normalisation
    comes before each of them ("pre", with one more at the end) or after each sum ("post"). A branch scale of
    0 makes every block the identity at the start. A shallower member skips the last blocks, which then get no
    gradient.

    References:
        Vaswani et al. 2017, arXiv:1706.03762 (post); Xiong et al. 2020, arXiv:2002.04745 (pre); Zhang,
        Dauphin and Ma 2019, arXiv:1901.09321 (branches that start at zero).

    Raises:
        UsageError: for an empty range, an unknown norm or activation, or if heads don't divide features.
    """

    features: int = 32
    heads: int = 2
    depths: tuple[int, int] = (1, 1)
    norms: tuple[str, ...] = ("pre",)
    activations: tuple[str, ...] = ("gelu",)
    branch_scales: tuple[float, ...] = (1.0,)
    causal: bool = False

    def __post_init__(self) -> None:
        check_ranges(depths=self.depths)
        check_activations(self.activations)
        check_choices(NORMS, norms=self.norms)
        check_choices(None, branch_scales=self.branch_scales)
        if self.features % self.heads:
            raise UsageError(f"{self.heads} heads do not divide {self.features} features: give a divisor")

    def sample(self, key: Key[Array, ""]) -> BlocksInstance:
        """Draw every entry uniformly."""
        norm_key, activation_key, branch_key = (jax.random.fold_in(key, number) for number in (1, 2, 3))
        return BlocksInstance(
            depth=draw_whole(key, self.depths),
            norm=draw_index(norm_key, self.norms),
            activation=draw_index(activation_key, self.activations),
            branch_scale=draw_scale(branch_key, self.branch_scales),
        )

    def shapes(self) -> Shapes:
        """Return the shapes of all blocks' parameters, and of the last normalisation."""
        features = self.features
        norm = {"scale": (features,), "bias": (features,)}
        shapes: Shapes = {}
        for index in range(self.depths[1]):
            shapes |= {
                f"attention_norm_{index}": norm,
                # Without a bias: that of the keys would have no gradient, because softmax ignores shifts.
                f"attention_{index}": {"kernel": (features, 3 * features)},
                f"attention_output_{index}": dense_shapes(features, features),
                f"norm_{index}": norm,
                f"hidden_{index}": dense_shapes(features, 2 * features),
                f"hidden_output_{index}": dense_shapes(2 * features, features),
            }
        return shapes | ({"norm": norm} if "pre" in self.norms else {})

    def scale(self, instance: BlocksInstance, layers: Layers) -> None:
        """Multiply the last kernel of every branch by the member's scale, in place."""
        for index in range(self.depths[1]):
            for name in (f"attention_output_{index}", f"hidden_output_{index}"):
                layers[name]["kernel"] *= instance.branch_scale

    def apply(
        self, instance: BlocksInstance, layers: Layers, x: Float[Array, "batch length features"]
    ) -> Float[Array, "batch length features"]:
        """Return the blocks' output, normalised over the features."""
        pre = self._pre(instance)
        for index in range(self.depths[1]):
            attend = functools.partial(self.attend, layers, index)
            feed = functools.partial(self._feed, instance, layers, index)
            new = add_branch(attend, layers[f"attention_norm_{index}"], x, pre)
            new = add_branch(feed, layers[f"norm_{index}"], new, pre)
            x = jnp.where(index < instance.depth, new, x) if index >= self.depths[0] else new
        if "norm" not in layers:
            return x
        last = layer_norm(layers["norm"], x)
        return last if pre is True else jnp.where(pre, last, x)

    def attend(
        self, layers: Layers, index: int, x: Float[Array, "batch length features"]
    ) -> Float[Array, "batch length features"]:
        """Return one block's attention: to all places, or to a place and those before it."""
        rows, length, features = x.shape
        mapped = dense(layers[f"attention_{index}"], x).reshape(rows, length, 3, self.heads, -1)
        query, key, value = (mapped[:, :, part] for part in range(3))
        scores = jnp.einsum("bqhf,bkhf->bhqk", query, key) / math.sqrt(features // self.heads)
        if self.causal:
            scores = jnp.where(align(jnp.tri(length, dtype=bool), scores), scores, -jnp.inf)
        attended = jnp.einsum("bhqk,bkhf->bqhf", jax.nn.softmax(scores), value)
        return dense(layers[f"attention_output_{index}"], attended.reshape(rows, length, features))

    def _feed(self, instance: BlocksInstance, layers: Layers, index: int, x: Array) -> Array:
        hidden = activate(self.activations, instance.activation, dense(layers[f"hidden_{index}"], x))
        return dense(layers[f"hidden_output_{index}"], hidden)

    def _pre(self, instance: BlocksInstance) -> bool | Bool[Array, ""]:
        """Tell whether normalisation comes first; a bool of Python if that isn't drawn."""
        first = [norm == "pre" for norm in self.norms]
        return first[0] if len(set(first)) == 1 else jnp.asarray(first)[instance.norm]


def add_branch(
    branch: Callable[[Array], Array],
    norm: dict[str, Array],
    x: Float[Array, "*rows f"],
    pre: bool | Bool[Array, ""],
) -> Float[Array, "*rows f"]:
    """Return x + branch(norm(x)) if `pre`, and otherwise norm(x + branch(x))."""
    if pre is True:
        return x + branch(layer_norm(norm, x))
    if pre is False:
        return layer_norm(norm, x + branch(x))
    total = x + branch(jnp.where(pre, layer_norm(norm, x), x))
    return jnp.where(pre, total, layer_norm(norm, total))


def layer_norm(layer: dict[str, Array], x: Float[Array, "*rows f"]) -> Float[Array, "*rows f"]:
    """Normalise over features (Ba, Kiros and Hinton 2016, arXiv:1607.06450)."""
    return scale_and_shift(layer, normalise(x, -1))
