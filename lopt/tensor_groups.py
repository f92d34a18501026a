"""Which tensors of a tree run together, and how their leaves become one array and come apart again."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array

from .layout import Layout


class Group(NamedTuple):
    """Tensors that run together."""

    leaves: list[int]
    """Which leaves of the tree."""
    tensors: list[int]
    """Which tensors, in the order of the tree: a leaf with stacked axes holds several."""
    layout: Layout
    """Of the leaves."""
    kind: Hashable
    """Which of several functions is theirs."""

    @property
    def is_mapped(self) -> bool:
        """Whether values of this group have a leading axis, with an entry a tensor."""
        return len(self.leaves) > 1 or bool(self.layout.stacked)

    def take(self, leaves: Sequence[Array]) -> Array:
        """Bring this group's leaves into the form that a rule is mapped over."""
        if len(self.leaves) > 1:
            return jnp.stack([leaves[i] for i in self.leaves])
        leaf, axes = leaves[self.leaves[0]], self.layout.stacked
        if not axes:
            return leaf
        moved = jnp.moveaxis(leaf, axes, range(len(axes)))
        return moved.reshape(-1, *moved.shape[len(axes) :])

    def put(self, value: Array, params: Sequence[Array], into: list[Array]) -> None:
        """Write a value a tensor, each of its tensor's rank, into a list over all leaves."""
        if len(self.leaves) > 1:
            for n, i in enumerate(self.leaves):
                into[i] = value[n]
            return
        i, axes = self.leaves[0], self.layout.stacked
        if axes:
            sizes = [params[i].shape[axis] for axis in axes]
            value = jnp.moveaxis(value.reshape(*sizes, *value.shape[1:]), range(len(axes)), axes)
        into[i] = value


def grouped(
    params: Sequence[Array], layouts: Sequence[Layout], kinds: Sequence[Hashable], largest: int
) -> list[Group]:
    """Put equal tensors together.

    Args:
        params: the leaves; those without elements are in no group.
        layouts: theirs.
        kinds: theirs; tensors of two kinds are not equal.
        largest: elements of a tensor that may share a group.
    """
    members: dict[Any, list[tuple[int, range]]] = {}
    count = 0
    for i, (param, layout, kind) in enumerate(zip(params, layouts, kinds, strict=True)):
        if param.size == 0:
            continue
        tensors = math.prod(param.shape[axis] for axis in layout.stacked)
        alone = layout.stacked or param.size > largest
        key = i if alone else (param.shape, layout, kind, _placement(param))
        members.setdefault(key, []).append((i, range(count, count + tensors)))
        count += tensors
    return [
        Group([i for i, _ in group], [t for _, ts in group for t in ts], layouts[first], kinds[first])
        for group in members.values()
        for first, _ in group[:1]
    ]


def _placement(param: Array) -> Any:
    """Return what tensors must have in common besides their shapes: a stack has one placement."""
    kind = jax.typeof(param)
    placed = None if isinstance(param, Tracer) else param.sharding
    return str(getattr(kind, "sharding", None)), str(getattr(kind, "vma", None)), placed
