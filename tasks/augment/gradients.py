"""Another gradient for the same loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..base import AnyBatch, Instance, Params, Task

TINY = 1e-30
"""Added to a mean square, so that its root is differentiable if a gradient is zero."""


def loss_with_gradient(
    task: Task,
    change: Callable[[Params], Params],
    instance: Instance,
    params: Params,
    batch: AnyBatch,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Return the loss of a task, bitwise; its gradient with respect to the parameters is changed.

    Derivatives with respect to what the parameters depend on (theta, in backpropagation through training)
    follow the changed gradient; those with respect to the instance and the batch are the task's. Computing
    only the loss costs nothing extra. A gradient costs one more loss, unless the compiler sees that it is the
    same one twice.

    Args:
        task: the task.
        change: a function of the gradient, differentiable almost everywhere.
        instance: an instance, and further arguments, of `Task.loss`.
        params: its parameters.
        batch: its batch.
        key: its key.
    """
    gradient = jax.grad(task.loss, argnums=1)(instance, params, batch, key)
    loss = task.loss(instance, jax.lax.stop_gradient(params), batch, key)
    return loss + _zero_with_gradient(params, change(gradient)).astype(loss.dtype)


@jax.custom_jvp
def _zero_with_gradient(params: Params, gradient: Params) -> Float[Array, ""]:
    """Return 0, with the gradient with respect to `params` defined as `gradient`."""
    del params, gradient
    return jnp.zeros(())


@_zero_with_gradient.defjvp
def _zero_with_gradient_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (params, gradient), (moves, _) = primals, tangents
    products = jax.tree.map(lambda g, move: jnp.sum(g * move), gradient, moves)
    return _zero_with_gradient(params, gradient), sum(jax.tree.leaves(products), jnp.zeros(()))
