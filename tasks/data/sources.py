"""Sources of rows: records that are read by number, such as TFDS's, array-record's or grain's, and arrays."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import UsageError
from .catalogue import SPLITS, Split
from .permutation import permuted, rows_of_turn
from .pool import Rows, Source
from .symbols import encode

_CHUNK = 256
"""Records that are decoded at a time, beside the rows: they bound a source's memory."""
_TENTHS: dict[Split, tuple[int, int]] = {"train": (0, 8), "inner_valid": (8, 9), "outer_valid": (9, 10)}


class Records(Protocol):
    """Anything with a length that can be read by number.

    If it has `__getitems__`, as the sources of TFDS, array-record and grain do, several are read at once.
    """

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def __getitem__(self, number: Any, /) -> Any:
        """Return a record."""
        ...


def divide_records(records: Records, test: Records | None = None, seed: int = 0) -> dict[Split, Records]:
    """Divide records among the four splits, at random and without reading them.

    Args:
        records: the records.
        test: those of the test split; by default a tenth of the others. The rest is divided 80 % train, 10 %
            for each of the other two, as `make_dataset` does.
        seed: seed of the division.
    """
    kept = len(records) if test is not None else len(records) * 9 // 10
    splits: dict[Split, Records] = {
        split: _Some(records, low * kept // 10, high * kept // 10, seed)
        for split, (low, high) in _TENTHS.items()
    }
    splits["test"] = _Some(records, kept, len(records), seed) if test is None else test
    return splits


class _Some:
    """A stretch of the records in a random order."""

    def __init__(self, records: Records, low: int, high: int, seed: int) -> None:
        self._records, self._low, self._high, self._seed = records, low, high, seed

    def __len__(self) -> int:
        return self._high - self._low

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> Sequence[Any]:
        places = self._low + np.asarray(numbers, np.int64)
        return _read(self._records, permuted(places, len(self._records), self._seed).tolist())


class Columns:
    """Arrays as records: record i is the tuple of their rows i. They may be memory-mapped.

    Args:
        *arrays: arrays of equal length, such as images and labels.

    Raises:
        UsageError: if they differ in length.
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        if len({len(array) for array in arrays}) != 1:
            lengths = ", ".join(str(len(array)) for array in arrays) or "none"
            raise UsageError(f"arrays of a stream have one length, and these have {lengths}")
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        return tuple(array[number] for array in self._arrays)


class _RecordSource(Source):
    """A source whose turns are so many records, in an order that is computed."""

    def __init__(
        self,
        records: Mapping[Split, Records],
        decode: Callable[[Any], Any],
        rows: int,
        held_out_rows: int,
        seed: int = 0,
    ) -> None:
        self._records, self._decode, self._seed = records, decode, seed
        self._rows = {split: min(len(records[split]), held_out_rows) for split in SPLITS} | {"train": rows}
        for split in SPLITS:
            have, need = len(records[split]), self._rows[split]
            if not 1 <= need <= have:
                raise UsageError(
                    f"the split {split} has {have} rows, and a pool of {need} can't be filled from it"
                )

    def rows(self, split: Split, turn: int) -> Rows:
        """Read a turn's records."""
        records, rows = self._records[split], self._rows[split]
        numbers = rows_of_turn(len(records), rows, turn, self._seed).tolist()
        chunks = (_read(records, numbers[at : at + _CHUNK]) for at in range(0, rows, _CHUNK))
        return self._join(split, chunks)

    @abc.abstractmethod
    def _join(self, split: Split, chunks: Iterator[Sequence[Any]]) -> Rows:
        """Make the pool's arrays of records, which come in chunks."""


class RowSource(_RecordSource):
    """A source whose records become rows of equal shapes: an image and its label.

    Args:
        records: the records of each split.
        decode: turns a record into a tuple of arrays: an image uint8 [height, width, channels], and a label.
        rows: rows of the train split in a turn.
        held_out_rows: rows of each of the other splits, which are fewer where there are no more.
        seed: seed of the order.

    Raises:
        UsageError: if the train split has fewer rows, or another has none.
    """

    def _join(self, split: Split, chunks: Iterator[Sequence[Any]]) -> Rows:
        found: tuple[np.ndarray, ...] = ()
        start = 0
        for chunk in chunks:
            parts = [_stacked(column) for column in zip(*map(self._decode, chunk), strict=True)]
            found = found or tuple(np.empty((self._rows[split], *p.shape[1:]), p.dtype) for p in parts)
            for whole, part in zip(found, parts, strict=True):
                if part.shape[1:] != whole.shape[1:]:
                    raise _mixed(whole.shape[1:], part.shape[1:])
                whole[start : start + len(part)] = part
            start += len(chunk)
        return found


class TextSource(_RecordSource):
    """A source whose records are texts, which a turn joins, and cuts or repeats to a fixed length.

    Args:
        records: the records of each split.
        decode: turns a record into its text.
        rows: records of the train split in a turn.
        held_out_rows: records of each of the other splits, which are fewer where there are no more.
        symbols: length of a turn's text, in symbols of `ALPHABET`.
        seed: seed of the order.

    Raises:
        UsageError: if the train split has fewer records, or another has none.
    """

    def __init__(
        self,
        records: Mapping[Split, Records],
        decode: Callable[[Any], str],
        rows: int,
        held_out_rows: int,
        symbols: int,
        seed: int = 0,
    ) -> None:
        super().__init__(records, decode, rows, held_out_rows, seed)
        self._symbols = symbols

    def _join(self, split: Split, chunks: Iterator[Sequence[Any]]) -> Rows:
        room = self._symbols if split == "train" else self._symbols * self._rows[split] // self._rows["train"]
        texts = [encode("\n".join(map(self._decode, chunk)) + "\n") for chunk in chunks]
        return (np.resize(np.concatenate(texts), max(room, 1)),)


def _read(records: Any, numbers: list[int]) -> Sequence[Any]:
    several = getattr(records, "__getitems__", None)
    return several(numbers) if several is not None else [records[number] for number in numbers]


def _stacked(column: Sequence[Any]) -> np.ndarray:
    """Stack values; integers become int32, as labels are."""
    shapes = {np.shape(value) for value in column}
    if len(shapes) > 1:
        raise _mixed(*sorted(shapes)[:2])
    stacked = np.stack([np.asarray(value) for value in column])
    return stacked.astype(np.int32) if np.issubdtype(stacked.dtype, np.signedinteger) else stacked


def _mixed(one: tuple[int, ...], other: tuple[int, ...]) -> UsageError:
    return UsageError(f"rows of a pool have one shape, and these have {list(one)} and {list(other)}")
