"""Checks of parameters and gradients: all must be real floating-point arrays; errors name the leaf."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from jaxtyping import Array

from .errors import UsageError
from .paths import named_leaves

_MASK = "leave it out of this transformation by optax.masked or optax.multi_transform"


def check_parameters(params: Any) -> tuple[list[Array], Any]:
    """Return the leaves of a parameter tree as arrays, and its structure.

    Raises:
        UsageError: for a leaf whose dtype is not real floating.
        TypeError: for a leaf that is not an array. Both name the leaf and say what to write instead.
    """
    named, treedef = named_leaves(params)
    return [_as_floating(leaf, f"the parameter {_shown(names)}") for names, leaf in named], treedef


def check_gradients(grads: Any, params: Any) -> tuple[list[Array], Any]:
    """Return the leaves of a gradient tree as arrays, and its structure.

    Raises:
        UsageError: if a gradient is missing, has a different shape than its parameter, or a dtype that is not
            real floating.
        TypeError: for a leaf that is not an array. Both name the leaf.
    """
    named, treedef = named_leaves(grads)
    expected, _ = named_leaves(params)
    if len(named) != len(expected):
        missing = [names for names, _ in expected if names not in {names for names, _ in named}]
        extra = [names for names, _ in named if names not in {names for names, _ in expected}]
        if missing:
            raise UsageError(f"the parameter {_shown(missing[0])} has no gradient: {_MASK}")
        where = f"{_shown(extra[0])} has a gradient and is" if extra else "there are gradients of what is"
        raise UsageError(f"{where} no parameter: gradients must be a tree like the parameters")
    leaves = []
    for (names, grad), (_, param) in zip(named, expected, strict=True):
        leaf = _as_floating(grad, f"the gradient of {_shown(names)}")
        if leaf.shape != jnp.shape(param):
            raise UsageError(
                f"the gradient of {_shown(names)} has shape {leaf.shape}, its parameter {jnp.shape(param)}"
            )
        leaves.append(leaf)
    return leaves, treedef


def unbox_other_shapes(tree: Any, params: Any) -> Any:
    """Unbox the arrays whose shape doesn't start with that of their parameter.

    flax keeps arrays in boxes that name the parameter's axes, and divides them among devices by those names.

    Args:
        tree: like `params`, with other arrays.
        params: the parameters, possibly boxed.
    """
    nnx = sys.modules.get("flax.nnx")  # no array can be in its boxes before it is imported
    kinds = (meta.AxisMetadata, *([nnx.Variable] if nnx else []))

    def value(box: Any) -> Any:
        return jax.tree.leaves(box)[0]

    def unbox(box: Any, param: Any) -> Any:
        if not isinstance(box, kinds):
            return box
        shape = jnp.shape(value(param))
        return box if value(box).shape[: len(shape)] == shape else value(box)

    return jax.tree.map(unbox, tree, params, is_leaf=lambda x: isinstance(x, kinds))


def _as_floating(leaf: Any, what: str) -> Array:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise TypeError(f"{what} is abstract: write jax.eval_shape(tx.init, params) for the state's shapes")
    if isinstance(leaf, bool) or not isinstance(
        leaf, float | int | complex | np.ndarray | np.generic | jax.Array
    ):
        raise TypeError(f"{what} is {type(leaf).__name__}, and no array of floating numbers: {_MASK}")
    dtype = (
        jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))
        if not isinstance(leaf, jax.Array)
        else leaf.dtype
    )
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise UsageError(
            f"{what} is complex: wrap the transformation in optax.contrib.split_real_and_imaginary"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise UsageError(f"{what} has dtype {dtype}, and only floating numbers can be trained: {_MASK}")
    return jnp.asarray(leaf, dtype)


def _shown(names: tuple[str, ...]) -> str:
    return "/".join(names) or "at the top"
