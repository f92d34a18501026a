"""Tuning of a learning-rate schedule on a toy problem: which methods leave the short-horizon optimum."""

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
    UORO,
    ConstantHorizon,
    Estimator,
    FullES,
    SumLoss,
    TruncatedBPTT,
    TruncatedES,
    run_episode,
    systems,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import Curve, meta_train

STEPS = 100
START = (-4.0, -4.0)
PAPER = "Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835)"


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table: a run's settings, and the final loss of an independent re-run."""

    estimator: Estimator
    particles: int = 1
    meta_steps: int = 4000
    reference: str = ""
    drawn: bool = False

    @property
    def seeds(self) -> int:
        """Number of seeds: deterministic methods need one."""
        return 1 if isinstance(self.estimator, TruncatedBPTT | RTRL | BPTT) else 3


def _make(kind: type[Estimator], window: int = 10, **options: Any) -> Estimator:
    return kind(
        horizon=ConstantHorizon(STEPS), window=window, objective=SumLoss(), phase="lockstep", **options
    )


METHODS = {
    "TBPTT, K 10": Method(_make(TruncatedBPTT), reference="2423.2", drawn=True),
    "RTRL, K 1": Method(_make(RTRL, 1), reference="2423.2"),
    "BPTT": Method(_make(BPTT, STEPS), reference="2423.2"),
    "UORO, K 1": Method(_make(UORO, 1), reference="2251 to 2424"),
    "truncated ES, K 10": Method(_make(TruncatedES, sigma=0.3), 50, reference="2423 to 2424"),
    "truncated ES, K 10, sigma 1": Method(
        _make(TruncatedES, sigma=1.0), 50, 20000, "1450 to 1620", drawn=True
    ),
    "truncated ES, K 50": Method(_make(TruncatedES, 50, sigma=0.3), 50, reference="below 620"),
    "PES, K 10": Method(_make(PES, sigma=0.3), 50, reference="559 to 573", drawn=True),
    "PES, K 1": Method(_make(PES, 1, sigma=0.3), 50, reference="below 620"),
    "NRES, K 10": Method(_make(NRES, sigma=0.3), 50, reference="559 to 581", drawn=True),
    "full ES": Method(_make(FullES, STEPS, sigma=0.3), 50, reference="562 to 580", drawn=True),
}
QUICK = ("TBPTT, K 10", "PES, K 10", "NRES, K 10")


@experiment("toy-regression")
def toy_regression(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Tune the two ends of a learning-rate schedule on a bumpy valley by each estimator.

    Setting: 100 inner steps, theta_0 = (-4, -4), the sum of losses, Adam at 0.01 with b1 = 0.99, 4000
    meta-steps (20000 for truncated ES at sigma 1), N = 100 (50 pairs), sigma 0.3; 3 seeds for random methods.

    Shows: the loss over the whole episode has its minimum, 553, at a first rate of exp(2.75). On the other
        side of a barrier is the short-horizon optimum, at 2423. Gradients, truncated or exact, end there, and
        so does truncated ES, which at sigma 1 ends in another wrong optimum. PES, NRES and full ES cross the
        barrier.

    Time on 2 cores: 3 minutes; quick: 30 seconds.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """
    with jax.enable_x64(False):
        curves = {}
        for name, method in METHODS.items():
            if not quick or name in QUICK:
                meta_steps = min(method.meta_steps, 1500 if quick else method.meta_steps)
                curves[name] = _run(method, meta_steps)
                tell(f"{name}: {_range(curves[name].values[:, -1])}")
        axis, surface = loss_surface(100 if quick else 300)
    looks = (500, 1000, 1500) if quick else (500, 1000, 2000, 4000)
    rows = [
        [
            name,
            *(_range(curve.at(step)) for step in looks),
            _range(curve.values[:, -1]),
            ", ".join(f"{x:.2f}" for x in np.median(curve.thetas[:, -1], axis=0)),
            METHODS[name].reference,
        ]
        for name, curve in curves.items()
    ]
    ending = "median final theta", "independent re-run"
    return Outcome(
        settings={"T": STEPS, "theta_0": START, "outer": "Adam 0.01", "sigma": 0.3, "N": 100},
        columns=["method", *(f"loss at {step}" for step in looks), "last loss", *ending],
        rows=rows,
        checks=_quick_checks(curves) if quick else _checks(curves, axis, surface),
        figures={"toy-regression": _figure(curves, axis, surface)},
        data={name: curve.as_data() for name, curve in curves.items()},
    )


def _run(method: Method, meta_steps: int) -> Curve:
    return meta_train(
        systems.ToyRegression(),
        method.estimator,
        optax.adam(1e-2, b1=0.99),
        jnp.asarray(START),
        particles=method.particles,
        meta_steps=meta_steps,
        every=20,
        evaluate=episode_loss,
        seeds=method.seeds,
    )


def episode_loss(theta: jax.Array) -> jax.Array:
    """Return the sum of an episode's losses for theta."""
    return run_episode(systems.ToyRegression(), SumLoss(), theta, STEPS, jax.random.key(0))[0].objective


def loss_surface(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an axis from -5 to 5, and the loss [theta_0, theta_1] at its points."""
    axis = jnp.linspace(-5.0, 5.0, points)
    row = jax.vmap(lambda x, y: episode_loss(jnp.stack([x, y])), in_axes=(None, 0))
    return np.asarray(axis), np.asarray(jax.jit(jax.vmap(row, in_axes=(0, None)))(axis, axis))


def _checks(curves: dict[str, Curve], axis: np.ndarray, surface: np.ndarray) -> list[Check]:
    last = {name: curve.values[:, -1] for name, curve in curves.items()}
    found = ("PES, K 10", "NRES, K 10", "full ES", "truncated ES, K 50", "PES, K 1")
    stuck = ("TBPTT, K 10", "RTRL, K 1", "BPTT")
    wrong = last["truncated ES, K 10, sigma 1"]
    row, column = np.unravel_index(np.argmin(surface), surface.shape)
    least = f"least loss on the grid, at ({axis[row]:.2f}, {axis[column]:.2f})"
    return [
        *(Check(f"{name}: worst loss", float(last[name].max()), high=620, reference=PAPER) for name in found),
        *(Check(f"{name}: loss", float(last[name][0]), 2422, 2425, PAPER) for name in stuck),
        Check("truncated ES: least loss", float(last["truncated ES, K 10"].min()), low=2400, reference=PAPER),
        Check("truncated ES, sigma 1: least loss", float(wrong.min()), 1200, 1900, PAPER),
        Check("truncated ES, sigma 1: worst loss", float(wrong.max()), 1200, 1900, PAPER),
        Check(least, float(surface.min()), 552.2, 556, PAPER),
    ]


def _quick_checks(curves: dict[str, Curve]) -> list[Check]:
    return [
        Check("PES: worst loss", float(curves["PES, K 10"].values[:, -1].max()), high=620),
        Check("NRES: worst loss", float(curves["NRES, K 10"].values[:, -1].max()), high=620),
        Check("TBPTT: loss", float(curves["TBPTT, K 10"].values[0, -1]), 2422, 2425),
    ]


def _range(values: np.ndarray) -> str:
    low, high = (f"{x:.1f}" if len(values) == 1 else f"{x:.0f}" for x in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _figure(curves: dict[str, Curve], axis: np.ndarray, surface: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm

    figure = make_figure(12.5, 5)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    shades = left.pcolormesh(
        axis, axis, surface.T, norm=LogNorm(500, 10000), cmap="Greys", rasterized=True, shading="nearest"
    )
    figure.colorbar(shades, ax=left, label="loss of an episode")
    drawn = [name for name in curves if METHODS[name].drawn]
    for name, colour in zip(drawn, COLOURS, strict=False):
        curve = curves[name]
        for path in curve.thetas:
            left.plot(*path.T, color=colour, linewidth=1.3, alpha=0.9)
            left.plot(*path[-1], marker="o", color=colour, markeredgecolor="white", markersize=7)
        for number, values in enumerate(curve.values):
            label = name if number == 0 else None
            right.plot(curve.meta_steps, values, color=colour, linewidth=1.3, label=label)
    left.plot(*START, marker="*", color="black", markeredgecolor="white", markersize=14, linestyle="none")
    left.set(xlabel="theta_0: log of the first rate", ylabel="theta_1: log of the last rate")
    left.set(xlim=(-5, 5), ylim=(-5, 5), title="Paths from the star to the dots")
    right.set(xlabel="meta-steps", ylabel="loss of an episode", xlim=(0, 4000), ylim=(400, 2600))
    right.set_title("One line per seed")
    tidy(right)
    right.legend(frameon=False, fontsize=9, loc="center right", bbox_to_anchor=(1, 0.32))
    return figure
