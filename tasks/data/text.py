"""The sources of Python's standard library as a text, as characters on the device."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Key, UInt8

from ..base import Batch
from ..errors import UsageError
from ..layers import equal_weights
from .pool import Pool, Stream
from .prepared import SPLITS, DatasetNotPreparedError, Split
from .symbols import ALPHABET, encode

__all__ = ["ALPHABET", "MODULES", "OTHER_MODULES", "Text", "encode", "load_text", "make_text"]

# Long modules that change little between versions; they are only read, not imported.
MODULES = ("argparse", "datetime", "difflib", "doctest", "heapq", "statistics", "textwrap", "tarfile")
"""The modules whose sources are read, in this order."""
OTHER_MODULES = ("calendar", "configparser", "csv", "fractions", "gettext", "imaplib", "locale", "optparse")
"""Modules for models that must not have read any of the above."""

_FEWEST = 100
"""Symbols in a split: batches are stretches of some dozen."""
_SHARES: dict[Split, float] = {"train": 0.7, "inner_valid": 0.1, "outer_valid": 0.1, "test": 0.1}


class Text(Pool):
    """Characters on the device.

    Attributes:
        symbols: split -> uint8 [n], numbers of symbols in `ALPHABET`.
        stream: where the train split's next symbols come from; None if it is on the device as a whole.
    """

    symbols: dict[str, jax.Array]
    stream: Stream | None = struct.field(pytree_node=False, default=None)

    def batch(self, key: Key[Array, ""], split: Split, batch_size: int, length: int) -> Batch:
        """Draw stretches of `length` + 1 symbols of `split` uniformly, with replacement.

        Args:
            key: one typed PRNG key.
            split: the split to draw from.
            batch_size: number of stretches.
            length: symbols to predict in each; the stretch is one longer.
        """
        symbols = self.symbols[split]
        starts = jax.random.randint(key, (batch_size, 1), 0, symbols.shape[0] - length)
        drawn = symbols.at[starts + jnp.arange(length + 1)[None]].get(mode="promise_in_bounds")
        symbols = drawn.astype(jnp.int32)
        return Batch(symbols[:, :-1], symbols[:, 1:], equal_weights(batch_size))

    @property
    def held(self) -> tuple[jax.Array, ...]:
        """The train split's symbols."""
        return (self.symbols["train"],)

    def exchanged(self, rows: Sequence[jax.Array]) -> Text:
        """Return the text with other symbols in the train split."""
        (symbols,) = rows
        return self.replace(symbols=self.symbols | {"train": symbols})


@functools.cache
def load_text(modules: tuple[str, ...] = MODULES) -> Text:
    """Read the sources of modules; later calls return the same object.

    Every module is cut into four contiguous parts, one for each split, so that all splits are similar and
    none overlap. The text, by default about 450,000 symbols, is that of the running Python; versions differ
    slightly.

    Args:
        modules: import names of modules in Python's library.

    Raises:
        DatasetNotPreparedError: if this Python comes without its library's sources.
    """
    return make_text(*(_read_source(module) for module in modules))


def make_text(*texts: str) -> Text:
    """Put texts on the device, in the symbols of `ALPHABET`.

    Args:
        *texts: for instance files; each is cut into four contiguous parts, 70 % for training and 10 % for
            each of the other splits.

    Raises:
        UsageError: if a split would have fewer than 100 symbols.
    """
    parts: dict[Split, list[UInt8[np.ndarray, " n"]]] = {split: [] for split in SPLITS}
    for text in texts:
        symbols = encode(text)
        ends = np.cumsum([math.floor(len(symbols) * _SHARES[split]) for split in SPLITS])[:-1]
        for split, part in zip(SPLITS, np.split(symbols, ends), strict=True):
            parts[split].append(part)
    shortest = min(sum(map(len, part)) for part in parts.values())
    if shortest < _FEWEST:
        raise UsageError(f"the texts are too short: a split would have {shortest} symbols, not {_FEWEST}")
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        return Text({split: jnp.asarray(np.concatenate(parts[split])) for split in SPLITS})


def _read_source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    path = Path(spec.origin) if spec and spec.origin else None
    if path is None or path.suffix != ".py" or not path.is_file():
        raise DatasetNotPreparedError(
            f"the characters are the sources of Python's library, and this Python has none for {module!r}: "
            "use a Python that was not stripped of its .py files."
        )
    return path.read_text(encoding="utf-8")
