"""Data on the device of which the host holds more, and where the next come from."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from ..errors import UsageError
from .catalogue import Split

Rows = tuple[np.ndarray, ...]


class Source(abc.ABC):
    """Where the rows of a pool come from.

    Subclass it for data that `RowSource` and `TextSource` can't read. Sources are compared by identity: one
    object serves all tasks that share its rows.
    """

    @abc.abstractmethod
    def rows(self, split: Split, turn: int) -> Rows:
        """Return a turn's rows: a pure function of the two arguments, called in any order and in a thread.

        A run stores no position: it asks for turn `meta-step // every`, also after it was resumed.

        Args:
            split: the split. Only the train split is asked for other turns than 0.
            turn: the turn, from 0 on.

        Returns:
            Arrays of the same shapes and dtypes for every turn: for images uint8
            [rows, height, width, channels] and labels int32 [rows]; for text uint8 [symbols].
        """


@dataclasses.dataclass(frozen=True)
class Stream:
    """A source, and how often the pool gets rows from it.

    Attributes:
        source: the source.
        every: meta-steps until the next turn.

    Raises:
        UsageError: if `every` is not positive.
    """

    source: Source
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"a pool is exchanged every meta-step or less often, not every {self.every}")

    def turn(self, meta_step: int) -> int:
        """Return the turn of a meta-step."""
        return meta_step // self.every

    def left(self, meta_step: int) -> int:
        """Return the number of meta-steps from this one until the next turn, at least 1."""
        return self.every - meta_step % self.every

    def read(self, turn: int, held: Sequence[jax.Array | jax.ShapeDtypeStruct]) -> Rows:
        """Return a turn's rows of the train split.

        Args:
            turn: the turn.
            held: what the pool holds, or its shapes.

        Raises:
            UsageError: if their shapes or dtypes are not those of `held`.
        """
        rows = self.source.rows("train", turn)
        shapes, expected = _shapes(rows), _shapes(held)
        if shapes != expected:
            raise UsageError(
                f"the rows of a pool keep their shapes: turn {turn} has {shapes} instead of {expected}"
            )
        return rows


class Pool(struct.PyTreeNode, abc.ABC):
    """Data on the device, whose train split may be exchanged for further rows.

    The arrays are leaves of the task, so an exchange compiles nothing anew.
    """

    @property
    @abc.abstractmethod
    def stream(self) -> Stream | None:
        """Where further rows come from; None if there are none."""

    @property
    @abc.abstractmethod
    def held(self) -> tuple[jax.Array, ...]:
        """The train split's arrays, in the order of `Source.rows`."""

    @abc.abstractmethod
    def exchanged(self, rows: Sequence[jax.Array]) -> Pool:
        """Return the pool with other arrays in the train split."""


def _shapes(arrays: Sequence[Any]) -> str:
    return ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
