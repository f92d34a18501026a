"""The data sets, and whether they are on this machine.

Needs neither JAX nor TFDS. It needs neither TensorFlow nor a network, either: digits are prepared from
scikit-learn on first use, the others by the command `lopt-data prepare NAME` (`tasks/data_cli.py`).
"""

import dataclasses
import difflib
import importlib.util
import json
import os
from pathlib import Path
from typing import Literal

from ..errors import UsageError

Split = Literal["train", "inner_valid", "outer_valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "inner_valid", "outer_valid", "test")

# `train` is for inner training, `inner_valid` for the meta-objective, `outer_valid` for choices about theta,
# and `test` for reports only.
_SHARES: dict[Split, tuple[str, int, int]] = {
    "train": ("train", 0, 80),
    "inner_valid": ("train", 80, 90),
    "outer_valid": ("train", 90, 100),
    "test": ("test", 0, 100),
}
"""Split -> the TFDS split that it is a part of, and its beginning and end in percent."""
TFDS_SPLITS = {split: f"{whole}[{low}%:{high}%]" for split, (whole, low, high) in _SHARES.items()}
"""Our splits in TFDS's notation."""


class UnknownDatasetError(UsageError):
    """There is no data set of that name."""


class DatasetNotPreparedError(UsageError, RuntimeError):
    """The data set is not on this machine in a form that can be read without TensorFlow."""


class MissingPackageError(ModuleNotFoundError, UsageError):
    """A package for reading data is not installed."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The location of a data set in TFDS, and the modules for reading it.

    Attributes:
        builder: its name in TFDS.
        version: the version that is read; pinned, so that results stay comparable.
        modules: importable modules for reading it; each is in `_PACKAGES`.
        local: whether it is prepared on first use, without a network.
    """

    builder: str
    version: str
    modules: tuple[str, ...]
    local: bool = False


_PACKAGES = {
    "tensorflow_datasets": "tensorflow-datasets",
    "array_record": "array-record",
    "importlib_resources": "importlib_resources",
    "PIL": "pillow",
}
_TFDS_MODULES = ("tensorflow_datasets", "array_record", "importlib_resources")

DATASETS: dict[str, Source] = {
    "digits": Source("sklearn_digits", "1.0.0", _TFDS_MODULES, local=True),
    "mnist": Source("mnist", "3.0.1", (*_TFDS_MODULES, "PIL")),
    "fashion_mnist": Source("fashion_mnist", "3.0.1", (*_TFDS_MODULES, "PIL")),
}


def find_source(name: str) -> Source:
    """Look up a data set by name; raise `UnknownDatasetError` with the nearest names if there is none."""
    if name in DATASETS:
        return DATASETS[name]
    nearest = " or ".join(repr(near) for near in difflib.get_close_matches(name, DATASETS))
    hint = f"did you mean {nearest}?" if nearest else f"choose one of {', '.join(DATASETS)}."
    raise UnknownDatasetError(f"unknown data set {name!r}: {hint}")


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
    source = find_source(name)
    unreadable = None
    for root in (data_dir, array_record_root(data_dir)):
        path = root / source.builder / source.version
        formats = _file_formats(path)
        if "array_record" in formats:
            return path, True
        if formats:
            unreadable = path
    return unreadable, False


def require_packages(name: str) -> None:
    """Raise `MissingPackageError`, with the pip command, if packages for reading `name` are missing."""
    missing = [m for m in find_source(name).modules if importlib.util.find_spec(m) is None]
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
            f"data set {name!r} is not prepared in {data_dir}: type `lopt-data prepare {name}`, "
            "or set TFDS_DATA_DIR to the directory that holds it."
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


def count_examples(path: Path) -> dict[Split, int]:
    """Return the number of examples in each of our splits of a prepared directory; {} if it is damaged.

    This doesn't use TFDS, because importing it takes most of a second; TFDS rounds shares of a split in the
    same way.
    """
    try:
        declared = json.loads((path / "dataset_info.json").read_text())["splits"]
        sizes = {split["name"]: sum(int(length) for length in split["shardLengths"]) for split in declared}
        return {
            split: round(high * sizes[whole] / 100) - round(low * sizes[whole] / 100)
            for split, (whole, low, high) in _SHARES.items()
        }
    except (OSError, ValueError, TypeError, LookupError):
        return {}
