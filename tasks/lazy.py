"""Lazy import of public names, so that `--help` need not wait for JAX.

`lopt` and `tasks`, which may not import each other, both have this file; a test keeps them equal.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's `__getattr__` and `__dir__` from the imports in its `__init__` for type checkers.

    Each name is then imported in one line, which type checkers and editors read, too:

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
        # Stored, so this function is not called for it again.
        module.__dict__[name] = value = _load(homes[name], name, package)
        return value

    return load, lambda: sorted(module.__dict__.keys() | homes.keys())


def _homes(module: Any) -> dict[str, str]:
    """Return each name under `if TYPE_CHECKING` with the module it comes from, relative to the package."""
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
    """Do what `from .home import name` does: return a module's attribute, or the submodule of that name."""
    if home:
        found = importlib.import_module(f".{home}", package)
        if name in found.__dict__:
            return found.__dict__[name]
    return importlib.import_module(f"{package}.{home}.{name}".replace("..", "."))
