"""The command `lopt-data`: list the data sets on this machine, and prepare one."""

# Only the standard library and tyro at the top, so that --help is fast; handlers import the rest.
import dataclasses
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

# One retry: TFDS's ten, with growing pauses, take minutes to fail without a network.
_MAX_RETRIES = 1


DataDir = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


class PrepareError(RuntimeError):
    """A data set could not be prepared; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class List:
    """List the data sets: whether and where each is prepared, its number of examples, how to prepare it."""

    data_dir: DataDir = None
    """Directory to look in, instead of $TFDS_DATA_DIR or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Prepare one data set (digits: locally, in seconds; the others: download, needs `lopt[prepare]`)."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="{digits,mnist,fashion_mnist}")]
    """The data set to prepare."""
    data_dir: DataDir = None
    """Directory to write to, instead of $TFDS_DATA_DIR or ~/tensorflow_datasets."""


Command = Annotated[List, tyro.conf.subcommand("list")] | Annotated[Prepare, tyro.conf.subcommand("prepare")]


_LEAST = 40
"""Columns in which tyro can write; in fewer, its help and its errors never end."""


@contextmanager
def _wide_enough() -> Iterator[None]:
    given = os.environ.get("COLUMNS")
    if narrow := shutil.get_terminal_size().columns < _LEAST:
        os.environ["COLUMNS"] = str(_LEAST)
    try:
        yield
    finally:
        if narrow:
            os.environ.pop("COLUMNS")
            os.environ |= {} if given is None else {"COLUMNS": given}


def main(args: Sequence[str] | None = None) -> int:
    """Run `lopt-data`.

    Args:
        args: command line without the program's name; None takes it from the process.

    Returns:
        The exit code: 0 done, 1 an error reported on stderr in one sentence, 2 bad usage, 130 ctrl-C.
    """
    try:
        with _wide_enough():
            command = tyro.cli(Command, prog="lopt-data", description=__doc__, args=args)
    except SystemExit as stop:  # tyro exits by itself after --help (0) and bad usage (2).
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return _run(command)
    except KeyboardInterrupt:
        print("Stopped: nothing half-prepared is left; run the same command to start again.", file=sys.stderr)
        return 130


def _run(command: List | Prepare) -> int:
    """Run a parsed command; return the exit code."""
    from .prepared import (
        DatasetNotPreparedError,
        MissingPackageError,
        UnknownDatasetError,
        count_examples,
        find_source,
        resolve_data_dir,
    )

    try:
        data_dir = resolve_data_dir(command.data_dir)
        if isinstance(command, Prepare):
            find_source(command.name)
            path = prepare(command.name, data_dir)
            counts = ", ".join(f"{split} {count}" for split, count in count_examples(path).items())
            print(_plain(f"{command.name} is ready in {path}: {counts} examples."))
        else:
            _print_table(data_dir)
    except UnknownDatasetError as error:
        return _fail(error, 2)
    except (PrepareError, DatasetNotPreparedError, MissingPackageError) as error:
        return _fail(error, 1)
    return 0


def _fail(error: Exception, code: int) -> int:
    print(f"lopt-data: {_plain(str(error))}", file=sys.stderr)
    return code


def _plain(text: str) -> str:
    """Escape control characters, which may occur in the name of a directory."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def prepare(name: str, data_dir: Path) -> Path:
    """Make a data set readable by `tasks.load_dataset`; does nothing if it already is.

    Args:
        name: a name in `tasks.data.prepared.DATASETS`.
        data_dir: the TFDS root directory.

    Returns:
        The prepared directory.

    Raises:
        PrepareError: if the network, disk space or TensorFlow is missing.
        MissingPackageError: if a package for reading the data is not installed.
        DatasetNotPreparedError: if `data_dir` cannot be written (digits).
    """
    from .prepared import DATASETS, ensure_prepared, find_prepared, require_packages

    require_packages(name)
    path, readable = find_prepared(name, data_dir)
    if not readable and not DATASETS[name].local:
        _download(name, data_dir, beside=path)
    return ensure_prepared(name, data_dir)


def _download(name: str, data_dir: Path, beside: Path | None) -> None:
    """Download a stock TFDS data set and write it as array_record.

    Args:
        name: a name in `tasks.data.prepared.DATASETS`.
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

    from .prepared import DATASETS, array_record_root

    source = DATASETS[name]
    root = array_record_root(data_dir) if beside else data_dir
    target = root / source.builder / source.version
    if target.exists():
        raise PrepareError(f"{target} is in the way and is not a prepared data set: delete it and try again.")
    downloader.MAX_RETRIES = _MAX_RETRIES
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # It would print a line for each retry.
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder = tfds.builder(
            f"{source.builder}:{source.version}", data_dir=root, file_format="array_record"
        )
        builder.download_and_prepare(
            download_dir=data_dir / "downloads",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
    except requests.RequestException as error:
        raise PrepareError(
            f"could not download {name!r} ({type(error).__name__}): "
            "check the network and the proxy settings, then run the same command again."
        ) from error
    # TFDS has no common base class for errors such as a wrong checksum, a full disk or a broken TensorFlow.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise PrepareError(f"could not prepare {name!r}: {type(error).__name__}: {reason}") from error


def _print_table(data_dir: Path) -> None:
    """Print a table with one row per data set."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .prepared import DATASETS, SPLITS, count_examples, find_prepared

    title = Text(_plain(f"Data sets in {data_dir}"))  # as Text, so that brackets are not markup
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("prepared in", overflow="fold")
    for split in SPLITS:
        table.add_column(split.replace("_", "\n"), justify="right")
    table.add_column("to prepare")
    for name, source in DATASETS.items():
        path, readable = find_prepared(name, data_dir)
        counts = count_examples(path) if path else {}
        where = str(path.relative_to(data_dir)) if path else "-"
        if path and not readable:
            where += " (tfrecord: not readable)"
        elif path and not counts:
            where += " (damaged: delete it)"
        todo = "automatic" if source.local else "download"
        table.add_row(
            name,
            where,
            *(str(counts.get(split, "-")) for split in SPLITS),
            "-" if readable else todo,
        )
    console = Console()
    # Printed by Python, because rich ends the process with its own status if the output pipe is closed.
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="")
    print("automatic: on first use, without a network.")
    print("download: by `lopt-data prepare NAME`, after `pip install 'lopt[prepare]'`.")
