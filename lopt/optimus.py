"""Optimus: a network per parameter, and a preconditioner built from learned rank-one updates."""

from __future__ import annotations

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .accumulators import MOMENTS, Moments, init_moments, initial_decays, update_moments
from .base import LearnedOptimizer, Params, Updates, next_count
from .features import NUM_FEATURES, STEP_SCALES, parameter_features, project, step_features
from .layout import Layout
from .mlp import Layer, apply_layers, init_layers, linear
from .per_tensor import Tensor, Tensors
from .placement import zeros_like
from .registry import register
from .sizes import sums
from .tensor_summaries import NUM_MOMENT_SUMMARIES, moment_summary

_EPS = 1e-8


class OptimusState(NamedTuple):
    """State of `Optimus`."""

    count: Int[Array, ""]
    """Number of updates so far."""
    moments: Moments
    """Trees of moving averages."""
    vectors: tuple[Params, ...]
    """Trees of the vectors u of the last rank - 1 updates, the newest first."""


@register("optimus")
class Optimus(LearnedOptimizer):
    """A network proposes a step s and a vector u for each tensor; the update is -rate * B s.

    B, an estimate of the inverse Hessian as in BFGS, is the identity and a sum of rank-one matrices: each
    update multiplies the earlier ones by a learned factor and adds u u^T. The norm of u is at most a learned
    number for its tensor. s is the step of `AdafactorMLP`: direction * exp(magnitude_scale * magnitude) *
    step_scale, of the same 39 features; u is a third output of its network. What the tensors do depends on
    one another by a transformer: it reads 12 numbers about each tensor (`moment_summary`), and returns its
    rate, its bound on u, and what is added to the first layer of its network.

    In the paper the transformer attends from every parameter to every other and B is one matrix over all
    parameters, which takes memory of the square of their number. Here a token is a tensor, B has a block for
    each tensor, and has the last `rank` updates. All but the newest are kept, as vectors: 4 bytes a parameter
    each.

    References: Gärtner, Metz, Andriluka, Freeman, Sminchisescu 2023, Transformer-based learned optimization
        (arXiv 2212.01055).
    """

    layers: tuple[Layer, ...]
    """Of the network for each parameter."""
    embed: Layer
    blocks: tuple[dict[str, Layer], ...]
    """Of the transformer: self-attention and an MLP each."""
    read_out: Layer
    forgetting: Float[Array, ""]
    hidden_size: int = struct.field(pytree_node=False, default=8)
    hidden_layers: int = struct.field(pytree_node=False, default=2)
    token_size: int = struct.field(pytree_node=False, default=16)
    num_blocks: int = struct.field(pytree_node=False, default=2)
    rank: int = struct.field(pytree_node=False, default=4)
    """Rank-one updates that B has."""
    step_scale: float = struct.field(pytree_node=False, default=1e-3)
    magnitude_scale: float = struct.field(pytree_node=False, default=1e-3)

    @classmethod
    def create(
        cls,
        key: Key[Array, ""],
        hidden_size: int = 8,
        hidden_layers: int = 2,
        token_size: int = 16,
        num_blocks: int = 2,
        rank: int = 4,
        step_scale: float = 1e-3,
        magnitude_scale: float = 1e-3,
    ) -> Self:
        """Draw the weights of both networks.

        The transformer says nothing at first: all rates are 1. An update is remembered by half at the next.
        """
        layers_key, embed_key, *block_keys = jax.random.split(key, 2 + num_blocks)
        inputs = NUM_FEATURES + len(STEP_SCALES)
        return cls(
            layers=init_layers(layers_key, (inputs, *[hidden_size] * hidden_layers, 3)),
            embed=init_layers(embed_key, (NUM_MOMENT_SUMMARIES, token_size))[0],
            blocks=tuple(_init_block(block_key, token_size) for block_key in block_keys),
            read_out={
                "kernel": jnp.zeros((token_size, 2 + hidden_size), jnp.float32),
                "bias": jnp.zeros(2 + hidden_size, jnp.float32),
            },
            forgetting=jnp.zeros((), jnp.float32),
            hidden_size=hidden_size,
            hidden_layers=hidden_layers,
            token_size=token_size,
            num_blocks=num_blocks,
            rank=rank,
            step_scale=step_scale,
            magnitude_scale=magnitude_scale,
        )

    def init(self, params: Params, horizon: Int[Array, ""] | int | None = None) -> OptimusState:
        """Return zero moments and vectors; the horizon is not used."""

        def start(param: Array, layout: Layout) -> tuple[Moments, tuple[Array, ...]]:
            return init_moments(param, layout), (zeros_like(param),) * self._older

        trees = Tensors(params, self.layout).start(start, self._example)
        return OptimusState(jnp.zeros((), jnp.int32), *trees)

    def update(
        self, grads: Updates, state: OptimusState, params: Params, loss: Float[Array, ""] | None = None
    ) -> tuple[Updates, OptimusState]:
        """Return preconditioned steps; the loss is not used."""
        first = self.layers[0]
        kernel, step_kernel = jnp.split(first["kernel"], [NUM_FEATURES])
        shared = first["bias"] + step_features(state.count) @ step_kernel
        decays = initial_decays()
        tensors = Tensors(params, self.layout, grads)

        def rule(
            _: Layout, grad: Array, param: Array, before: tuple[Moments, tuple[Array, ...]], told: Array
        ) -> tuple[Array, tuple[Moments, tuple[Array, ...]]]:
            moments, older = update_moments(before[0], grad, decays), before[1]
            features = parameter_features(grad, param, moments)
            hidden = project(features, kernel, shared + told[2:])
            direction, magnitude, fresh = apply_layers(self.layers[1:], hidden)
            step = direction * jnp.exp(self.magnitude_scale * magnitude) * self.step_scale
            vectors = (_bounded(fresh, jax.nn.softplus(told[1])), *older)[: self.rank]
            update = -jnp.exp(told[0]) * self._precondition(step, vectors)
            return update, (moments, vectors[: self._older])

        told = tensors.spread(self._tell(tensors, state.moments))
        trees = state.moments, state.vectors
        updates, (moments, vectors) = tensors.apply(rule, trees, self._example, told)
        return updates, OptimusState(next_count(state.count), moments, vectors)

    @property
    def _example(self) -> tuple[Moments, tuple[int, ...]]:
        return MOMENTS, (0,) * self._older

    @property
    def _older(self) -> int:
        return max(self.rank - 1, 0)

    def _precondition(self, step: Tensor, vectors: tuple[Tensor, ...]) -> Tensor:
        """Return B s, by scalar products alone."""
        if not vectors:
            return step
        kept = jax.nn.sigmoid(self.forgetting) ** np.arange(len(vectors), dtype=np.float32)
        shares = kept * sums(tuple(vector * step for vector in vectors))
        for vector, share in zip(vectors, shares, strict=True):
            step = step + share * vector
        return step

    def _tell(self, tensors: Tensors, moments: Moments) -> Float[Array, "tensors numbers"]:
        """Return what the transformer says to each tensor: log rate, bound, and inputs of its network."""
        summaries = tensors.map(
            lambda _, *of: moment_summary(*of), tensors.params, tensors.states(moments, MOMENTS)
        )
        tokens = linear(self.embed, tensors.gather(summaries, NUM_MOMENT_SUMMARIES))
        for block in self.blocks if len(tensors) else ():
            tokens = tokens + _attention(block, _normalised(tokens))
            tokens = tokens + linear(
                block["second"], jax.nn.relu(linear(block["first"], _normalised(tokens)))
            )
        return linear(self.read_out, tokens)


def _init_block(key: Key[Array, ""], size: int) -> dict[str, Layer]:
    sizes = {"attend": (size, 3 * size), "mix": (size, size), "first": (size, 2 * size)}
    sizes["second"] = (2 * size, size)
    keys = jax.random.split(key, len(sizes))
    return {
        name: init_layers(layer_key, widths)[0]
        for layer_key, (name, widths) in zip(keys, sizes.items(), strict=True)
    }


def _attention(block: dict[str, Layer], tokens: Float[Array, "tensors size"]) -> Array:
    """Let every tensor read from all tensors, by one head."""
    asked, offered, values = jnp.split(linear(block["attend"], tokens), 3, axis=1)
    scores = asked @ offered.T / np.float32(tokens.shape[1] ** 0.5)
    return linear(block["mix"], jax.nn.softmax(scores, axis=1) @ values)


def _normalised(tokens: Float[Array, "tensors size"]) -> Array:
    centred = tokens - jnp.mean(tokens, axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=1, keepdims=True) + 1e-5)


def _bounded(vector: Tensor, square: Float[Array, ""]) -> Tensor:
    """Return the vector with its norm squared made `square`, or less where it is close to 0."""
    return vector * jnp.sqrt(square) * jax.lax.rsqrt(sums((jnp.square(vector),))[0] + _EPS)
