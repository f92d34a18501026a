"""Lookup by name, with suggestions for unknown names, and checks of what is registered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from .errors import UsageError

V = TypeVar("V")


def look_up(kind: str, table: Mapping[str, V], name: str) -> V:
    """Return the entry called `name` of a table.

    Raises:
        UsageError: for an unknown name; the message suggests similar ones.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise UsageError(f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?")
    return table[name]


def check_name(name: object) -> None:
    """Check that a name to register is nonempty text.

    Raises:
        UsageError: if it is not, most often because `@register` was written without a name.
    """
    if not (isinstance(name, str) and name.strip()):
        raise UsageError(f"{name!r} is not a name to register: write @register('NAME')")


def check_free(kind: str, name: str, taken: Iterable[str]) -> None:
    """Check that a name in a registry of things of a kind is not taken.

    Raises:
        UsageError: if it is.
    """
    if name in taken:
        article = "an" if kind[0] in "aeiou" else "a"
        raise UsageError(f"{article} {kind} called {name!r} is registered already")


def check_class(cls: object, base: type, name: str) -> None:
    """Check that an object to register is a subclass of `base` without abstract methods.

    Raises:
        UsageError: if it is not; the message names the missing methods.
    """
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"the object registered as {name!r} is not a subclass of {base.__name__}: {cls!r}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UsageError(f"{cls.__name__}, registered as {name!r}, lacks {', '.join(missing)}")
