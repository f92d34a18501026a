"""Which data sets there are, and whether they are on this machine. Needs neither JAX nor TFDS.

No TensorFlow and no network here: digits are prepared from scikit-learn on first use, the others by the
command `lopt-data prepare NAME` (`tasks/data_cli.py`).
"""

import dataclasses
import difflib
import importlib.util
import json
import os
from pathlib import Path
from typing import Literal

from .errors import UsageError

Split = Literal["train", "inner_valid", "outer_valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "inner_valid", "outer_valid", "test")

# Inner training sees `train`, the meta-objective `inner_valid`, choices about theta `outer_valid`; `test` is
# for reports only.
_SHARES: dict[Split, tuple[str, int, int]] = {
    "train": ("train", 0, 80),
    "inner_valid": ("train", 80, 90),
    "outer_valid": ("train", 90, 100),
    "test": ("test", 0, 100),
}
"""Split -> the split of TFDS that it is a part of, and where it begins and ends there in percent."""
TFDS_SPLITS = {split: f"{whole}[{low}%:{high}%]" for split, (whole, low, high) in _SHARES.items()}
"""What TFDS calls our splits."""


class UnknownDatasetError(UsageError):
    """There is no data set of that name."""


class DatasetNotPreparedError(UsageError, RuntimeError):
    """The data set is not on this machine in a form that can be read without TensorFlow."""


class MissingPackageError(ModuleNotFoundError, UsageError):
    """A package that reading data needs is not installed."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where TFDS keeps a data set and what reading it takes.

    Attributes:
        builder: the name under which TFDS registers it.
        version: the prepared version that is read; pinned, so that results stay comparable.
        modules: importable modules that reading needs; each is in `_PACKAGES`.
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
        DatasetNotPreparedError: when that is in a home directory, and there is none.
    """
    # Asked now, not when TFDS was imported, which is when TFDS itself reads the variable.
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return Path(chosen).expanduser().resolve()
    except RuntimeError as error:
        raise DatasetNotPreparedError(
            f"there is no home directory for {str(chosen)!r}: set TFDS_DATA_DIR, or write the directory out."
        ) from error


def array_record_root(data_dir: Path) -> Path:
    """Return the root that holds array_record data where `data_dir` already holds the tfrecord form."""
    return data_dir / "array_record"


def find_prepared(name: str, data_dir: Path) -> tuple[Path | None, bool]:
    """Find the prepared directory of a data set.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.

    Returns:
        The directory and True if it can be read; else the directory of a tfrecord form, or None, and False.
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
    """Raise `MissingPackageError`, with the pip command, unless what reading `name` needs is installed."""
    missing = [m for m in find_source(name).modules if importlib.util.find_spec(m) is None]
    if missing:
        packages = " ".join(_PACKAGES[module] for module in missing)
        raise MissingPackageError(
            f"reading data set {name!r} needs {packages}: type `pip install {packages}`.", name=missing[0]
        )


def ensure_prepared(name: str, data_dir: Path) -> Path:
    """Return the readable directory of a data set; prepare it if that takes no network.

    Raises:
        DatasetNotPreparedError: it is not there as array_record, or `data_dir` cannot be written.
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
    """Return the formats that a prepared directory declares; empty when it is not prepared."""
    try:
        declared = json.loads((path / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return set()
    # Directories that old TFDS versions wrote name no format: they are tfrecord.
    return {declared.get("fileFormat", "tfrecord"), *declared.get("alternativeFileFormats", [])}


def count_examples(path: Path) -> dict[Split, int]:
    """Return the number of examples in each of our splits of a prepared directory; {} if it is damaged.

    TFDS is not asked, since importing it takes most of a second; it rounds shares of a split as is done here.
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
