"""Preparing data sets through TFDS, and removing them: what `lopt-data` does."""

import importlib.util
import logging
import sys
from pathlib import Path

from .array_folders import folder_of, kept_counts, remove_folder
from .catalogue import DATASETS, Split, find_entry
from .converting import Progress, load_arrays
from .prepared import (
    PrepareError,
    array_record_root,
    count_examples,
    ensure_prepared,
    find_prepared,
    require_packages,
)

# One retry: TFDS's ten, with growing pauses, take minutes to fail without a network.
_MAX_RETRIES = 1


def prepare(name: str, data_dir: Path, progress: Progress) -> tuple[Path, dict[Split, int]]:
    """Make a data set readable by `load_dataset` or `load_corpus`; does nothing if it already is.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.
        progress: told how far converting is.

    Returns:
        The directory that is read, and the numbers of examples, or of symbols in a text, by split.

    Raises:
        PrepareError: if the network, disk space or TensorFlow is missing.
        MissingPackageError: if a package for reading the data is not installed.
        DatasetNotPreparedError: if `data_dir` cannot be written (digits).
    """
    entry, folder = find_entry(name), folder_of(name, data_dir)
    if (kept := kept_counts(name, data_dir)) is not None:
        return folder, kept
    require_packages(name)
    path, readable = find_prepared(name, data_dir)
    if not readable and not entry.local:
        _download(name, data_dir, beside=path)
    path = ensure_prepared(name, data_dir)
    if entry.local or entry.streaming is not None:
        return path, count_examples(name, path)
    load_arrays(name, data_dir, progress)
    kept = kept_counts(name, data_dir)
    if kept is None:
        raise PrepareError(f"could not write {folder}: free some space, or choose another directory.")
    return folder, kept


def remove(name: str, data_dir: Path) -> dict[Path, int]:
    """Remove what `prepare` made; a tfrecord form stays, and so do downloaded archives.

    A directory of TFDS that other names are made of, such as `cifar10_8`, is removed by the name without a
    suffix.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.

    Returns:
        What was removed, and the bytes that it took.

    Raises:
        PrepareError: if it can't be removed.
    """
    entry, folder = find_entry(name), folder_of(name, data_dir)
    doomed = [folder] if folder.exists() else []
    path, readable = find_prepared(name, data_dir)
    owner = next(owner for owner, other in DATASETS.items() if other.builder == entry.builder)
    if path is not None and readable and owner == name:
        doomed.append(path)
    if owner == name:
        # What a killed process left behind.
        for root in (data_dir, array_record_root(data_dir)):
            doomed += (root / entry.builder).glob(f"incomplete.*_{entry.version}")
    doomed += folder.parent.glob(f".{name}-*")
    try:
        return {path: remove_folder(path) for path in doomed}
    except OSError as error:
        raise PrepareError(f"could not remove {error.filename}: {error.strerror}.") from error


def _download(name: str, data_dir: Path, beside: Path | None) -> None:
    """Download a stock TFDS data set and write it as array_record.

    Args:
        name: a name in `DATASETS`.
        data_dir: the TFDS root directory.
        beside: the directory of its tfrecord form, which stays unchanged; None if there is none.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise PrepareError(
            f"preparing {name!r} needs TensorFlow (reading it afterwards does not): "
            "type `pip install 'lopt[prepare]'`."
        )
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    entry = find_entry(name)
    root = array_record_root(data_dir) if beside else data_dir
    target = root / entry.builder / entry.version
    if target.exists():
        raise PrepareError(f"{target} is in the way and is not a prepared data set: delete it and try again.")
    downloader.MAX_RETRIES = _MAX_RETRIES
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It would print a line for each retry.
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder = tfds.builder(f"{entry.builder}:{entry.version}", data_dir=root, file_format="array_record")
        builder.download_and_prepare(
            download_dir=data_dir / "downloads",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
    except requests.RequestException as error:
        raise PrepareError(
            f"could not download {name!r} ({type(error).__name__}): check the network and the proxy settings "
            f"or put the archive into {data_dir / 'downloads' / 'manual'}, then run the same command again."
        ) from error
    # TFDS has no common base class for errors such as a wrong checksum, a full disk or a broken TensorFlow.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise PrepareError(f"could not prepare {name!r}: {type(error).__name__}: {reason}") from error
