"""Image classification data, read once from the files that were prepared.

This module needs neither TensorFlow nor a network; `prepared.py` locates the data.
"""

import functools
import os
from pathlib import Path

from ..errors import UsageError
from .catalogue import SPLITS, find_entry
from .converting import load_arrays
from .image_data import Dataset, Splits, on_device
from .prepared import resolve_data_dir
from .streams import open_dataset_stream

__all__ = ["Dataset", "load_dataset", "on_device"]


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read a data set onto the device; later calls for the same directory return the same object.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory; see `resolve_data_dir`.

    Returns:
        The data set, all four splits; of one that is streamed (`imagenet64`) the first rows of each.

    Raises:
        UnknownDatasetError: if no data set has that name.
        DatasetNotPreparedError: if it is not prepared as array_record, or is damaged, or `data_dir` cannot be
            written.
        MissingPackageError: if a package for reading it is not installed.
        UsageError: if it is a text.
    """
    if find_entry(name).kind != "images":
        raise UsageError(f"{name!r} is a text: read it with `tasks.load_corpus({name!r})`")
    return _load_cached(name, resolve_data_dir(data_dir))


@functools.cache
def _load_cached(name: str, data_dir: Path) -> Dataset:
    if find_entry(name).streaming is not None:
        return open_dataset_stream(name, data_dir)
    arrays, about = load_arrays(name, data_dir)
    splits: Splits = {split: (arrays[f"{split}.images"], arrays[f"{split}.labels"]) for split in SPLITS}
    return on_device(splits, name, about["num_classes"], about["moments"])
