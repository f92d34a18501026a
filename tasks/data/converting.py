"""Data sets as arrays, made from the directories that TFDS prepared and kept in files of their own.

Reading needs neither TensorFlow nor JAX. The files load in a second or so, where decoding images takes long.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from .array_files import read_arrays, write_arrays
from .array_folders import folder_of
from .catalogue import SPLITS, Entry, find_entry
from .image_forms import in_form, pixel_moments
from .prepared import DatasetNotPreparedError, ensure_prepared, require_packages
from .symbols import encode

_CHUNK = 4096
"""Examples decoded at a time, so that reading never holds two copies of the data."""

Progress = Callable[[str, int, int], object]
"""Called with a split, and the number of its examples that are done and of all."""


def load_arrays(
    name: str, data_dir: Path, progress: Progress = lambda *_: None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a data set's arrays from its files, which are made if there are none.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.
        progress: told how far making them is.

    Returns:
        Arrays by name, and what belongs to them. Images: `SPLIT.images`, uint8 [n, height, width, channels],
        and `SPLIT.labels`, int32 [n]; `num_classes`, and `moments` of the train split's pixels (mean and
        standard deviation). Text: `SPLIT.symbols`, uint8 [n].

    Raises:
        DatasetNotPreparedError: if it is not prepared as array_record, or is damaged.
        MissingPackageError: if a package for reading it is not installed.
    """
    entry, folder = find_entry(name), folder_of(name, data_dir)
    kept = None if entry.local else read_arrays(folder, entry.form)
    if kept is not None:
        return kept
    require_packages(name)
    made = _convert(ensure_prepared(name, data_dir), entry, progress)
    if not entry.local:
        # A directory that can't be written can be read all the same.
        with contextlib.suppress(OSError):
            write_arrays(folder, *made, entry.form)
    return made


def open_directory(path: Path) -> Any:
    """Return the TFDS builder of a prepared directory."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(path)


def open_part(builder: Any, instruction: str) -> Any:
    """Return the examples of a part of a split, readable by number.

    Raises:
        UsageError: if there are fewer or more than its metadata say.
    """
    source = builder.as_data_source(instruction, file_format="array_record")
    expected = builder.info.splits[instruction].num_examples
    if len(source) != expected or expected == 0:
        raise UsageError(f"{len(source)} examples where the metadata says {expected}")
    return source


def or_damaged(path: Path, read: Callable[[], Any]) -> Any:
    """Call a function that reads a prepared directory; turn its errors into one that says what to do."""
    try:
        return read()
    except ImportError:
        raise
    # The remedy is the same for all errors of TFDS, protobuf and array_record.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetNotPreparedError(
            f"the data in {path} is damaged ({reason}): delete that directory and prepare it again."
        ) from error


def _convert(path: Path, entry: Entry, progress: Progress) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    make = _texts if entry.kind == "text" else _images
    return or_damaged(path, lambda: make(open_directory(path), entry, progress))


def _images(builder: Any, entry: Entry, progress: Progress) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        source = open_part(builder, entry.parts.of(split).instruction)
        images, labels = None, np.empty(len(source), np.int32)
        for start, examples in _chunks(source):
            chunk = in_form(np.stack([example["image"] for example in examples]), entry.side, entry.grey)
            if images is None:
                images = np.empty((len(source), *chunk.shape[1:]), np.uint8)
            images[start : start + len(chunk)] = chunk
            labels[start : start + len(chunk)] = [example["label"] for example in examples]
            progress(split, start + len(chunk), len(source))
        assert images is not None
        arrays |= {f"{split}.images": images, f"{split}.labels": labels}
    classes = builder.info.features["label"].num_classes
    return arrays, {"num_classes": classes, "moments": pixel_moments(arrays["train.images"])}


def _texts(builder: Any, entry: Entry, progress: Progress) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    wholes: dict[str, np.ndarray] = {}
    for whole in dict.fromkeys(entry.parts.of(split).whole for split in SPLITS):
        source, encoded = open_part(builder, whole), []
        for start, examples in _chunks(source):
            encoded += [encode(example["text"].decode("utf-8", "replace") + "\n") for example in examples]
            progress(whole, start + len(examples), len(source))
        wholes[whole] = np.concatenate(encoded)
    arrays = {}
    for split in SPLITS:
        part = entry.parts.of(split)
        symbols = wholes[part.whole]
        low, high = (len(symbols) * percent // 100 for percent in (part.low, part.high))
        arrays[f"{split}.symbols"] = symbols[low:high]
    return arrays, {}


def _chunks(source: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield a source's examples in order, some at a time, with the number of the first."""
    for start in range(0, len(source), _CHUNK):
        yield start, source.__getitems__(range(start, min(start + _CHUNK, len(source))))
