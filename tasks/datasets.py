"""Image classification data that lives on the device as uint8, read once through TFDS.

No TensorFlow and no network here: digits are prepared from scikit-learn on first use, the others by the
command `lopt-data prepare NAME` (`tasks/data_cli.py`).
"""

import dataclasses
import difflib
import functools
import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt8

Split = Literal["train", "inner_valid", "outer_valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "inner_valid", "outer_valid", "test")

# Inner training sees `train`, the meta-objective `inner_valid`, choices about theta `outer_valid`; `test` is
# for reports only.
TFDS_SPLITS: dict[Split, str] = {
    "train": "train[:80%]",
    "inner_valid": "train[80%:90%]",
    "outer_valid": "train[90%:]",
    "test": "test",
}

_READ_CHUNK = 4096  # examples decoded at a time, so that reading never holds two copies of a data set


class UnknownDatasetError(ValueError):
    """There is no data set of that name."""


class DatasetNotPreparedError(RuntimeError):
    """The data set is not on this machine in a form that can be read without TensorFlow."""


class MissingPackageError(ModuleNotFoundError):
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


class Dataset(struct.PyTreeNode):
    """A classification data set on the device.

    Pass it to jitted functions as an argument (it is a pytree) rather than closing over it: what is closed
    over may be baked into the compiled program.

    Attributes:
        images: split -> uint8 [n, height, width, channels], 0..255.
        labels: split -> int32 [n], 0..num_classes - 1.
        name: its name in `DATASETS`.
        num_classes: number of classes.
        mean: mean of the train split's pixels scaled to 0..1.
        std: standard deviation of the same.
    """

    images: dict[str, jax.Array]
    labels: dict[str, jax.Array]
    name: str = struct.field(pytree_node=False)
    num_classes: int = struct.field(pytree_node=False)
    mean: float = struct.field(pytree_node=False)
    std: float = struct.field(pytree_node=False)

    def size(self, split: Split) -> int:
        """Return the number of examples in `split`."""
        return self.labels[split].shape[0]

    def batch(
        self, key: Key[Array, ""], split: Split, batch_size: int
    ) -> tuple[Float[Array, "batch height width channels"], Int[Array, " batch"]]:
        """Draw examples of `split` uniformly, with replacement.

        Cheap inside `scan` and `vmap`: only the drawn uint8 rows are gathered and converted, and keys mapped
        over share one copy of the data.

        Args:
            key: one typed PRNG key.
            split: the split to draw from.
            batch_size: number of examples.

        Returns:
            Images standardised by the train split's `mean` and `std`, float32, and labels, int32.
        """
        images = self.images[split]
        rows = jax.random.randint(key, (batch_size,), 0, self.size(split))
        # On a CPU, gathering flat rows is four times as fast as gathering [height, width, channels] blocks.
        flat = images.reshape(images.shape[0], -1).at[rows].get(mode="promise_in_bounds")
        labels = self.labels[split].at[rows].get(mode="promise_in_bounds")
        pixels = flat.astype(jnp.float32).reshape(batch_size, *images.shape[1:])
        return (pixels / 255.0 - self.mean) / self.std, labels


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read a data set onto the device; later calls for the same directory return the same object.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory; see `resolve_data_dir`.

    Returns:
        The data set, all four splits.

    Raises:
        UnknownDatasetError: no data set has that name.
        DatasetNotPreparedError: it is not there as array_record, or damaged, or `data_dir` cannot be written.
        MissingPackageError: a package that reading needs is not installed.
    """
    find_source(name)
    return _load_cached(name, resolve_data_dir(data_dir))


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


@functools.cache
def _load_cached(name: str, data_dir: Path) -> Dataset:
    require_packages(name)
    splits, num_classes = _read_splits(ensure_prepared(name, data_dir))
    train = splits["train"][0]
    # One pass over 256 counts: exact, and no float copy of the images.
    counts = np.bincount(train.reshape(-1), minlength=256) / train.size
    levels = np.arange(256) / 255.0
    mean = float(counts @ levels)
    std = float(np.sqrt(counts @ (levels - mean) ** 2))
    # A first call inside a traced function would otherwise put that trace's values into the cache.
    with jax.ensure_compile_time_eval():
        images = {split: jnp.asarray(splits[split][0]) for split in SPLITS}
        labels = {split: jnp.asarray(splits[split][1]) for split in SPLITS}
    return Dataset(images=images, labels=labels, name=name, num_classes=num_classes, mean=mean, std=std)


def _read_splits(
    path: Path,
) -> tuple[dict[Split, tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]], int]:
    """Read every split of a prepared directory; return split -> (images, labels), and the class count."""
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(path)
        splits = {}
        for split, instruction in TFDS_SPLITS.items():
            source = builder.as_data_source(instruction, file_format="array_record")
            splits[split] = _read_source(source, builder.info.splits[instruction].num_examples)
        return splits, builder.info.features["label"].num_classes
    except ImportError:
        raise
    # Whatever TFDS, protobuf or array_record trip over in there, the remedy is the same.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetNotPreparedError(
            f"the data in {path} is damaged ({reason}): delete that directory and prepare it again."
        ) from error


def _read_source(source: Any, expected: int) -> tuple[UInt8[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]:
    """Read a TFDS data source whole, in order; `expected` is the example count its metadata promises."""
    if len(source) != expected or expected == 0:
        raise ValueError(f"{len(source)} examples where the metadata says {expected}")
    images, labels = [], []
    for start in range(0, expected, _READ_CHUNK):
        examples = source.__getitems__(range(start, min(start + _READ_CHUNK, expected)))
        images.append(np.stack([example["image"] for example in examples]))
        labels.append(np.array([example["label"] for example in examples], dtype=np.int32))
    return np.concatenate(images), np.concatenate(labels)
