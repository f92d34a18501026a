"""The optimizers to beat: each with a stated grid of learning rates, tuned per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

from tasks import Split, Task

from .curves import Curves, stack, sweep_curves
from .metrics import mean_loss
from .rules import OptaxRule

GRID_POINTS = 15
"""Learning rates of every tuned baseline: the same budget for each."""
REFERENCE = "adam"
"""The baseline that speed-ups and seeds won are against."""


def log_grid(low: float, high: float, points: int = GRID_POINTS) -> tuple[float, ...]:
    """Return learning rates evenly spaced in their logarithm, ends included, to three digits."""
    return tuple(float(f"{rate:.3g}") for rate in np.geomspace(low, high, points))


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An optax optimizer, and the learning rates that it may choose from, task by task."""

    label: str
    """How reports call it."""
    make: Callable[..., optax.GradientTransformation]
    """A function of a module: of `learning_rate`, and of `horizon` for scheduled ones (see `OptaxRule`)."""
    rates: tuple[float, ...]
    """Ascending; a single one means that it is not tuned."""
    scheduled: bool = False


def adam(learning_rate: Any) -> optax.GradientTransformation:
    """Make Adam with b1 = 0.9, b2 = 0.999."""
    return optax.adam(learning_rate, b1=0.9, b2=0.999)


def sgd_momentum(learning_rate: Any) -> optax.GradientTransformation:
    """Make gradient descent with momentum 0.9."""
    return optax.sgd(learning_rate, momentum=0.9)


BASELINES: dict[str, Baseline] = {
    "adam": Baseline("tuned Adam", adam, log_grid(1e-4, 1)),
    "sgd-momentum": Baseline("tuned SGD-m", sgd_momentum, log_grid(1e-3, 10)),
    "adam-1e-3": Baseline("Adam 1e-3", adam, (1e-3,)),
}
"""Every baseline by its name. A new one is one line here."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A baseline with the best of its learning rates on one task."""

    rate: float
    """The learning rate chosen."""
    curves: Curves
    """Its training runs."""
    rates: tuple[float, ...]
    """What it was chosen from, ascending."""
    scores: tuple[float, ...]
    """What each rate was judged by: the mean training loss over horizon and seeds; infinite for the worst."""


def families(baselines: Mapping[str, Baseline]) -> list[dict[str, Baseline]]:
    """Group baselines that are the same optimizer at other rates: one compiled program serves each group."""
    groups: dict[Any, dict[str, Baseline]] = {}
    for name, baseline in baselines.items():
        groups.setdefault((baseline.make, baseline.scheduled), {})[name] = baseline
    return list(groups.values())


def tune(
    family: Mapping[str, Baseline],
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    split: Split = "outer_valid",
) -> dict[str, Tuned]:
    """Choose the learning rate of each baseline of a family for a task, on the very runs that are reported.

    The rate with the lowest mean training loss over the horizon, averaged over the seeds, is chosen; a rate
    that gives a loss that is not finite on any seed is the worst. Choosing on the reported runs favours the
    baseline, never the learned optimizer.

    Args:
        family: baselines with one `make`, by name; see `families`.
        task: the inner problem.
        horizon: length of the runs in inner steps.
        keys: the randomness of each run.
        split: what the held-out loss is measured on; it has no part in the choice.
    """
    first = next(iter(family.values()))
    rates = [rate for baseline in family.values() for rate in baseline.rates]
    rules = [
        # Nothing is drawn from the key.
        OptaxRule.create(jax.random.key(0), first.make, first.scheduled, learning_rate=rate)
        for rate in rates
    ]
    curves = sweep_curves(stack(rules), task, horizon, keys, split=split)
    scores = mean_loss(curves.train).mean(-1)
    tuned, start = {}, 0
    for name, baseline in family.items():
        own = scores[start : start + len(baseline.rates)]
        best = start + int(np.argmin(own))
        chosen = jax.tree.map(lambda x, best=best: x[best], curves)
        tuned[name] = Tuned(rates[best], chosen, baseline.rates, tuple(own.tolist()))
        start += len(baseline.rates)
    return tuned
