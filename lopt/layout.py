"""The roles of a tensor's axes: whether it is a matrix, a vector, an embedding or a stack of tensors.

Rules that orthogonalise need to know which axes a matrix maps to which. And because every rule measures each
tensor separately, twelve layers in one array have to be distinguished from one tensor of three axes.
`layouts` infers this from the names that flax, equinox and Hugging Face give parameters; a user can override
it with `lopt.as_optax(..., layout=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax.contrib

from .errors import UsageError
from .paths import named_leaves

_VECTORS = {"bias", "scale"}
_EMBEDDINGS = {"embedding", "embeddings", "wte", "wpe", "pos_embedding", "position_embedding"}
_TO_HEADS, _FROM_HEADS = {"query", "key", "value"}, {"out"}


class Layout(NamedTuple):
    """The roles of a tensor's axes, one per axis. Axes may count from the end (-1 is the last)."""

    inputs: tuple[int, ...] = ()
    """Axes that a matrix maps from: the rows, in `x @ W`. () for a tensor that is not a matrix."""
    outputs: tuple[int, ...] = ()
    """Axes that a matrix maps to: the columns."""
    stacked: tuple[int, ...] = ()
    """Axes along which equal tensors are stacked, as in `nn.scan`; each is treated separately."""

    def counted_from_zero(self, shape: tuple[int, ...], path: str) -> Layout:
        """Return the same layout without negative axes.

        Raises:
            UsageError: if `shape` has no such axis, or an axis has two roles, or an axis of a matrix has
                none. The message names `path`.
        """
        rank = len(shape)
        axes = [axis for field in self for axis in field]
        is_partial = bool(self.inputs or self.outputs) and len(axes) < rank
        if (
            not all(-rank <= axis < rank for axis in axes)
            or is_partial
            or len({*_mod(axes, rank)}) < len(axes)
        ):
            raise UsageError(f"{path}, of shape {shape}, can't have the layout {self}")
        return Layout(*(_mod(field, rank) for field in self))

    def of_one(self) -> Layout:
        """Return the layout of one of the stacked tensors."""
        inputs, outputs = (
            tuple(axis - sum(s < axis for s in self.stacked) for axis in axes) for axes in self[:2]
        )
        return Layout(inputs, outputs)

    def is_matrix(self, shape: tuple[int, ...]) -> bool:
        """Return whether a tensor of this layout and shape has at least two rows and two columns."""
        return min(math.prod(shape[axis] for axis in axes) for axes in (self.inputs, self.outputs)) > 1


Layouts = Any
"""A tree like the parameters, or a prefix of it; leaves: `Layout`, `MuonDimensionNumbers` of optax, None."""
LayoutOption = Layouts | Callable[[Any], Layouts]


def layouts(params: Any) -> Layouts:
    """Infer each tensor's layout from its name and shape. This is the default of every rule.

    * Scalars, vectors, tensors named `bias` or `scale`, and embeddings are not matrices.
    * A tensor of two axes is a matrix. With more, the last axis is the outputs, as in flax convolutions.
    * A `weight` of three axes or more has its outputs first, as in equinox and PyTorch.
    * As in flax's attention, a kernel under `query`, `key` or `value` maps features to heads times sizes,
      (features, heads, size), and one under `out` maps them back, (heads, size, features).
    * Any other `kernel` of three axes is a stack of matrices, as made by `nn.scan` and `nnx.vmap`, unless
      `conv` is part of a name on its path. A kernel of four axes under the attention names is a stack of
      attention kernels, and a bias or scale of two axes a stack of vectors.

    Returns:
        A tree of `Layout` like `params`: print it to see how a rule classifies your parameters.
    """
    named, treedef = named_leaves(params)
    return treedef.unflatten([layout_by_name(names, jax.numpy.shape(leaf)) for names, leaf in named])


def layout_by_name(names: Sequence[str], shape: tuple[int, ...]) -> Layout:
    """Infer one tensor's layout, as `layouts` does.

    Args:
        names: the names on the path to the tensor, its own last; may be empty.
        shape: the tensor's shape.
    """
    rank, last_two = len(shape), set(names[-2:])
    axes = tuple(range(rank))
    if names and names[-1] in _VECTORS:
        one = 2 if last_two & _TO_HEADS else 1
        return Layout(stacked=axes[:1] if rank == one + 1 else ())
    if rank < 2 or last_two & _EMBEDDINGS:
        return Layout()
    if rank in (3, 4) and last_two & (_TO_HEADS | _FROM_HEADS):
        middle = -2 if last_two & _TO_HEADS else -1
        return Layout(axes[-3:middle], axes[middle:], axes[:-3])
    if rank == 3 and names and names[-1] == "kernel" and not any("conv" in name.lower() for name in names):
        return Layout((1,), (2,), (0,))
    if rank > 2 and names and names[-1] == "weight":
        return Layout(axes[1:], axes[:1])
    return Layout(axes[:-1], axes[-1:])


def resolve(option: LayoutOption, params: Any) -> list[Layout]:
    """Return the layout of each leaf of `params`, in order, with axes counted from zero.

    Raises:
        UsageError: if the option does not match the parameters, or a layout its tensor.
    """
    named, _ = named_leaves(params)
    given = option(params) if callable(option) else option
    given = jax.tree.map(lambda one: Layout() if one is None else one, given, is_leaf=_is_layout)
    repeat = lambda one, part: jax.tree.map(lambda _: one, part)  # noqa: E731
    try:
        full = jax.tree.map(repeat, given, params, is_leaf=_is_layout)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"layout= is not a tree like the parameters, or its top: {first}") from error
    found = []
    for (names, leaf), one in zip(named, jax.tree.leaves(full, is_leaf=_is_given), strict=True):
        shape, path = jax.numpy.shape(leaf), "/".join(names)
        found.append(_as_layout(one, len(shape), path).counted_from_zero(shape, path))
    return found


def _mod(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(axis % rank for axis in axes)


def _is_layout(x: Any) -> bool:
    return x is None or _is_given(x)


def _is_given(x: Any) -> bool:
    return isinstance(x, Layout | optax.contrib.MuonDimensionNumbers)


def _as_layout(given: Any, rank: int, path: str) -> Layout:
    if isinstance(given, Layout):
        return given
    if not isinstance(given, optax.contrib.MuonDimensionNumbers):
        raise UsageError(f"layout= has {given!r} for {path}, instead of a lopt.Layout, or None for no matrix")
    inputs, outputs = (
        (axis,) if isinstance(axis, int) else tuple(axis)
        for axis in (given.reduction_axis, given.output_axis)
    )
    taken = {axis % max(rank, 1) for axis in (*inputs, *outputs)}
    return Layout(inputs, outputs, tuple(axis for axis in range(rank) if axis not in taken))
