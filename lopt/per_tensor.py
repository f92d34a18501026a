"""Splits a parameter tree into tensors: rules treat each separately, and run equal tensors together.

A program that contains the rule once per tensor takes minutes to compile for 150 tensors. So tensors of the
same shape are stacked, and the rule is mapped over the stack. Large tensors are not stacked, because copying
them costs more than stacking saves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import Params, Updates
from .layout import Layout, LayoutOption, resolve
from .leaves import check_gradients, check_parameters, unbox_other_shapes
from .paths import named_leaves
from .placement import zeros_like
from .tensor_groups import grouped

Tensor = Float[Array, "..."]

_LARGEST_GRADIENT = 1e15
"""Its square summed over any tensor is a finite float32: an infinite average would never recover."""
_LARGEST_IN_A_STACK = 2**17
"""Largest number of elements of a tensor that is copied into a stack."""

Grouped = list[Any]
"""Values of tensors as a list over groups, with a leading axis where a group is mapped."""
ByKind = Callable[..., Any] | Mapping[Any, Callable[..., Any]]
"""A function, or one for each kind of tensor."""


class Tensors:
    """A parameter tree, split into groups of equal tensors. Empty tensors are in no group."""

    def __init__(
        self,
        params: Params,
        layout: LayoutOption,
        grads: Updates | None = None,
        stack: bool = True,
        kind: Callable[[tuple[str, ...], Layout, tuple[int, ...]], Hashable] | None = None,
    ) -> None:
        """Split a tree.

        Args:
            params: real floating-point arrays of any rank.
            layout: the roles of their axes.
            grads: like `params`; omitted when a state is initialised.
            stack: whether to run equal tensors together. It pays for rules of more than fifty operations.
            kind: maps the names on the way to a leaf, its layout and its shape to its kind, where not all are
                treated alike; what is applied is then a function for each kind.

        Raises:
            ValueError: if a leaf is not a real floating-point array, or has a gradient of another shape.
            TypeError: if a leaf is not an array. Both name the leaf.
        """
        self._tree, (self._params, self._treedef) = params, check_parameters(params)
        self._layouts = resolve(layout, params)
        if grads is not None:
            self._grads, self._grads_treedef = check_gradients(grads, params)
        self._kinds: list[Hashable] = [None] * len(self._params)
        if kind is not None:
            names = [names for names, _ in named_leaves(params)[0]]
            shapes = [leaf.shape for leaf in self._params]
            self._kinds = list(map(kind, names, self._layouts, shapes))
        largest = _LARGEST_IN_A_STACK if stack else 0
        self.groups = grouped(self._params, self._layouts, self._kinds, largest)

    def __len__(self) -> int:
        return sum(len(group.tensors) for group in self.groups)

    @property
    def sizes(self) -> Float[np.ndarray, " tensors"]:
        """The number of elements of every tensor, in the order of the tree."""
        sizes = np.zeros(len(self), np.float32)
        for group in self.groups:
            elements = sum(self._params[i].size for i in group.leaves)
            sizes[group.tensors] = elements // len(group.tensors)
        return sizes

    @property
    def fan_ins(self) -> Float[np.ndarray, " tensors"]:
        """The number of inputs of every matrix, in the order of the tree; 1 for what is no matrix."""
        fans = np.ones(len(self), np.float32)
        for group in self.groups:
            shape = self._params[group.leaves[0]].shape
            kept = tuple(n for axis, n in enumerate(shape) if axis not in group.layout.stacked)
            fans[group.tensors] = group.layout.of_one().fan_in(kept)
        return fans

    @property
    def zeros(self) -> Float[Array, "tensors 1"]:
        """A zero a tensor, where the tensors are: a state made from it lies there, too."""
        return self.gather(self.map(lambda _, param: jnp.sum(zeros_like(param)), self.params), 1)

    @property
    def params(self) -> Grouped:
        """The value of every tensor, in float32."""
        return self._take(self._params)

    @property
    def grads(self) -> Grouped:
        """The gradient of every tensor, in float32 and clipped to 1e15 in magnitude."""
        return [jnp.clip(g, -_LARGEST_GRADIENT, _LARGEST_GRADIENT) for g in self._take(self._grads)]

    def states(self, trees: Any, example: Any) -> Grouped:
        """Return the entries of each tensor in a structure of trees.

        Args:
            trees: a structure whose leaves are trees like the parameters.
            example: the same structure, with any leaf in place of each tree.
        """
        outer = jax.tree.structure(example)
        leaves = [jax.tree.leaves(tree) for tree in outer.flatten_up_to(trees)]
        return [outer.unflatten([group.take(each) for each in leaves]) for group in self.groups]

    def map(self, function: ByKind, *values: Grouped) -> Grouped:
        """Apply a function of a tensor's layout and its values to every tensor."""
        results = []
        for n, group in enumerate(self.groups):
            one = functools.partial(_of_kind(function, group.kind), group.layout.of_one())
            args = [value[n] for value in values]
            results.append(_map_over_stack(one, args) if group.is_mapped else one(*args))
        return results

    def gather(self, summaries: Grouped, width: int) -> Float[Array, "tensors width"]:
        """Collect `width` numbers per tensor in one array, in the order of the tree; [0, width] if empty."""
        if not self.groups:
            return jnp.zeros((0, width), jnp.float32)
        rows = jnp.concatenate([jnp.reshape(summary, (-1, width)) for summary in summaries])
        order = [tensor for group in self.groups for tensor in group.tensors]
        return rows if order == sorted(order) else rows[np.argsort(order)]

    def spread(self, array: Float[Array, "tensors ..."]) -> Grouped:
        """Distribute an array over tensors, in the order of the tree, to the tensors."""
        return [array[np.array(g.tensors)] if g.is_mapped else array[g.tensors[0]] for g in self.groups]

    def start(self, function: ByKind, example: Any) -> Any:
        """Create a new state of trees from each leaf and its layout.

        Args:
            function: maps a leaf and its layout to a structure like `example`. It is applied to whole leaves,
                including stacked ones, so that its results are placed on devices like the leaves.
            example: the structure, with any leaf in place of each tree.
        """
        leaves = zip(self._params, self._layouts, self._kinds, strict=True)
        parts = [_of_kind(function, kind)(leaf, layout) for leaf, layout, kind in leaves]
        outer = jax.tree.structure(example)
        columns = zip(*(outer.flatten_up_to(part) for part in parts), strict=True) if parts else ()
        trees = [self._treedef.unflatten(column) for column in columns or [()] * outer.num_leaves]
        return outer.unflatten([unbox_other_shapes(tree, self._tree) for tree in trees])

    def states_back(self, results: Grouped, before: Any, example: Any) -> Any:
        """Return new states as trees like those of `before`: the inverse of `states`."""
        outer = jax.tree.structure(example)
        columns = [outer.flatten_up_to(result) for result in results]
        trees = []
        for n, tree in enumerate(outer.flatten_up_to(before)):
            leaves, treedef = jax.tree.flatten(tree)
            trees.append(treedef.unflatten(self._put([column[n] for column in columns], leaves)))
        return outer.unflatten(trees)

    def updates(self, results: Grouped) -> Updates:
        """Return results as a tree like the gradients, in the parameters' dtypes."""
        leaves = self._put(results, [jnp.zeros_like(p) if p.size == 0 else p for p in self._params])
        cast = [u.astype(p.dtype) for u, p in zip(leaves, self._params, strict=True)]
        return self._grads_treedef.unflatten(cast)

    def apply(self, rule: ByKind, before: Any, example: Any, *values: Grouped) -> tuple[Updates, Any]:
        """Apply a rule to every tensor: a complete update, for rules that need nothing else.

        Args:
            rule: maps (layout, gradient, parameter, state, *values) of a tensor to (update, new state).
            before: the trees of the state, as for `states`.
            example: as for `states`.
            *values: further values of the tensors.

        Returns:
            The updates in the parameters' dtypes, and the new trees.
        """
        results = self.map(rule, self.grads, self.params, self.states(before, example), *values)
        updates, states = ([result[n] for result in results] for n in range(2))
        return self.updates(updates), self.states_back(states, before, example)

    def _take(self, leaves: Sequence[Array]) -> Grouped:
        leaves = [leaf.astype(jnp.float32) for leaf in leaves]
        return [group.take(leaves) for group in self.groups]

    def _put(self, results: Grouped, leaves: list[Array]) -> list[Array]:
        for group, result in zip(self.groups, results, strict=True):
            group.put(result, self._params, leaves)
        return leaves


def _of_kind(function: ByKind, kind: Hashable) -> Callable[..., Any]:
    return function[kind] if isinstance(function, Mapping) else function


def _map_over_stack(function: Callable[..., Any], args: list[Any]) -> Any:
    """Apply a function to each entry of stacked values.

    On a CPU this is a loop, which takes half as long to compile as a program over the stack, needs the memory
    of one tensor, and is as fast. Elsewhere it is a vmap, because each step of a loop has to be launched.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda entries: function(*entries), args)
    return jax.vmap(function)(*args)


def overall_mean_square(
    mean_squares: Float[Array, " tensors"], sizes: Float[np.ndarray, " tensors"]
) -> Float[Array, ""]:
    """Return the mean square over all parameters, or 1 if all are zero or there are none.

    Args:
        mean_squares: the mean square of each tensor.
        sizes: the number of elements of each tensor.
    """
    overall = jnp.sum(mean_squares * sizes) / max(sizes.sum(), np.float32(1))
    return jnp.where(overall > 0, overall, 1.0)
