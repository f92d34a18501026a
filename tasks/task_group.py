"""A group of tasks of one shape: one is drawn for each episode, and one program serves all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from .base import AnyBatch, Instance, Params, Task
from .data.datasets import Dataset
from .data.prepared import Split
from .errors import UsageError
from .hyperparameters import Hyperparameter

_SMALL = 1024
"""Elements of an array that is copied for each episode."""


class Chosen(NamedTuple):
    """A member of a group, and of the task that it is."""

    task: Int[Array, ""]
    """Which of the group's tasks."""
    member: Instance


class TaskGroup(Task):
    """One of several tasks that differ in their data alone; make it with `group`.

    The data of all of them are on the device once, whatever the number of particles.
    """

    stacked: Task
    """A task whose arrays are those of all, along a new first axis."""
    size: int = struct.field(pytree_node=False)

    def sample(self, key: Key[Array, ""]) -> Chosen:
        """Draw one of the tasks, then a member of it."""
        which_key, key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, self.size)
        return Chosen(which, self._task(which).sample(key))

    def init(self, instance: Chosen, key: Key[Array, ""]) -> Params:
        """Draw the task's initial parameters."""
        return self._task(instance.task).init(instance.member, key)

    def batch(self, instance: Chosen, key: Key[Array, ""], split: Split) -> AnyBatch:
        """Draw a batch of the task's data."""
        return self._task(instance.task).batch(instance.member, key, split)

    def loss(
        self, instance: Chosen, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the task's loss."""
        return self._task(instance.task).loss(instance.member, params, batch, key)

    def accuracy(
        self, instance: Chosen, params: Params, batch: AnyBatch, key: Key[Array, ""]
    ) -> Float[Array, ""] | None:
        """Return the task's accuracy."""
        return self._task(instance.task).accuracy(instance.member, params, batch, key)

    @property
    def hyperparameters(self) -> Mapping[str, Hyperparameter]:
        """Those of each task."""
        return self._task(0).hyperparameters

    def tuned(self, instance: Chosen, values: Mapping[str, Float[Array, ""]]) -> Chosen:
        """Return the member that has given hyperparameters."""
        return instance._replace(member=self._task(instance.task).tuned(instance.member, values))

    @property
    def gradient_delay(self) -> int:
        """That of each task."""
        return self._task(0).gradient_delay

    @property
    def ceiling(self) -> float:
        """That of each task."""
        return self._task(0).ceiling

    def _task(self, which: Int[Array, ""] | int) -> Task:
        return jax.tree.map(lambda stack: _selected(stack, which), self.stacked)


def group(members: Sequence[Task]) -> TaskGroup:
    """Return a group of tasks: they share one program, and `sample` draws one of them.

    Args:
        members: tasks of one class with equal static fields (widths, batch sizes, ...) whose arrays have
            equal shapes, such as a task on several tables. They read large arrays by rows, `array[rows]` or
            `array.at[rows].get()`, as all tasks of this package do. Image data sets may have different names,
            means and standard deviations: the pixels of all are standardised by the means of these.

    Raises:
        UsageError: if there are none, or two of them differ in more than the numbers in their arrays.
    """
    if not members:
        raise UsageError("a group has one task or more")
    members = _standardised_alike(members)
    first = jax.tree.structure(members[0])
    for number, task in enumerate(members):
        if jax.tree.structure(task) != first:
            raise UsageError(f"task {number} of the group differs from task 0 in its class or a static field")
        for (path, leaf), other in zip(
            jax.tree_util.tree_leaves_with_path(members[0]), jax.tree.leaves(task), strict=True
        ):
            if (leaf.shape, leaf.dtype) != (other.shape, other.dtype):
                name = jax.tree_util.keystr(path)
                raise UsageError(f"task {number} of the group has {name} of {other.shape}, not {leaf.shape}")
    return TaskGroup(jax.tree.map(lambda *leaves: jnp.stack(leaves), *members), len(members))


def _standardised_alike(members: Sequence[Task]) -> list[Task]:
    """Give data sets at the same place in all tasks the same static fields."""
    flat = [jax.tree.flatten(task, is_leaf=_is_dataset) for task in members]
    if len({len(leaves) for leaves, _ in flat}) > 1:
        return list(members)  # which are refused

    def alike(nodes: tuple[Any, ...]) -> list[Any]:
        if not all(map(_is_dataset, nodes)):
            return list(nodes)
        moments = {name: statistics.fmean(getattr(node, name) for node in nodes) for name in ("mean", "std")}
        return [node.replace(name="group", **moments) for node in nodes]

    rows = zip(*(alike(nodes) for nodes in zip(*(leaves for leaves, _ in flat), strict=True)), strict=True)
    leaves = list(rows) or [()] * len(members)
    return [tree.unflatten(own) for own, (_, tree) in zip(leaves, flat, strict=True)]


def _is_dataset(node: Any) -> bool:
    return isinstance(node, Dataset)


def _selected(stack: Array, which: Int[Array, ""] | int) -> Any:
    return stack[which] if stack.size <= _SMALL * stack.shape[0] else _Selected(stack, which)


class _Selected:
    """One array of a stack, which is read row by row.

    `stack[which][rows]` would copy the whole array for each particle: this reads the rows where they are.
    Other indices make that copy.
    """

    def __init__(self, stack: Array, which: Int[Array, ""] | int) -> None:
        self._stack, self._which = stack, which
        self.shape, self.dtype = stack.shape[1:], stack.dtype
        self.ndim, self.size = stack.ndim - 1, math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def at(self) -> _At:
        return _At(self)

    def __getitem__(self, rows: Any) -> Array:
        return self.at[rows].get()

    def reshape(self, *shape: Any) -> Any:
        """Return a view, if the rows stay rows."""
        shape = tuple(shape[0]) if isinstance(shape[0], Sequence) else shape
        known = math.prod(n for n in shape if n != -1)
        shape = tuple(self.size // known if n == -1 else n for n in shape)
        if shape[:1] != self.shape[:1]:
            return jnp.reshape(self.whole(), shape)
        return _Selected(self._stack.reshape(len(self._stack), *shape), self._which)

    def whole(self) -> Array:
        """Return a copy of all rows."""
        return self._stack[self._which]

    def rows(self, rows: Int[Array, "..."], **options: Any) -> Array:
        """Return some rows, by their numbers."""
        stack = self._stack.reshape(-1, *self.shape[1:])
        return stack.at[self._which * len(self) + rows].get(**options)


class _At:
    """`array.at[rows].get(...)`."""

    def __init__(self, array: _Selected, rows: Any = None) -> None:
        self._array, self._rows = array, rows

    def __getitem__(self, rows: Any) -> _At:
        return _At(self._array, rows)

    def get(self, **options: Any) -> Array:
        if isinstance(self._rows, (Array, np.ndarray)) and jnp.issubdtype(self._rows.dtype, jnp.integer):
            return self._array.rows(jnp.asarray(self._rows), **options)
        return self._array.whole().at[self._rows].get(**options)
