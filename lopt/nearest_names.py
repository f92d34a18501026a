"""Look things up by name, and say which names are near when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

V = TypeVar("V")


def look_up(kind: str, table: Mapping[str, V], name: str) -> V:
    """Take what is called `name` from a table of things of a kind.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or sorted(table)
        raise ValueError(f"unknown {kind} {name!r}; did you mean {' or '.join(near)}?")
    return table[name]
