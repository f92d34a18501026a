"""Parameter trees of known networks with flax's names, on which optimizers are measured.

Tests import this, too: `from scripts.parameter_trees import TREES, make_parameters`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, ...]
Shapes = dict[str, Any]
"""Nested dicts with a shape at each leaf."""


def make_parameters(shapes: Shapes, seed: int = 0) -> dict[str, Any]:
    """Return float32 parameters like those of a new training run: scales one, biases zero, the rest small."""
    draw = np.random.default_rng(seed)

    def make(path: tuple[Any, ...], shape: Shape) -> jax.Array:
        if path[-1].key == "bias":
            return jnp.zeros(shape)
        if path[-1].key == "scale":
            return jnp.ones(shape)
        return jnp.asarray(0.02 * draw.standard_normal(shape, np.float32))

    return jax.tree.map_with_path(make, shapes, is_leaf=_is_shape)


def make_gradients(shapes: Shapes, seed: int = 1) -> dict[str, Any]:
    """Return random float32 gradients of size 0.01."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(0.01 * draw.standard_normal(shape, np.float32)), shapes, is_leaf=_is_shape
    )


def _is_shape(node: Any) -> bool:
    return isinstance(node, tuple)


def mlp(*widths: int) -> Shapes:
    """Return a multilayer perceptron."""
    return {f"Dense_{at}": _dense(*pair) for at, pair in enumerate(itertools.pairwise(widths))}


def transformer(layers: int = 4, width: int = 512, vocabulary: int = 8192, length: int = 256) -> Shapes:
    """Return a language model with RMS norms and without biases in its attention."""
    square = {"kernel": (width, width)}
    layer = {
        "attention_norm": {"scale": (width,)},
        "attention": dict.fromkeys(("query", "key", "value", "out"), square),
        "mlp_norm": {"scale": (width,)},
        "mlp": {"up": _dense(width, 4 * width), "down": _dense(4 * width, width)},
    }
    return {
        "embed": {"embedding": (vocabulary, width)},
        "position": {"embedding": (length, width)},
        **{f"layer_{at}": layer for at in range(layers)},
        "final_norm": {"scale": (width,)},
        "head": _dense(width, vocabulary),
    }


def gpt2(layers: int = 12, width: int = 96, vocabulary: int = 512, length: int = 128) -> Shapes:
    """Return GPT-2 with Hugging Face's names; by default GPT-2 small at an eighth of its width."""
    block = {
        "ln_1": _norm(width),
        "attn": {"c_attn": _dense(width, 3 * width), "c_proj": _dense(width, width)},
        "ln_2": _norm(width),
        "mlp": {"c_fc": _dense(width, 4 * width), "c_proj": _dense(4 * width, width)},
    }
    return {
        "wte": {"embedding": (vocabulary, width)},
        "wpe": {"embedding": (length, width)},
        "h": {str(at): block for at in range(layers)},
        "ln_f": _norm(width),
    }


def vit(layers: int = 12, width: int = 96, heads: int = 3, classes: int = 100) -> Shapes:
    """Return a vision transformer with flax's attention, whose kernels have three axes, and 197 positions."""
    inward = {"kernel": (width, heads, width // heads), "bias": (heads, width // heads)}
    outward = {"kernel": (heads, width // heads, width), "bias": (width,)}
    block = {
        "LayerNorm_0": _norm(width),
        "MultiHeadDotProductAttention_1": {"query": inward, "key": inward, "value": inward, "out": outward},
        "LayerNorm_2": _norm(width),
        "MlpBlock_3": {"Dense_0": _dense(width, 4 * width), "Dense_1": _dense(4 * width, width)},
    }
    blocks = {f"encoderblock_{at}": block for at in range(layers)}
    return {
        "cls": (1, 1, width),
        "embedding": {"kernel": (16, 16, 3, width), "bias": (width,)},
        "Transformer": {
            "posembed_input": {"pos_embedding": (1, 197, width)},
            **blocks,
            "encoder_norm": _norm(width),
        },
        "head": _dense(width, classes),
    }


def _dense(inputs: int, outputs: int) -> Shapes:
    return {"kernel": (inputs, outputs), "bias": (outputs,)}


def _norm(width: int) -> Shapes:
    return {"scale": (width,), "bias": (width,)}


TREES: dict[str, Callable[[], Shapes]] = {
    "tiny": lambda: mlp(12, 8, 4),
    "mlp": lambda: mlp(784, 768, 384, 128, 10),
    "transformer": transformer,
    "gpt2": gpt2,
    "vit": vit,
}
"""Shapes by name. `tiny` is for quick tries: 140 parameters in 4 tensors."""
