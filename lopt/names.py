"""Things by name: look them up, with the near names where there is none, and check what is registered."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from .errors import UsageError

V = TypeVar("V")


def look_up(kind: str, table: Mapping[str, V], name: str) -> V:
    """Take what is called `name` from a table of things of a kind.

    Raises:
        UsageError: for an unknown name, with the nearest ones.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise UsageError(f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?")
    return table[name]


def check_name(name: object) -> None:
    """Check that what is to be a name in a registry is text.

    Raises:
        UsageError: when it is not: most often `@register` was written without a name.
    """
    if not (isinstance(name, str) and name.strip()):
        raise UsageError(f"{name!r} is no name to register: write @register('NAME')")


def check_class(cls: object, base: type, name: str) -> None:
    """Check that what is registered under a name is a class with all methods that its base asks for.

    Raises:
        UsageError: when it is not, with what is missing.
    """
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"what is registered as {name!r} is no {base.__name__}: {cls!r}")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UsageError(f"{cls.__name__}, registered as {name!r}, lacks {', '.join(missing)}")
