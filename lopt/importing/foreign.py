"""A nested dict of another library's arrays: taken one by one, by name and shape, until none is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UsageError
from ..plain_text import plain


class Foreign:
    """Another library's theta, from which arrays are taken by their paths.

    Names are joined by slashes, so that {"rnn/linear": {"w": x}} and {"rnn": {"linear": {"w": x}}} are the
    same.
    """

    def __init__(self, theta: Mapping[str, Any], rule: str) -> None:
        """Flatten a theta.

        Args:
            theta: nested dicts of arrays of real numbers.
            rule: what it should be the theta of, for the messages.

        Raises:
            UsageError: when it is something else, or holds what is not finite.
        """
        self._rule = rule
        if not isinstance(theta, Mapping):
            raise UsageError(f"a theta of {rule} is a dict of arrays, not {plain(type(theta).__name__)}")
        self._left = {path: self._checked(path, leaf) for path, leaf in _flat(theta, ())}

    def has(self, path: str) -> bool:
        """Tell whether there is such an array, and it was not taken."""
        return path in self._left

    def shape(self, path: str, rank: int) -> tuple[int, ...]:
        """Return the shape of an array, from which sizes are told.

        Raises:
            UsageError: when there is no such array, or it has another rank.
        """
        if path not in self._left:
            raise UsageError(f"this is no theta of {self._rule}: it has no {path}")
        shape = self._left[path].shape
        if len(shape) != rank or 0 in shape:
            raise self._misshaped(path, f"an array of {rank} axes")
        return shape

    def take(self, path: str, *shape: int) -> jax.Array:
        """Take an array out, as float32.

        Raises:
            UsageError: when there is no such array, or it has another shape.
        """
        self.shape(path, len(shape))
        if self._left[path].shape != shape:
            raise self._misshaped(path, str(shape))
        return jnp.asarray(self._left.pop(path), jnp.float32)

    def finish(self) -> None:
        """Check that every array was taken.

        Raises:
            UsageError: when one is left, with its name.
        """
        for path in self._left:
            raise UsageError(f"this is no theta of {self._rule}, which has no {plain(path)}")

    def _checked(self, path: str, leaf: Any) -> np.ndarray:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise UsageError(f"{plain(path)} of this theta is of {kind}, and should be of float32")
        array = np.asarray(leaf)
        if not np.isfinite(array.astype(np.float32)).all():
            raise UsageError(f"{plain(path)} of this theta holds NaN or infinity")
        return array

    def _misshaped(self, path: str, expected: str) -> UsageError:
        found = self._left[path].shape
        return UsageError(f"this is no theta of {self._rule}: {path} is {found}, and should be {expected}")


def _flat(theta: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in theta.items():
        path = (*above, str(name))
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        else:
            yield "/".join(path), value
