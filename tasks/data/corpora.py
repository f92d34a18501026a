"""Texts that were prepared through TFDS, read once."""

import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp

from ..errors import UsageError
from .catalogue import SPLITS, find_entry
from .converting import load_arrays
from .prepared import resolve_data_dir
from .streams import open_text_stream
from .text import Text


def load_corpus(name: str, data_dir: str | os.PathLike[str] | None = None) -> Text:
    """Read a prepared text onto the device; later calls for the same directory return the same object.

    Args:
        name: a text in `DATASETS`: tiny_shakespeare, imdb or lm1b, which is streamed.
        data_dir: the TFDS root directory; see `resolve_data_dir`.

    Raises:
        UnknownDatasetError: if no data set has that name.
        DatasetNotPreparedError: if it is not prepared as array_record, or is damaged.
        MissingPackageError: if a package for reading it is not installed.
        UsageError: if it consists of images.
    """
    if find_entry(name).kind != "text":
        raise UsageError(f"{name!r} consists of images: read it with `tasks.load_dataset({name!r})`")
    return _load_cached(name, resolve_data_dir(data_dir))


@functools.cache
def _load_cached(name: str, data_dir: Path) -> Text:
    if find_entry(name).streaming is not None:
        return open_text_stream(name, data_dir)
    arrays, _ = load_arrays(name, data_dir)
    # Otherwise a first call inside a traced function would cache that trace's values.
    with jax.ensure_compile_time_eval():
        # Copied, because they may be files, which somebody may change.
        return Text({split: jnp.array(arrays[f"{split}.symbols"]) for split in SPLITS})
