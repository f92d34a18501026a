"""The platform that comes with lopt, and its commands: `from lopt.platform import eval, meta_train, tasks`.

These three packages have plain names, which modules of yours may have, too. So an installed lopt keeps them
in a folder of its own, `lopt/_platform`, and `import lopt` leaves them there. The line above puts that folder
first on `sys.path`: from then on `import meta_train` works in the whole program. It refuses where this would
hide a module of yours, and where what `pip install 'lopt[train]'` brings is missing.

A source tree has the three in its root, where the same line finds them.
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
"""Exit status of a command whose output nobody reads any more, as a shell has it: 128 + SIGPIPE."""


class PlatformError(ImportError):
    """The platform can't be imported here; the message says in one sentence why, and what to do."""


def __getattr__(name: str) -> ModuleType:
    """Import one of the three packages.

    Raises:
        PlatformError: packages are missing, or a module of yours has a name of ours.
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


def data() -> int:
    """Run `lopt-data`; return its exit status."""
    return _start("lopt-data", "tasks.data_cli")


def _start(command: str, module: str) -> int:
    try:
        _open(hiding=True)  # the program is ours: a `tasks.py` on PYTHONPATH is not meant
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
            raise  # another pipe of the program's
        # What is still buffered has nowhere to go, and Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE


def _nobody_reads(file: TextIO) -> bool:
    """Tell whether a file is a pipe whose other end is closed, as in `lopt-data list | head -1`."""
    poll = select.poll()
    poll.register(file, 0)  # errors are told unasked
    return bool(poll.poll(0))


def _open(hiding: bool = False) -> None:
    """Let the three packages be found.

    Args:
        hiding: whether they may hide others of their names.
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
    """Tell, in a sentence, of a module that has a name of ours and is imported, or would be."""
    for name in _PACKAGES:
        if name in sys.modules:
            place = getattr(sys.modules[name], "__file__", None) or "another module"
        else:
            spec = find_spec(name)
            # A mere folder has no origin. It gives way to a package, wherever it is on the path.
            place = spec.origin if spec else None
        if place and Path(place).resolve().parent != _FOLDER / name:
            return (
                f"lopt's package {name!r} can't be imported, since {place} has the same name: "
                "rename it, or use lopt's in a program of its own"
            )
    return None
