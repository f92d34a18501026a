"""The platform that comes with lopt, and its commands: `from lopt.platform import eval, meta_train, tasks`.

These three packages have common names, which your own modules may have, too. So an installed lopt keeps them
in the folder `lopt/_platform`, which `import lopt` does not add to the path. The line above puts that folder
first on `sys.path`: from then on `import meta_train` works in the whole program. It raises an error if this
would hide a module of yours, or if packages of `pip install 'lopt[train]'` are missing.

In a source tree the three packages are in the root, and the same line finds them there.
"""

from __future__ import annotations

import importlib
import os
import select
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TextIO

_PACKAGES = ("eval", "meta_train", "tasks")
_LOPT = Path(__file__).resolve().parent
_INSTALLED = _LOPT / "_platform"
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _LOPT.parent
_NEEDED = (
    "array_record",
    "importlib_resources",
    "markdown_it",
    "matplotlib",
    "orbax",
    "PIL",
    "rich",
    "sklearn",
    "tensorflow_datasets",
    "tyro",
    "wandb",
)
_CLOSED_PIPE = 141
"""Exit status of a command whose output pipe was closed, as in a shell: 128 + SIGPIPE."""


class PlatformError(ImportError):
    """The platform can't be imported; the message says in one sentence why, and what to do."""


def __getattr__(name: str) -> ModuleType:
    """Import one of the three packages.

    Raises:
        PlatformError: if packages are missing, or a module of yours has the name of one of lopt's.
    """
    if name not in _PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _open()
    return importlib.import_module(name)


def train() -> int:
    """Run `lopt-train`; return its exit status."""
    return _start("lopt-train", "meta_train.commands.train")


def export() -> int:
    """Run `lopt-export`; return its exit status."""
    return _start("lopt-export", "meta_train.commands.export")


def tune() -> int:
    """Run `lopt-tune`; return its exit status."""
    return _start("lopt-tune", "meta_train.commands.tune")


def evaluate() -> int:
    """Run `lopt-eval`; return its exit status."""
    return _start("lopt-eval", "eval.cli")


def runs() -> int:
    """Run `lopt-runs`; return its exit status."""
    return _start("lopt-runs", "meta_train.commands.runs")


def data() -> int:
    """Run `lopt-data`; return its exit status."""
    return _start("lopt-data", "tasks.data.data_cli")


def _start(command: str, module: str) -> int:
    try:
        _open(hiding=True)  # the program is lopt's: a user's `tasks.py` on PYTHONPATH is not meant
    except PlatformError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    main = importlib.import_module(module).main
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads(sys.stdout):
            raise  # it was another pipe of the program
        # Discard the buffered output, which Python would otherwise try to flush at exit, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE


def _nobody_reads(file: TextIO) -> bool:
    """Return whether a file is a pipe whose other end is closed, as in `lopt-data list | head -1`."""
    poll = select.poll()
    poll.register(file, 0)  # errors are always reported
    return bool(poll.poll(0))


def _open(hiding: bool = False) -> None:
    """Make the three packages importable.

    Args:
        hiding: whether they may hide other modules of the same names.
    """
    if missing := [name for name in _NEEDED if not sys.modules.get(name) and find_spec(name) is None]:
        raise PlatformError(
            f"tasks, meta_train and eval need packages that lopt alone does without ({', '.join(missing)}): "
            "type `pip install 'lopt[train]'`"
        )
    namesake = _namesake()
    if namesake and not hiding:
        raise PlatformError(namesake)
    if namesake or str(_FOLDER) not in sys.path:
        sys.path.insert(0, str(_FOLDER))
    if namesake and (namesake := _namesake()):  # it is imported already
        raise PlatformError(namesake)


def _namesake() -> str | None:
    """Return a sentence about another module with one of the three names that is, or would be, imported."""
    for name in _PACKAGES:
        if name in sys.modules:
            place = getattr(sys.modules[name], "__file__", None) or "another module"
        else:
            spec = find_spec(name)
            # A folder without __init__.py has no origin, and a package anywhere on the path precedes it.
            place = spec.origin if spec else None
        if place and Path(place).resolve().parent != _FOLDER / name:
            return (
                f"lopt's package {name!r} can't be imported, since {place} has the same name: "
                "rename it, or use lopt's in a separate program"
            )
    return None
