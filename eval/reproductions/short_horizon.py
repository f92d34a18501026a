"""Short-horizon bias: what a learning-rate schedule looks like to methods that see few steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from meta_train import (
    BPTT,
    NRES,
    PES,
    RTRL,
    ConstantHorizon,
    Estimator,
    HypergradientDescent,
    MeanLoss,
    TruncatedBPTT,
    TruncatedES,
    run_episode,
    systems,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import Curve, meta_train

STEPS = 200
START = (float(np.log(0.3)), float(np.log(0.3)))
SYSTEM = systems.NoisyQuadratic()
PAPER = "Wu, Ren, Liao, Grosse 2018 (arXiv 1803.02021)"


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table: an estimator, and how many particles are spread over the episode."""

    estimator: Estimator
    particles: int = 20

    @property
    def seeds(self) -> int:
        """Number of seeds: without noise, only the particles' phases differ."""
        return 3 if isinstance(self.estimator, PES | NRES | TruncatedES) else 1


def _make(kind: type[Estimator], window: int, **options: Any) -> Estimator:
    return kind(horizon=ConstantHorizon(STEPS), window=window, objective=MeanLoss(), **options)


METHODS = {
    "hypergradient descent": Method(_make(HypergradientDescent, 10)),
    "TBPTT, K 1": Method(_make(TruncatedBPTT, 1)),
    "TBPTT, K 10": Method(_make(TruncatedBPTT, 10)),
    "TBPTT, K 50": Method(_make(TruncatedBPTT, 50)),
    "truncated ES, K 10": Method(_make(TruncatedES, 10, sigma=0.03), 100),
    "BPTT": Method(_make(BPTT, STEPS), 1),
    "RTRL, K 10": Method(_make(RTRL, 10)),
    "PES, K 10": Method(_make(PES, 10, sigma=0.03), 100),
    "NRES, K 10": Method(_make(NRES, 10, sigma=0.03), 100),
}
SHORT = ("hypergradient descent", "TBPTT, K 1", "TBPTT, K 10", "truncated ES, K 10")
FULL = ("BPTT", "RTRL, K 10", "PES, K 10", "NRES, K 10")
QUICK = ("TBPTT, K 1", "TBPTT, K 10", "BPTT", "PES, K 10")


@experiment("short-horizon")
def short_horizon(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Tune a learning-rate schedule on a noisy quadratic by each estimator.

    Setting: 50 dimensions with curvatures from 0.001 to 1, 200 inner steps, the rate exp(theta_0) (1 + t /
        200)^-exp(theta_1), theta_0 at a rate and a decay of 0.3, the mean loss, Adam at 0.03, falling to a
        tenth, 1500 meta-steps, 20 particles of staggered ages, 100 pairs for evolution strategies at sigma
        0.03; 3 seeds for these.

    Shows: the best schedule keeps a sizeable rate until the end, because flat dimensions need it. Methods
        that look at one or ten steps (hypergradient descent, truncated backpropagation, truncated ES) let the
        rate vanish early, because within a few steps only the noise of steep dimensions counts. Those that
        see the whole episode (backpropagation, RTRL, PES, NRES) find the best schedule.

    Time on 2 cores: 40 seconds; quick: 15 seconds.

    References: Wu, Ren, Liao, Grosse 2018 (arXiv 1803.02021).
    """
    meta_steps = 600 if quick else 1500
    curves = {}
    for name, method in METHODS.items():
        if not quick or name in QUICK:
            curves[name] = _run(method, meta_steps)
            tell(f"{name}: excess loss {curves[name].values[:, -1].max():.4f}")
    axes, surface = loss_surface(40 if quick else 80)
    best = best_schedule()
    rows = [_row(name, curve.thetas[:, -1]) for name, curve in curves.items()]
    return Outcome(
        settings={"T": STEPS, "start": "rate 0.3, decay 0.3", "outer": "Adam 0.03", "meta-steps": meta_steps},
        columns=["method", "first rate", "decay", "rate at T/2", "last rate", "excess loss"],
        rows=[*rows, _row("the best schedule", best[None])],
        checks=_checks(curves, best),
        figures={"short-horizon": _figure(curves, axes, surface, best)},
        data={name: curve.as_data() for name, curve in curves.items()} | {"best": best},
    )


def _run(method: Method, meta_steps: int) -> Curve:
    return meta_train(
        SYSTEM,
        method.estimator,
        optax.adam(optax.cosine_decay_schedule(0.03, meta_steps, 0.1)),
        jnp.asarray(START),
        particles=method.particles,
        meta_steps=meta_steps,
        every=20,
        evaluate=excess_loss,
        seeds=method.seeds,
    )


def excess_loss(theta: jax.Array) -> jax.Array:
    """Return the mean loss of an episode, above the loss at the optimum."""
    ended, _ = run_episode(SYSTEM, MeanLoss(), theta, STEPS, jax.random.key(0))
    return ended.objective - SYSTEM.floor


def best_schedule() -> np.ndarray:
    """Return the theta of the least loss, by gradient descent along the exact gradient from the start."""

    def descend(carry: Any, _: None) -> tuple[Any, None]:
        theta, state = carry
        updates, state = outer.update(jax.grad(excess_loss)(theta), state)
        return (optax.apply_updates(theta, updates), state), None

    outer = optax.adam(optax.cosine_decay_schedule(0.05, 1000))
    theta = jnp.asarray(START)
    (theta, _), _ = jax.jit(lambda carry: jax.lax.scan(descend, carry, None, 1000))(
        (theta, outer.init(theta))
    )
    return np.asarray(theta)


def loss_surface(points: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the axes of theta, and the excess loss [theta_0, theta_1]."""
    first, decay = jnp.linspace(-3.5, 0.6, points), jnp.linspace(-2.5, 4.5, points)
    row = jax.vmap(lambda x, y: excess_loss(jnp.stack([x, y])), in_axes=(None, 0))
    surface = jax.jit(jax.vmap(row, in_axes=(0, None)))(first, decay)
    return (np.asarray(first), np.asarray(decay)), np.asarray(surface)


def rates(theta: np.ndarray) -> np.ndarray:
    """Return the rate of each step, and that after the last one, for theta [..., 2]."""
    progress = np.arange(STEPS + 1) / STEPS
    return np.exp(theta[..., :1] - np.exp(theta[..., 1:]) * np.log1p(progress))


def _row(name: str, thetas: np.ndarray) -> list[Any]:
    theta = np.median(thetas, axis=0)
    schedule = rates(theta)
    excess = float(excess_loss(jnp.asarray(theta, jnp.float32)))
    return [name, schedule[0], float(np.exp(theta[1])), schedule[STEPS // 2], schedule[-1], excess]


def _checks(curves: dict[str, Curve], best: np.ndarray) -> list[Check]:
    least = float(excess_loss(jnp.asarray(best)))
    last = {name: rates(curve.thetas[:, -1])[:, -1] / rates(best)[-1] for name, curve in curves.items()}
    excess = {name: curve.values[:, -1] / least for name, curve in curves.items()}
    checks = []
    for name in (name for name in SHORT if name in curves):
        checks += [
            Check(
                f"{name}: last rate over the best one", float(last[name].max()), high=0.01, reference=PAPER
            ),
            Check(f"{name}: excess loss over the least", float(excess[name].min()), low=1.3, reference=PAPER),
        ]
    for name in (name for name in FULL if name in curves):
        checks.append(Check(f"{name}: excess loss over the least", float(excess[name].max()), 0.999, 1.02))
    if "TBPTT, K 50" in curves:
        longer = ("TBPTT, K 1", "TBPTT, K 10", "TBPTT, K 50", "BPTT")
        rising = np.min(np.diff([np.log(last[name].max()) for name in longer]))
        checks.append(Check("longer windows: least rise of the log of the last rate", float(rising), low=0.1))
        same = abs(excess["hypergradient descent"][0] / excess["TBPTT, K 1"][0] - 1)
        checks.append(Check("hypergradient descent against TBPTT, K 1: excess loss", float(same), high=0.02))
    return checks


def _figure(curves: dict[str, Curve], axes: Any, surface: np.ndarray, best: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm

    figure = make_figure(14, 5)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    shades = left.pcolormesh(
        *axes, surface.T, norm=LogNorm(0.1, 2), cmap="Greys", rasterized=True, shading="nearest"
    )
    figure.colorbar(shades, ax=left, label="mean loss above the optimum's")
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        for path in curve.thetas:
            left.plot(*path.T, color=colour, linewidth=1.3, alpha=0.9)
            left.plot(*path[-1], marker="o", color=colour, markeredgecolor="white", markersize=7)
        right.plot(rates(np.median(curve.thetas[:, -1], axis=0)), color=colour, linewidth=1.5, label=name)
    left.plot(*START, marker="s", color="black", markeredgecolor="white", markersize=9, linestyle="none")
    left.plot(*best, marker="*", color="black", markeredgecolor="white", markersize=15, linestyle="none")
    left.set(xlabel="theta_0: log of the first rate", ylabel="theta_1: log of the decay")
    left.set_title("Paths from the square to the dots; the best schedule is the star")
    right.set(xlabel="inner step", ylabel="learning rate", yscale="log", ylim=(1e-5, 3))
    right.set_title("The schedules that are found")
    tidy(right)
    right.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
