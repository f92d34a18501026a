"""The leaves of a parameter tree with their names."""

from __future__ import annotations

from typing import Any

import jax


def named_leaves(tree: Any) -> tuple[list[tuple[tuple[str, ...], Any]], Any]:
    """Return a list of (names on the path, leaf), and the tree's structure.

    Names are keys, attributes and positions; the box that a framework puts around an array adds no name.
    """
    flat, treedef = jax.tree.flatten_with_path(tree)
    return [(tuple(_names(path)), leaf) for path, leaf in flat], treedef


def _names(path: tuple[Any, ...]) -> list[str]:
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    return names[:-1] if len(names) > 1 and names[-1] in ("value", ".value") else names
