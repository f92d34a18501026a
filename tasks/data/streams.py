"""Data sets and texts that are streamed: a pool on the device, and a source of the next rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UsageError
from .catalogue import SPLITS, Split, Streaming, find_entry
from .converting import open_directory, open_part, or_damaged
from .image_data import Dataset, Splits, on_device
from .pool import Rows, Source, Stream
from .prepared import DatasetNotPreparedError, ensure_prepared, require_packages
from .sources import Records, RowSource, TextSource, divide_records
from .text import Text

_SYMBOLS_PER_ROW = 128
"""Length of LM1B's sentences, on average and about."""


def stream_dataset(source: Source, every: int, num_classes: int, name: str = "mine") -> Dataset:
    """Return a data set of images whose train split is a pool that the trainer exchanges.

    The mean and the standard deviation are those of the first turn, and stay.

    Args:
        source: gives images uint8 [rows, height, width, channels], 0 to 255, and labels int32 [rows].
        every: meta-steps until the next turn.
        num_classes: number of classes.
        name: its name.

    Raises:
        UsageError: if its rows are something else.
    """
    splits: Splits = {split: _checked(source.rows(split, 0), num_classes) for split in SPLITS}
    return on_device(splits, name, num_classes).replace(stream=Stream(source, every))


def stream_text(source: Source, every: int) -> Text:
    """Return a text whose train split is a pool that the trainer exchanges.

    Args:
        source: gives symbols of `ALPHABET`, uint8 [symbols].
        every: meta-steps until the next turn.
    """
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        symbols = {split: jnp.asarray(source.rows(split, 0)[0]) for split in SPLITS}
    return Text(symbols, Stream(source, every))


def tfds_records(
    path: str | os.PathLike[str], train: str = "train", test: str | None = "test"
) -> dict[Split, Records]:
    """Open a directory that TFDS prepared as array_record; its records are read by number.

    Args:
        path: the directory of a version, such as `~/tensorflow_datasets/kmnist/3.0.1`.
        train: the split, in TFDS's notation, that the first three splits are divided from.
        test: the split for tests; None takes a tenth of the other.

    Returns:
        The records of each split: dicts of features.

    Raises:
        DatasetNotPreparedError: if there is no such directory, or it is not in array_record form.
    """
    path = Path(path).expanduser()
    if not (path / "dataset_info.json").is_file():
        raise DatasetNotPreparedError(
            f"{path} is not a directory that TFDS prepared, which holds dataset_info.json: "
            "prepare it with `tfds build NAME --file_format=array_record`."
        )

    def read() -> dict[Split, Records]:
        builder = open_directory(path)
        tested = None if test is None else open_part(builder, test)
        return divide_records(open_part(builder, train), tested)

    return or_damaged(path, read)


def open_dataset_stream(name: str, data_dir: Path) -> Dataset:
    """Return a streamed data set of `DATASETS`."""
    records, builder, streaming = _open(name, data_dir)
    classes = builder.info.features["label"].num_classes
    decode = lambda record: (record["image"], int(record["label"]))  # noqa: E731
    source = RowSource(records, decode, streaming.rows, streaming.held_out_rows)
    return stream_dataset(source, streaming.every, classes, name)


def open_text_stream(name: str, data_dir: Path) -> Text:
    """Return a streamed text of `DATASETS`."""
    records, _, streaming = _open(name, data_dir)
    decode: Callable[[Any], str] = lambda record: record["text"].decode("utf-8", "replace")  # noqa: E731
    symbols = streaming.rows * _SYMBOLS_PER_ROW
    source = TextSource(records, decode, streaming.rows, streaming.held_out_rows, symbols)
    return stream_text(source, streaming.every)


def _open(name: str, data_dir: Path) -> tuple[Mapping[Split, Records], Any, Streaming]:
    """Open a data set's prepared directory; return its records, its builder, and how it is streamed."""
    require_packages(name)
    entry, path = find_entry(name), ensure_prepared(name, data_dir)
    assert entry.streaming is not None

    def read() -> tuple[Mapping[Split, Records], Any]:
        builder = open_directory(path)
        return {split: open_part(builder, entry.parts.of(split).instruction) for split in SPLITS}, builder

    records, builder = or_damaged(path, read)
    rows = min(entry.streaming.rows, len(records["train"]))
    return records, builder, entry.streaming._replace(rows=rows)


def _checked(rows: Rows, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    if len(rows) != 2:
        raise UsageError(f"a stream's rows are images and labels, and these are {len(rows)} arrays")
    images, labels = rows
    if images.dtype != np.uint8 or images.ndim != 4:
        kind = f"{images.dtype} {list(images.shape)}"
        raise UsageError(
            f"a stream's images are uint8 [rows, height, width, channels], 0 to 255, and these are {kind}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.int32:
        kind = f"{labels.dtype} {list(labels.shape)}"
        raise UsageError(f"a stream's labels are int32 [rows], one for each image, and these are {kind}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UsageError(f"labels are classes from 0 to {num_classes - 1}, and one is {labels.max()}")
    return images, labels
