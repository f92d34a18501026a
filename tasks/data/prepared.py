"""Where the data sets are on this machine, and errors if one is not.

Needs neither JAX nor TFDS. It needs neither TensorFlow nor a network, either: digits are prepared from
scikit-learn on first use, the others by the command `lopt-data prepare NAME` (`data_cli.py`).
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .catalogue import DATASETS, SPLITS, Part, Split, find_entry

_PACKAGES = {
    "tensorflow_datasets": "tensorflow-datasets",
    "array_record": "array-record",
    "importlib_resources": "importlib_resources",
    "PIL": "pillow",
}


class DatasetNotPreparedError(UsageError, RuntimeError):
    """The data set is not on this machine in a form that can be read without TensorFlow."""


class PrepareError(UsageError, RuntimeError):
    """A data set could not be prepared or removed; the message says why and what to do."""


class MissingPackageError(ModuleNotFoundError, UsageError):
    """A package for reading data is not installed."""


def resolve_data_dir(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the TFDS root: `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        DatasetNotPreparedError: if the path needs a home directory, and there is none.
    """
    # Read at each call, whereas TFDS reads the variable when it is imported.
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return Path(chosen).expanduser().resolve()
    except RuntimeError as error:
        raise DatasetNotPreparedError(
            f"there is no home directory for {str(chosen)!r}: set TFDS_DATA_DIR, or write the full path."
        ) from error


def array_record_root(data_dir: Path) -> Path:
    """Return the root for array_record data if `data_dir` already holds the tfrecord form."""
    return data_dir / "array_record"


def find_prepared(name: str, data_dir: Path) -> tuple[Path | None, bool]:
    """Find the prepared directory of a data set.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.

    Returns:
        The directory and True if it can be read; otherwise the directory of a tfrecord form, or None, and
        False.
    """
    entry = find_entry(name)
    unreadable = None
    for root in (data_dir, array_record_root(data_dir)):
        path = root / entry.builder / entry.version
        formats = _file_formats(path)
        if "array_record" in formats:
            return path, True
        if formats:
            unreadable = path
    return unreadable, False


def require_packages(name: str) -> None:
    """Raise `MissingPackageError`, with the pip command, if packages for reading `name` are missing."""
    missing = [m for m in find_entry(name).modules if importlib.util.find_spec(m) is None]
    if missing:
        packages = " ".join(_PACKAGES[module] for module in missing)
        raise MissingPackageError(
            f"reading data set {name!r} needs {packages}: type `pip install {packages}`.", name=missing[0]
        )


def ensure_prepared(name: str, data_dir: Path) -> Path:
    """Return the readable directory of a data set; prepare it if that needs no network.

    Raises:
        DatasetNotPreparedError: if it is not prepared as array_record, or `data_dir` cannot be written.
    """
    path, readable = find_prepared(name, data_dir)
    if path is not None and readable:
        return path
    if path is not None:
        raise DatasetNotPreparedError(
            f"data set {name!r} is prepared in {path} as tfrecord, which cannot be read without TensorFlow: "
            f"type `lopt-data prepare {name}` to prepare array_record beside it."
        )
    if not DATASETS[name].local:
        raise DatasetNotPreparedError(
            f"data set {name!r} is not prepared, neither in {data_dir} nor in {array_record_root(data_dir)}: "
            f"type `lopt-data prepare {name}`, or set TFDS_DATA_DIR to the directory that holds it."
        )
    from .digits_builder import prepare_digits

    try:
        return prepare_digits(data_dir)
    except OSError as error:
        raise DatasetNotPreparedError(
            f"cannot prepare data set {name!r} in {data_dir} ({error}): "
            "set TFDS_DATA_DIR to another directory."
        ) from error


def _file_formats(path: Path) -> set[str]:
    """Return the formats that a prepared directory declares; empty if it is not prepared."""
    try:
        declared = json.loads((path / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return set()
    # Directories written by old TFDS versions name no format; they are tfrecord.
    return {declared.get("fileFormat", "tfrecord"), *declared.get("alternativeFileFormats", [])}


def count_examples(name: str, path: Path) -> dict[Split, int]:
    """Return the number of examples in each of our splits of a prepared directory; {} if it is damaged.

    A text is cut by its characters, which its directory does not tell: it has no numbers, unless it is
    streamed. This doesn't use TFDS, because importing it takes most of a second; TFDS rounds shares of a
    split in the same way.
    """
    entry = find_entry(name)
    if entry.kind == "text" and entry.streaming is None:
        return {}
    try:
        declared: Any = json.loads((path / "dataset_info.json").read_text())["splits"]
        sizes = {split["name"]: sum(int(length) for length in split["shardLengths"]) for split in declared}
        parts: dict[Split, Part] = {split: entry.parts.of(split) for split in SPLITS}
        return {
            split: round(part.high * sizes[part.whole] / 100) - round(part.low * sizes[part.whole] / 100)
            for split, part in parts.items()
        }
    except (OSError, ValueError, TypeError, LookupError):
        return {}
