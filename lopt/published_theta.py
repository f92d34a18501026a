"""Theta as a safetensors file: float32, finite, named as in the optimizer's tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from .base import LearnedOptimizer
from .errors import UsageError
from .plain_text import plain, reason

T = TypeVar("T", bound=LearnedOptimizer)


def arrays_of(optimizer: LearnedOptimizer) -> dict[str, np.ndarray]:
    """Return theta's arrays by name, as float32 even under `jax_enable_x64`.

    Raises:
        UsageError: if an array is not floating-point, not finite, or empty; the message names it.
    """
    arrays = {}
    for name, leaf in _named_leaves(optimizer):
        array = np.asarray(leaf)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise UsageError(f"{plain(name)} is of {array.dtype}, and theta is of float32")
        with np.errstate(over="ignore"):  # values that are too large become infinite, and are rejected
            arrays[name] = np.array(array, np.float32, order="C")
    check_numbers(arrays)
    return arrays


def size(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the total number of elements."""
    return sum(array.size for array in arrays.values())


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a safetensors file."""
    return safetensors.numpy.save(dict(arrays))


def decode(content: bytes) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file.

    Raises:
        UsageError: "is not a safetensors file", and why.
    """
    try:
        return safetensors.numpy.load(content)
    except Exception as error:  # the library's error types vary
        raise UsageError(f"is not a safetensors file: {reason(error)}") from error


def check_numbers(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that arrays are finite and not empty.

    Raises:
        UsageError: for the first array that is not; the message names it.
    """
    for name, array in arrays.items():
        if array.size == 0:
            raise UsageError(f"{plain(name)} is empty")
        if not np.isfinite(array).all():
            raise UsageError(f"{plain(name)} holds NaN or infinity")


def differing(template: LearnedOptimizer, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of arrays that are missing, unexpected, not float32, or of another shape.

    Args:
        template: an optimizer of the right architecture; the dtypes of its arrays are ignored, because
            `jax_enable_x64` changes them.
        arrays: arrays by name, as returned by `decode`.
    """
    expected = {name: (leaf.shape, np.dtype(np.float32)) for name, leaf in _named_leaves(template)}
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    return sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))


def fill(template: T, arrays: Mapping[str, np.ndarray]) -> T:
    """Return a template with its arrays taken from a file."""
    leaves = [jnp.asarray(arrays[name], jnp.float32) for name, _ in _named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    flat, _ = jax.tree.flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat]
