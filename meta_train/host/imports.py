"""`--import`: run a user's own file, so that lopt's commands know the names that it registers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from lopt import UsageError, plain

from .stopping import nothing_to_save


def import_all(names: Sequence[str]) -> None:
    """Import Python files and installed modules, in order, each once.

    A file is imported under its own name, with its folder appended to `sys.path`, so it can import the files
    beside it, and later imports of it find the same classes.

    Args:
        names: paths that end in .py, or dotted names.

    Raises:
        UsageError: in one sentence, for a missing file, one that raises or ends the program, ctrl-C, or a
            file with the name of another module.
    """
    for name in names:
        path = Path(name).resolve() if name.endswith(".py") else None
        if path is not None and not path.is_file():
            raise UsageError(f"--import {name}: there is no such file")
        if path is not None and str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        try:
            with nothing_to_save():
                module = importlib.import_module(path.stem if path else name)
        except KeyboardInterrupt as error:
            raise UsageError(f"--import {name}: stopped while it was imported") from error
        except BaseException as error:  # a file may end the program, too
            raise UsageError(plain(f"--import {name}: {_told(error, path)}", 1000)) from error
        found = getattr(module, "__file__", None)
        if path is not None and (found is None or Path(found).resolve() != path):
            raise UsageError(f"--import {name}: another module is called {path.stem!r}: rename the file")


def _told(error: BaseException, path: Path | None) -> str:
    """Return the error's type and message, and its line in the file."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if path is not None and trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    said = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{said}" + (f" (line {line})" if line else "")
