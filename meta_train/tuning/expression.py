"""Tuned hyperparameters as Python: the optimizer to paste."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES

if TYPE_CHECKING:
    from ..problems.hyperparameters import HyperparameterTuning


def expression(problem: HyperparameterTuning, values: Mapping[str, float], horizon: object) -> str:
    """Return Python that makes the tuned optimizer, with `optax` and, for some schedules, `jnp`.

    Args:
        problem: what was tuned.
        values: by name, NAME@GROUP where a group of tensors has its own.
        horizon: least and most inner steps of the run; a schedule lasts for the most.
    """
    groups = list(problem.groups)
    steps = horizon[-1] if isinstance(horizon, list | tuple) else 1
    made = {group: _one(problem, _of_group(problem, values, group), steps) for group in groups}
    if groups == [""]:
        rule = made[""]
    else:
        chosen = ", ".join(f"{group!r}: {one}" for group, one in made.items())
        rule = f"optax.partition({{{chosen}}}, {_labels(problem)})"
    before = []
    everything = dict(problem.fixed) | dict(values)
    if "gradient_noise" in everything:
        # optax's noise has a variance of eta / (1 + t) ** gamma.
        before.append(f"optax.add_noise({everything['gradient_noise'] ** 2!r}, 0.0, 0)")
    if "clip" in everything:
        before.append(f"optax.clip_by_global_norm({everything['clip']!r})")
    if "l2" in everything:
        before.insert(0, f"optax.add_decayed_weights({everything['l2']!r})")
    return f"optax.chain({', '.join([*before, rule])})" if before else rule


def _of_group(problem: HyperparameterTuning, values: Mapping[str, float], group: str) -> dict[str, float]:
    own = dict(problem.fixed)
    for label, value in values.items():
        name, at, of = label.partition("@")
        if not at or of == group:
            own[name] = value
    return own


def _one(problem: HyperparameterTuning, values: Mapping[str, float], steps: int) -> str:
    optimizer, schedule = OPTIMIZERS[problem.optimizer], SCHEDULES[problem.schedule]
    numbers = {name: repr(float(value)) for name, value in (optimizer.defaults | dict(values)).items()}
    if problem.schedule != "constant" and "learning_rate" in optimizer.hyperparameters:
        numbers["learning_rate"] = schedule.expression.format(horizon=steps, **numbers)
    return optimizer.expression.format(**numbers)


def _labels(problem: HyperparameterTuning) -> str:
    """Return Python for a function that labels parameters by their groups."""
    cut = "path" if any(one.scope == "tensor" for one in problem.space.tuned) else "path[:-1]"
    return (
        "lambda params: jax.tree_util.tree_map_with_path(lambda path, _: "
        f"jax.tree_util.keystr({cut}, simple=True, separator='.') or 'parameters', params)"
    )
