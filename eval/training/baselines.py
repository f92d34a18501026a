"""The baselines: optimizers with a fixed grid of learning rates, tuned per task."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key
from optax import contrib

import lopt
from lopt import OptaxRule, UsageError, check_free, check_name, look_up
from tasks import Split, Task

from .curve_metrics import mean_loss
from .curves import Curves, stack, sweep_curves

GRID_POINTS = 15
"""Number of learning rates of every tuned baseline, over four decades: the same budget for each."""
REFERENCE = "adam"
"""The baseline that speed-ups and seeds won refer to."""
STANDARD = ("adam", "sgd-momentum", "adam-1e-3")
"""The default baselines of a benchmark."""
STRONG = (*STANDARD, "adamw-cosine", "muon", "schedule-free-adamw")
"""The standard ones, one with a schedule, Muon, whose step `MuonSTAR` and `PacedMuon` start from, and one
that needs no schedule and is the fastest of all tuned ones on 21 tasks (checkpoints/README.md)."""
WARM_UP = 0.05
"""Warm-up of schedules, as a share of the horizon."""


def log_grid(low: float, high: float, points: int = GRID_POINTS) -> tuple[float, ...]:
    """Return `lopt.log_grid`'s learning rates, by default `GRID_POINTS` of them."""
    return lopt.log_grid(low, high, points)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An optax optimizer, and the learning rates among which one is chosen per task."""

    label: str
    """Its name in reports."""
    make: Callable[..., optax.GradientTransformation]
    """A module-level function of `learning_rate`, and for scheduled ones of `horizon` (see `OptaxRule`)."""
    rates: tuple[float, ...]
    """Learning rates in ascending order; a single one means that it is not tuned."""
    scheduled: bool = False
    measured_at: Callable[[Any, Any], Any] | None = None
    """For an optimizer whose result is not the trained parameters: returns the parameters for the held-out
    loss, from optax's state and the trained parameters. None: they are the same."""
    version: int = 1
    """Version of `make`: increment it with every change of `make`, so that cached results are not reused."""

    def rule(self, rate: float) -> OptaxRule:
        """Return the optimizer at a learning rate."""
        # The key is not used.
        return OptaxRule.create(
            *(jax.random.key(0), self.make, self.scheduled, self.measured_at), learning_rate=rate
        )


def adam(learning_rate: Any) -> optax.GradientTransformation:
    """Make Adam with b1 = 0.9, b2 = 0.999."""
    return optax.adam(learning_rate, b1=0.9, b2=0.999)


def sgd_momentum(learning_rate: Any) -> optax.GradientTransformation:
    """Make gradient descent with momentum 0.9."""
    return optax.sgd(learning_rate, momentum=0.9)


def adamw_cosine(learning_rate: Any, horizon: Any) -> optax.GradientTransformation:
    """Make AdamW (decay 1e-4) with a linear warm-up to `learning_rate` and a cosine to zero."""
    return optax.adamw(warmup_cosine(learning_rate, horizon))


def warmup_cosine(peak: Any, horizon: Any) -> optax.Schedule:
    """Return optax's schedule of that name, from and to zero, for a traced peak and horizon.

    It is evaluated in the middle of each inner step, so that neither the first nor the last step is zero.
    """
    horizon = jnp.asarray(horizon, jnp.float32)
    rise = WARM_UP * horizon

    def schedule(count: Any) -> Any:
        step = jnp.asarray(count, jnp.float32) + 0.5
        fall = jnp.cos(jnp.pi * jnp.clip((step - rise) / (horizon - rise), 0, 1))
        return peak * jnp.where(step < rise, step / rise, (1 + fall) / 2)

    return schedule


def muon(learning_rate: Any) -> optax.GradientTransformation:
    """Make Muon for matrices and convolution kernels, with AdamW (Nesterov's, no decay) for the rest.

    Updates of matrices are scaled to the root mean square of AdamW's, as in https://arxiv.org/abs/2502.16982,
    so that the same learning rate works for both: a baseline has one rate to tune.
    """
    return contrib.muon(learning_rate, consistent_rms=0.2, muon_weight_dimension_numbers=_flattened)


def _flattened(params: Any) -> Any:
    """Declare the last axis as outputs and all others as inputs, as in flax; None for vectors."""
    numbers = lambda p: contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)  # noqa: E731
    return jax.tree.map(lambda p: numbers(p) if p.ndim >= 2 else None, params)


def _schedule_free(label: str, rates: tuple[float, ...]) -> Baseline:
    at_average = contrib.schedule_free_eval_params
    return Baseline(label, contrib.schedule_free_adamw, rates, measured_at=at_average)


BASELINES: dict[str, Baseline] = {
    "adam": Baseline("tuned Adam", adam, log_grid(*lopt.ADAM_RATES)),
    "sgd-momentum": Baseline("tuned SGD-m", sgd_momentum, log_grid(1e-3, 10)),
    "adam-1e-3": Baseline("Adam 1e-3", adam, (1e-3,)),
    "sgd": Baseline("tuned SGD", optax.sgd, log_grid(1e-3, 10)),
    "adamw-cosine": Baseline("tuned AdamW-cosine", adamw_cosine, log_grid(1e-4, 1), scheduled=True),
    "nadamw": Baseline("tuned NAdamW", optax.nadamw, log_grid(1e-4, 1)),
    "lion": Baseline("tuned Lion", optax.lion, log_grid(3e-5, 0.3)),
    "adafactor": Baseline("tuned Adafactor", optax.adafactor, log_grid(1e-3, 10)),
    "muon": Baseline("tuned Muon", muon, log_grid(1e-4, 1)),
    "schedule-free-adamw": _schedule_free("tuned Schedule-Free AdamW", log_grid(1e-4, 1)),
    "prodigy": Baseline("tuned Prodigy", contrib.prodigy, log_grid(0.01, 100)),
    # Untuned, at the default rate: optax's if it has one (the last two), otherwise PyTorch's, and for Lion,
    # which has neither, its authors'.
    "sgd-default": Baseline("SGD 1e-3", optax.sgd, (1e-3,)),
    "sgd-momentum-default": Baseline("SGD-m 1e-3", sgd_momentum, (1e-3,)),
    "adamw-cosine-default": Baseline("AdamW-cosine 1e-3", adamw_cosine, (1e-3,), scheduled=True),
    "nadamw-default": Baseline("NAdamW 2e-3", optax.nadamw, (2e-3,)),
    "lion-default": Baseline("Lion 1e-4", optax.lion, (1e-4,)),
    "adafactor-default": Baseline("Adafactor 1e-2", optax.adafactor, (1e-2,)),
    "muon-default": Baseline("Muon 1e-3", muon, (1e-3,)),
    "schedule-free-adamw-default": _schedule_free("Schedule-Free AdamW 2.5e-3", (2.5e-3,)),
    "prodigy-default": Baseline("Prodigy 1", contrib.prodigy, (1.0,)),
}
"""All baselines by name. A new one is one line here. Each is optax's with its defaults, unless noted."""


_GROUPS = {"standard": STANDARD, "strong": STRONG}
"""Names of groups, besides "all"."""


def register_baseline(name: str, baseline: Baseline) -> None:
    """Register a baseline under a name for `lopt-eval --baselines`.

    Raises:
        UsageError: if the name is taken or not text, it is not a `Baseline`, or its rates are not ascending
            positive numbers.
    """
    check_name(name)
    if not isinstance(baseline, Baseline):
        raise UsageError(f"the object registered as {name!r} is not a Baseline: {baseline!r}")
    check_free("baseline", name, (*BASELINES, *_GROUPS, "all"))
    rates = baseline.rates
    ascending = all(low < high for low, high in itertools.pairwise(rates))
    if not (rates and ascending and all(math.isfinite(rate) and rate > 0 for rate in rates)):
        raise UsageError(f"the rates of baseline {name!r} must be ascending positive numbers, not {rates}")
    BASELINES[name] = baseline


def choose(names: Sequence[str]) -> dict[str, Baseline]:
    """Return baselines by name, in the order of `BASELINES`; the reference is always one of them.

    Args:
        names: names of baselines; "standard" stands for `STANDARD`, "strong" for `STRONG`, "all" for all.

    Raises:
        ValueError: for an unknown name, with similar ones.
    """
    groups = {"all": tuple(BASELINES)} | _GROUPS
    chosen = {REFERENCE}
    for name in names:
        chosen.update(look_up("baseline", groups | {one: (one,) for one in BASELINES}, name))
    return {name: baseline for name, baseline in BASELINES.items() if name in chosen}


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A baseline with the best of its learning rates on one task."""

    rate: float
    """The learning rate chosen."""
    curves: Curves
    """Its training runs."""
    rates: tuple[float, ...]
    """The grid, ascending."""
    scores: tuple[float, ...]
    """The mean training loss over horizon and seeds of each rate; infinite for the worst."""


def families(baselines: Mapping[str, Baseline]) -> list[dict[str, Baseline]]:
    """Group baselines that are the same optimizer with different rates, which share a compiled program."""
    groups: dict[Any, dict[str, Baseline]] = {}
    for name, baseline in baselines.items():
        groups.setdefault(_program(baseline), {})[name] = baseline
    return list(groups.values())


def whole(family: Mapping[str, Baseline]) -> dict[str, Baseline]:
    """Add all registered baselines that are the same optimizer as a family's.

    One program sweeps all of them with the same rounding, so results are bitwise the same for any choice of
    baselines, and cached ones can be reused. This adds at most one rate to the fifteen of a tuned baseline;
    requesting only an untuned one also runs the others.
    """
    program = _program(next(iter(family.values())))
    return {name: one for name, one in BASELINES.items() if _program(one) == program} | dict(family)


def _program(baseline: Baseline) -> tuple[Any, ...]:
    return baseline.make, baseline.scheduled, baseline.measured_at


def tune(
    family: Mapping[str, Baseline],
    task: Task,
    horizon: int,
    keys: Key[Array, " seeds"],
    *,
    split: Split = "outer_valid",
) -> dict[str, Tuned]:
    """Choose the learning rate of each baseline of a family for a task, on the runs that are reported.

    The rate with the lowest mean training loss over the horizon, averaged over the seeds, is chosen; a rate
    with a non-finite loss on any seed is the worst. Choosing on the reported runs favours the baseline, never
    the learned optimizer.

    Args:
        family: baselines with one `make`, by name; see `families`.
        task: the inner problem.
        horizon: length of the runs in inner steps.
        keys: the PRNG key of each run.
        split: the split of the held-out loss, which does not affect the choice.
    """
    first = next(iter(family.values()))
    rates = [rate for baseline in family.values() for rate in baseline.rates]
    rules = stack([first.rule(rate) for rate in rates])
    curves = sweep_curves(rules, task, horizon, keys, split=split)
    scores = mean_loss(curves.train).mean(-1)
    tuned, start = {}, 0
    for name, baseline in family.items():
        own = scores[start : start + len(baseline.rates)]
        best = start + lopt.lowest(own)
        chosen = jax.tree.map(lambda x, best=best: x[best], curves)
        tuned[name] = Tuned(rates[best], chosen, baseline.rates, tuple(own.tolist()))
        start += len(baseline.rates)
    return tuned
