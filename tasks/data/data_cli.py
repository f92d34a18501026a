"""The command `lopt-data`: list the data sets, prepare some, and remove some."""

# Only the standard library and tyro at the top, so that --help is fast; handlers import the rest.
import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

Names = Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME [NAME ...]")]
DataDir = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclasses.dataclass(frozen=True)
class List:
    """List the data sets: whether and where each is prepared, how big it is, how to prepare it."""

    data_dir: DataDir = None
    """Directory to look in, instead of $TFDS_DATA_DIR or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Prepare data sets (digits: locally, in seconds; the others: download, needs `lopt[prepare]`).

    What is prepared already stays as it is. An archive that you have downloaded yourself is taken from
    DIR/downloads/manual. lopt-data list shows the names.
    """

    names: Names
    """The data sets to prepare."""
    data_dir: DataDir = None
    """Directory to write to, instead of $TFDS_DATA_DIR or ~/tensorflow_datasets."""


@dataclasses.dataclass(frozen=True)
class Remove:
    """Remove data sets that were prepared; downloaded archives and tfrecord files stay."""

    names: Names
    """The data sets to remove."""
    data_dir: DataDir = None
    """Directory to remove from, instead of $TFDS_DATA_DIR or ~/tensorflow_datasets."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Remove, tyro.conf.subcommand("remove")]
)


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


def _run(command: List | Prepare | Remove) -> int:
    """Run a parsed command; return the exit code."""
    from .catalogue import UnknownDatasetError, find_entry
    from .data_table import print_table, printable
    from .prepared import DatasetNotPreparedError, MissingPackageError, PrepareError, resolve_data_dir

    try:
        data_dir = resolve_data_dir(command.data_dir)
        if isinstance(command, List):
            print_table(data_dir)
            return 0
        if not command.names:
            return _fail("name one data set or more; `lopt-data list` shows them.", 2)
        for name in command.names:
            find_entry(name)
        for name in command.names:
            act = _prepare if isinstance(command, Prepare) else _remove
            print(printable(act(name, data_dir)), flush=True)
    except UnknownDatasetError as error:
        return _fail(str(error), 2)
    except (PrepareError, DatasetNotPreparedError, MissingPackageError) as error:
        return _fail(str(error), 1)
    return 0


def _prepare(name: str, data_dir: Path) -> str:
    from .catalogue import find_entry
    from .preparing import prepare

    with _progress(name) as progress:
        path, counts = prepare(name, data_dir, progress)
    told = ", ".join(f"{split} {count}" for split, count in counts.items())
    return (
        f"{name} is ready in {path}: {told} {'symbols' if find_entry(name).kind == 'text' else 'examples'}."
    )


def _remove(name: str, data_dir: Path) -> str:
    from .data_table import megabytes
    from .preparing import remove

    removed = remove(name, data_dir)
    if not removed:
        return f"{name}: there is nothing to remove in {data_dir}."
    return f"{name}: removed {' and '.join(map(str, removed))}, {megabytes(sum(removed.values()))}."


def _fail(message: str, code: int) -> int:
    from .data_table import printable

    print(f"lopt-data: {printable(message)}", file=sys.stderr)
    return code


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows on a terminal how far converting a data set is."""
    shown = False

    def show(split: str, done: int, of: int) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            shown = True
            print(f"\r{name}: {split} {done} of {of}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
