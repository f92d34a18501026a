"""Public names that are imported when they are first asked for, so that `--help` need not wait for JAX.

The file is in `lopt` and in `tasks`, which may not import each other; a test keeps the two alike.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package from what its `__init__` shows to type checkers.

    So each name is imported in one line, which type checkers and editors read, too:

        if TYPE_CHECKING:
            from .module import Name
        else:
            __getattr__, __dir__ = lazily(__name__)

    Args:
        package: the package's name.
    """
    module = sys.modules[package]
    homes = _homes(module)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # It stays, so that this function is not asked again.
        module.__dict__[name] = value = _load(homes[name], name, package)
        return value

    return load, lambda: sorted(module.__dict__.keys() | homes.keys())


def _homes(module: Any) -> dict[str, str]:
    """Return where each name is imported from under `if TYPE_CHECKING`, relative to the package."""
    source = module.__loader__.get_source(module.__name__)
    shown = [
        line
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for line in node.body
        if isinstance(line, ast.ImportFrom)
    ]
    return {alias.name: line.module or "" for line in shown for alias in line.names}


def _load(home: str, name: str, package: str) -> Any:
    """Do what `from .home import name` does: take what a module has, or the module of that name."""
    if home:
        found = importlib.import_module(f".{home}", package)
        if name in found.__dict__:
            return found.__dict__[name]
    return importlib.import_module(f"{package}.{home}.{name}".replace("..", "."))
