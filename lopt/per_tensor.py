"""Rules that treat each tensor by itself, mapped over a parameter tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import Params, Updates

Tensor = Float[Array, "..."]

_LARGEST_GRADIENT = 1e15
"""Its square, summed over any tensor, is still a float32: an infinite average would never recover."""


def map_tensors(
    rule: Callable[[Tensor, Any, Tensor], tuple[Tensor, Any]], grads: Updates, states: Any, params: Params
) -> tuple[Updates, Any]:
    """Apply a per-tensor rule to every leaf.

    Args:
        rule: maps (gradient, tensor state, parameter), all in float32, to (update, new tensor state); the
            gradient is clipped to 1e15 in magnitude.
        grads: gradients like `params`.
        states: a tree with a tensor state (any pytree) in place of each leaf of `params`.
        params: parameters of any float dtype.

    Returns:
        The updates, cast to each parameter's dtype, and the new states.
    """
    leaves, treedef = jax.tree.flatten(params)
    grad_leaves = treedef.flatten_up_to(grads)
    state_leaves = treedef.flatten_up_to(states)
    updates, new_states = [], []
    for grad, state, param in zip(grad_leaves, state_leaves, leaves, strict=True):
        update, new_state = rule(bounded(grad), state, param.astype(jnp.float32))
        updates.append(update.astype(param.dtype))
        new_states.append(new_state)
    return treedef.unflatten(updates), treedef.unflatten(new_states)


def bounded(grad: Array) -> Tensor:
    """Return a gradient of any float dtype in float32, clipped to 1e15 in magnitude."""
    return jnp.clip(grad.astype(jnp.float32), -_LARGEST_GRADIENT, _LARGEST_GRADIENT)


def sqrt(x: Tensor) -> Tensor:
    """Return the square root of x >= 0, with a derivative of 0 at 0 (and 1e-19 there for its value).

    The true derivative is infinite: one parameter whose gradients were all zero would make the derivative of
    everything in theta NaN.
    """
    return jnp.sqrt(jnp.maximum(x, jnp.finfo(jnp.float32).tiny))


def rms(x: Tensor) -> Float[Array, ""]:
    """Return the root mean square, with `sqrt`'s derivative at zero."""
    return sqrt(jnp.mean(jnp.square(x)))


def mean_square(x: Array) -> Float[Array, ""]:
    """Return the mean square of an array of any float dtype, in float32."""
    return jnp.mean(jnp.square(x.astype(jnp.float32)))


def overall_mean_square(params: Params) -> Float[Array, ""]:
    """Return the mean square over all parameters, in float32; 1 where all are zero, or there are none."""
    leaves = jax.tree.leaves(params)
    squares = sum((jnp.sum(jnp.square(p.astype(jnp.float32))) for p in leaves), jnp.zeros(()))
    overall = squares / max(sum(p.size for p in leaves), 1)
    return jnp.where(overall > 0, overall, 1.0)
