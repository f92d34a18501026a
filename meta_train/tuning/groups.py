"""Groups of tensors that have hyperparameters of their own."""

from __future__ import annotations

import jax

from tasks import Task

from .space import Scope


def group_leaves(task: Task, scopes: set[Scope]) -> dict[str, tuple[int, ...]]:
    """Group the leaves of a task's parameters, by label.

    Args:
        task: its parameters' names make the groups.
        scopes: {"tensor"} for each leaf by itself, labelled by its path; {"layer"} for all leaves whose paths
            differ in the last name only, labelled by what comes before.

    Returns:
        The numbers of each group's leaves in `jax.tree.leaves`; together all of them, each once.
    """
    key = jax.random.key(0)
    params = jax.eval_shape(lambda key: task.init(task.sample(key), key), key)
    groups: dict[str, list[int]] = {}
    for number, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        shown = path if "tensor" in scopes else path[:-1]
        label = jax.tree_util.keystr(shown, simple=True, separator=".") or "parameters"
        groups.setdefault(label, []).append(number)
    return {label: tuple(numbers) for label, numbers in groups.items()}
