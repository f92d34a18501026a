"""Tuning of a learning-rate schedule: which estimators end in the good region of the loss surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import tasks
from meta_train import (
    NRES,
    PES,
    ConstantHorizon,
    Dynamics,
    Estimator,
    HyperparameterTuning,
    MeanLoss,
    TruncatedBPTT,
    TruncatedES,
    run_episode,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure
from .training import Curve, meta_train_each
from .tuned_images import find_images

STEPS, WINDOW, BATCH, SIGMA = 500, 10, 16, 0.1
PARTICLES, META_STEPS, POINTS, RATE = 8, 1000, 25, 0.03
EPISODES, KNOTS = 2, (17, 17)
TASK = "schedule-mlp"
STARTS = ((-2.52, 1.48), (-2.5, 0.5), (-1.5, 1.5), (-1.0, 1.2), (-0.5, 1.5), (-0.5, 0.0))
"""Base-10 logarithms of the first rate and of the decay; the first is that of the paper."""
LIMIT = 1.15
"""What bounds the good region, in units of the least loss on the grid."""
RATES, DECAYS = (-3.0, 0.0), (-1.5, 2.0)
PAPER = "Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835)"


class Surface(NamedTuple):
    """The objective over base-10 logarithms of both numbers."""

    rates: np.ndarray
    decays: np.ndarray
    losses: np.ndarray
    """[rates, decays]"""


@tasks.register(TASK)
def schedule_mlp() -> tasks.ImageMLP:
    """Return one hidden layer of 32 units, with small batches: MNIST, Fashion-MNIST or digits."""
    return tasks.ImageMLP(find_images("mnist", "fashion_mnist"), batch_sizes=(BATCH, BATCH))


def problem() -> HyperparameterTuning:
    """Return what is tuned."""
    return HyperparameterTuning(
        (TASK,),
        tune=("learning_rate", "decay"),
        schedule="inverse-time",
        set=("momentum=0.9",),
        measured_on="train",
    )


def _make(kind: type[Estimator], **options: Any) -> Estimator:
    return kind(horizon=ConstantHorizon(STEPS), window=WINDOW, objective=MeanLoss(), **options)


METHODS: dict[str, Estimator] = {
    "TBPTT": _make(TruncatedBPTT),
    "truncated ES": _make(TruncatedES, sigma=SIGMA),
    "PES": _make(PES, sigma=SIGMA),
    "NRES": _make(NRES, sigma=SIGMA),
}
ALLOWED = {"TBPTT": (0, 0), "truncated ES": (0, 1), "PES": (6, 6), "NRES": (6, 6)}
"""How many of the six starts may end in the good region."""


@experiment("tuned-schedule")
def tuned_schedule(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Tune rate and decay of an inverse-time schedule from six starts, over the surface of the objective.

    Setting: an MLP with 32 hidden units on digits (MNIST or Fashion-MNIST where they are prepared), batch 16,
    500 steps of SGD with momentum 0.9, rate / (1 + t / 500)^decay, the mean training loss after each step on
    another batch; windows of 10, staggered, 8 pairs, sigma 0.1, the outer Adam from 0.03 down to 0 by a
    cosine, 1000 meta-steps (160,000 inner steps for each start). The published experiment has 89,610
    parameters, 5000 steps and 500 pairs.

    Shows: in a window of 10 steps, a lower rate makes the noise of the updates smaller, and what it costs
        later is not seen. So truncated backpropagation raises the decay and the first rate until most of a
        training has hardly any rate left, from each start. Truncated ES goes the same way, more slowly, as it
        is noisier: from five of the six starts it ends outside the region of losses up to 1.15 times the
        least. PES and NRES end inside from each.

    Time on 2 cores: 4 minutes; quick: 60 seconds.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835); Wu, Ren, Liao, Grosse 2018, Understanding
        short-horizon bias in stochastic meta-optimization (arXiv 1803.02021).
    """
    curves = {}
    for name in METHODS:
        if not quick or name in ("truncated ES", "PES"):
            curves[name] = measure(name, quick)
            tell(f"{name}: {_range(curves[name].values[:, -1])}")
    return outcome(curves, surface(quick), quick)


def measure(name: str, quick: bool) -> Curve:
    """Tune from every start by one estimator."""
    starts = np.log(10) * np.asarray(STARTS[:2] if quick else STARTS)
    meta_steps = META_STEPS // 10 if quick else META_STEPS
    with jax.enable_x64(False):
        dynamics = problem().members()[TASK].dynamics
        rates, decays = jnp.asarray(starts.T, jnp.float32)
        return meta_train_each(
            dynamics,
            METHODS[name],
            optax.adam(optax.cosine_decay_schedule(RATE, meta_steps)),
            {"learning_rate": rates, "decay": decays},
            jax.random.split(jax.random.key(1), len(starts)),
            particles=PARTICLES,
            meta_steps=meta_steps,
            every=meta_steps // POINTS,
            evaluate=lambda theta: objective(dynamics, theta["learning_rate"], theta["decay"]),
        )


def objective(dynamics: Dynamics, rate: Float[Array, ""], decay: Float[Array, ""]) -> Float[Array, ""]:
    """Return the mean loss of fixed episodes for logarithms of both numbers."""
    theta = {"learning_rate": rate, "decay": decay}

    def episode(key: Array) -> Array:
        return run_episode(dynamics, MeanLoss(), theta, STEPS, key)[0].objective

    return jnp.mean(jax.vmap(episode)(jax.random.split(jax.random.key(7), EPISODES)))


def surface(quick: bool) -> Surface:
    """Return the objective on a grid."""
    rates, decays = (
        np.linspace(*ends, 7 if quick else n) for ends, n in zip((RATES, DECAYS), KNOTS, strict=True)
    )
    with jax.enable_x64(False):
        dynamics = problem().members()[TASK].dynamics
        row = jax.vmap(objective, in_axes=(None, None, 0))
        grid = jax.jit(lambda dynamics, x, y: jax.lax.map(lambda rate: row(dynamics, rate, y), x))
        x, y = (jnp.asarray(np.log(10) * axis, jnp.float32) for axis in (rates, decays))
        return Surface(rates, decays, np.asarray(grid(dynamics, x, y)))


def outcome(curves: dict[str, Curve], around: Surface, quick: bool) -> Outcome:
    """Return the table, the checks and the figure of what was measured."""
    last = {name: settled(curve) for name, curve in curves.items()}
    least = float(around.losses.min())
    rows = [
        [
            name,
            _range(last[name]),
            _range(last[name] / least),
            *(_range(axis) for axis in _ends(curves[name]).T),
        ]
        for name in curves
    ]
    return Outcome(
        settings={
            "T": STEPS,
            "window": WINDOW,
            "sigma": SIGMA,
            "N": 2 * PARTICLES,
            "least on the grid": least,
        },
        columns=["method", "mean loss", "over the least on the grid", "log10 decay", "log10 rate"],
        rows=rows,
        checks=[] if quick else _checks(last, least),
        figures={"tuned-schedule": _figure(curves, around)},
        data={
            "surface": around._asdict(),
            **{name: curve.as_data() | {"thetas": curve.thetas} for name, curve in curves.items()},
        },
    )


def settled(curve: Curve) -> np.ndarray:
    """Return the mean objective of each run's last fifth."""
    return curve.values[:, -(len(curve.meta_steps) // 5) :].mean(axis=1)


def _ends(curve: Curve) -> np.ndarray:
    return curve.thetas[:, -1] / np.log(10)


def _checks(last: dict[str, np.ndarray], least: float) -> list[Check]:
    checks = []
    for name, losses in last.items():
        ends = int(np.sum(losses <= LIMIT * least))
        low, high = ALLOWED[name]
        promise = f"{name}: starts, of {len(losses)}, from which it ends in the good region"
        checks.append(Check(promise, ends, low, high, PAPER))
    return checks


def _range(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _figure(curves: dict[str, Curve], around: Surface) -> Any:
    from matplotlib.colors import LogNorm

    figure = make_figure(3.4 * len(curves) + 0.8, 4)
    panels = np.atleast_1d(figure.subplots(1, len(curves), sharex=True, sharey=True))
    least = float(around.losses.min())
    shades: Any = None
    for axes, (name, curve), colour in zip(panels, curves.items(), COLOURS, strict=False):
        shades = axes.pcolormesh(
            around.decays,
            around.rates,
            around.losses,
            norm=LogNorm(least, around.losses.max()),
            cmap="Greys",
            shading="gouraud",
            rasterized=True,
        )
        axes.contour(
            around.decays, around.rates, around.losses, levels=[LIMIT * least], colors="black", linewidths=0.8
        )
        for path in curve.thetas / np.log(10):
            axes.plot(*path.T, color=colour, linewidth=1.4)
            axes.plot(*path[0], marker="*", color="black", markeredgecolor="white", markersize=11)
            axes.plot(*path[-1], marker="o", color=colour, markeredgecolor="white", markersize=7)
        axes.set(xlabel="log10 of the decay", xlim=DECAYS, ylim=RATES)
        axes.set_title(name, loc="left")
    panels[0].set_ylabel("log10 of the first rate")
    figure.colorbar(shades, ax=list(panels), label="mean loss of a training")
    return figure
