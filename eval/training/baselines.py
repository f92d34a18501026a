"""The optimizers to beat: each with a stated grid of learning rates, tuned per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key
from optax import contrib

import lopt
from lopt import OptaxRule, look_up
from tasks import Split, Task

from .curve_metrics import mean_loss
from .curves import Curves, stack, sweep_curves

GRID_POINTS = 15
"""Learning rates of every tuned baseline: the same budget for each, over four decades each."""
REFERENCE = "adam"
"""The baseline that speed-ups and seeds won are against."""
STANDARD = ("adam", "sgd-momentum", "adam-1e-3")
"""The baselines of a benchmark that asks for no others."""
STRONG = (*STANDARD, "adamw-cosine", "muon")
"""These, and the two that a sceptic would ask for: a schedule, and the step that `MuonSTAR` starts from."""
WARM_UP = 0.05
"""Share of the horizon that a schedule rises for."""


def log_grid(low: float, high: float, points: int = GRID_POINTS) -> tuple[float, ...]:
    """Return `lopt.log_grid`'s learning rates, as many as every tuned baseline has."""
    return lopt.log_grid(low, high, points)


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
    measured_at: Callable[[Any, Any], Any] | None = None
    """For an optimizer whose result is not where it trains: gives the parameters that the held-out loss is
    of, from optax's state and the parameters that the training loss is of. None: they are the same."""
    version: int = 1
    """Of what `make` does: raise it with every change there, so that results that are kept are not used."""

    def rule(self, rate: float) -> OptaxRule:
        """Return the optimizer at a learning rate."""
        # Nothing is drawn from the key.
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
    """Return optax's schedule of that name from and to zero, but for a peak and a horizon that are traced.

    It is read in the middle of each inner step, so that neither the first nor the last stands still.
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
    so that one learning rate serves both: the budget of a baseline is one rate.
    """
    return contrib.muon(learning_rate, consistent_rms=0.2, muon_weight_dimension_numbers=_flattened)


def _flattened(params: Any) -> Any:
    """Take the last axis for outputs, all others for inputs, as flax lays out kernels; None for vectors."""
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
    # Untuned, at the rate that a user gets who gives none: optax's where it has one (the last two); else
    # PyTorch's; Lion's of its authors, for want of either.
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
"""Every baseline by its name. A new one is one line here. Each is as optax has it, but for what is said."""


def choose(names: Sequence[str]) -> dict[str, Baseline]:
    """Return baselines by name, in the order of `BASELINES`; the reference is always one of them.

    Args:
        names: of baselines; "standard" stands for `STANDARD`, "strong" for `STRONG`, "all" for all.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    groups = {"all": tuple(BASELINES), "standard": STANDARD, "strong": STRONG}
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
    """What it was chosen from, ascending."""
    scores: tuple[float, ...]
    """What each rate was judged by: the mean training loss over horizon and seeds; infinite for the worst."""


def families(baselines: Mapping[str, Baseline]) -> list[dict[str, Baseline]]:
    """Group baselines that are the same optimizer at other rates: one compiled program serves each group."""
    groups: dict[Any, dict[str, Baseline]] = {}
    for name, baseline in baselines.items():
        groups.setdefault(_program(baseline), {})[name] = baseline
    return list(groups.values())


def whole(family: Mapping[str, Baseline]) -> dict[str, Baseline]:
    """Add all registered baselines that are the same optimizer as a family's.

    What one program sweeps rounds alike, so that whoever is asked for, the results are the same to the bit,
    and those that were kept can be used. It adds at most one rate to the fifteen of a tuned baseline; an
    untuned one that is asked for alone takes the others along.
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
