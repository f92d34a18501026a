"""Influence balancing: truncation gives the wrong sign of the long-term influence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from meta_train import (
    NRES,
    PES,
    RTRL,
    UORO,
    ConstantHorizon,
    Estimator,
    PESAnalytic,
    SumLoss,
    TruncatedBPTT,
    TruncatedES,
    run_episode,
    systems,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import Curve, meta_train

FOREVER = ConstantHorizon(10**9)
UNROLL = 500
"""Steps that an evaluation unrolls from ones, with constant theta."""
PAPER = "Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835)"


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the table: a run's settings, and the losses of an independent re-run at 100, 500, ... 3000."""

    estimator: Estimator
    particles: int = 1
    learning_rate: float = 1e-4
    reference: str = ""
    drawn: bool = False

    @property
    def seeds(self) -> int:
        """Number of seeds: deterministic methods need one; UORO's results spread over many decades."""
        if isinstance(self.estimator, TruncatedBPTT | RTRL):
            return 1
        return 24 if isinstance(self.estimator, UORO) else 3


def _make(kind: type[Estimator], window: int = 1, **options: Any) -> Estimator:
    return kind(horizon=FOREVER, window=window, objective=SumLoss(), phase="lockstep", **options)


METHODS = {
    "TBPTT-1": Method(_make(TruncatedBPTT), reference="211", drawn=True),
    "TBPTT-10": Method(_make(TruncatedBPTT, 10), reference="3.5e15", drawn=True),
    "TBPTT-100": Method(_make(TruncatedBPTT, 100), reference="3.2e-9", drawn=True),
    "RTRL": Method(_make(RTRL), reference="3.7e-17", drawn=True),
    "UORO (rate 1e-5)": Method(_make(UORO), 1, 1e-5, "1e-3 to 0.8", True),
    "truncated ES, N 1000": Method(_make(TruncatedES, sigma=0.1), 500, reference="211", drawn=True),
    "PES, N 1000": Method(_make(PES, sigma=0.1), 500, reference="6e-18 to 9e-14", drawn=True),
    "NRES, N 1000": Method(_make(NRES, sigma=0.1), 500, reference="2.6e-17", drawn=True),
    "PES+Analytic, N 1000": Method(_make(PESAnalytic, sigma=0.1), 500, reference="4.9e-15"),
    "PES, N 100": Method(_make(PES, sigma=0.1), 50, reference="13"),
    "PES, N 50": Method(_make(PES, sigma=0.1), 25, reference="6e8"),
    "NRES, N 100": Method(_make(NRES, sigma=0.1), 50, reference="1e-27 to 7e-11"),
    "NRES, N 4": Method(_make(NRES, sigma=0.1), 2, reference="4e-28 to 5.5, or diverges"),
}
QUICK = ("TBPTT-1", "TBPTT-100", "RTRL", "truncated ES, N 1000", "PES, N 1000", "NRES, N 1000")


@experiment("influence-balancing")
def influence_balancing(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Meta-train the scalar theta of the influence-balancing system by each estimator.

    Setting: 23 states, theta_0 = 0.5, the loss at the end of each window, an episode that never ends, plain
        gradient descent, 3000 meta-steps, sigma 0.1; N counts both members of a pair. Evaluated by the loss
        after 500 steps with constant theta. Random methods have 3 seeds, UORO 24, because its results spread
        over many decades.

    Shows: theta pushes the first unit up in the short term and down in the long term. Truncated
        backpropagation with windows below 41 and truncated ES follow the short-term influence, and diverge;
        RTRL, PES and NRES converge, and so does UORO more often than not. The variance of PES grows with time
        in an endless episode, so a small population fails late.

    Time on 2 cores: 1 minute; quick: 20 seconds.

    References: Tallec and Ollivier 2017 (arXiv 1702.05043); Vicol, Metz, Sohl-Dickstein 2021 (arXiv
        2112.13835); Vicol, Kolter, Swersky 2023 (arXiv 2304.11153).
    """
    meta_steps = 500 if quick else 3000
    curves = {}
    with jax.enable_x64(True):  # A loss of 1e-17 is beyond single precision.
        for name, method in METHODS.items():
            if not quick or name in QUICK:
                curves[name] = _run(method, meta_steps)
                tell(f"{name}: {_range(curves[name].values[:, -1])}")
    looks = [step for step in (100, 500, 1000, 2000, 3000) if step <= meta_steps]
    rows = [
        [name, *(_typical(curve.at(step)) for step in looks), _range(curve.values[:, -1])]
        + ([] if quick else [METHODS[name].reference])
        for name, curve in curves.items()
    ]
    columns = ["method", *(f"loss at {step}" for step in looks), "range over seeds"]
    return Outcome(
        settings={"theta_0": 0.5, "sigma": 0.1, "learning rate": 1e-4, "meta-steps": meta_steps},
        columns=columns if quick else [*columns, "independent re-run"],
        rows=rows,
        checks=_quick_checks(curves) if quick else _checks(curves),
        figures={"influence-balancing": _figure(curves)},
        data={name: curve.as_data() for name, curve in curves.items()},
    )


def _run(method: Method, meta_steps: int) -> Curve:
    system = systems.InfluenceBalancing(every=method.estimator.window)
    step, key = systems.InfluenceBalancing(), jax.random.key(0)

    def evaluate(theta: jax.Array) -> jax.Array:
        return run_episode(step, SumLoss(), theta, UNROLL, key, window=1)[1].loss[-1]

    return meta_train(
        system,
        method.estimator,
        optax.sgd(method.learning_rate),
        jnp.asarray(0.5),
        particles=method.particles,
        meta_steps=meta_steps,
        every=20,
        evaluate=evaluate,
        seeds=method.seeds,
    )


def _checks(curves: dict[str, Curve]) -> list[Check]:
    last = {name: curve.values[:, -1] for name, curve in curves.items()}
    pes = curves["PES, N 1000"]
    astray = np.max(np.abs(pes.thetas[:, -1, 0] - systems.OPTIMUM))
    checks = [
        Check("PES, N 1000: worst loss", float(last["PES, N 1000"].max()), high=1e-10, reference=PAPER),
        Check("PES, N 1000: farthest theta from -1/6", float(astray), high=1e-6, reference=PAPER),
        Check("NRES, N 100: worst loss", float(last["NRES, N 100"].max()), high=1e-8),
        Check("UORO: median loss of 24 seeds", float(np.median(last["UORO (rate 1e-5)"])), high=2.0),
        Check("RTRL: loss", float(last["RTRL"][0]), high=1e-15, reference=PAPER),
        Check("TBPTT-1: loss, diverging slowly", float(last["TBPTT-1"][0]), 150, 300, PAPER),
        Check("truncated ES: least loss", float(last["truncated ES, N 1000"].min()), 150, 300, PAPER),
        Check("truncated ES: worst loss", float(last["truncated ES, N 1000"].max()), 150, 300, PAPER),
        Check("TBPTT-10: loss", float(last["TBPTT-10"][0]), low=1e12, reference=PAPER),
        Check("TBPTT-100: loss", float(last["TBPTT-100"][0]), 1e-9, 1e-8, PAPER),
    ]
    return [*checks, _same_bias(curves)]


def _quick_checks(curves: dict[str, Curve]) -> list[Check]:
    fell = [f"{name}: loss at the end over that at first" for name in ("PES, N 1000", "NRES, N 1000")]
    ends = [curves[f.partition(":")[0]].values for f in fell]
    checks = [Check(f, float(np.max(v[:, -1] / v[:, 0])), high=0.1) for f, v in zip(fell, ends, strict=True)]
    return [*checks, _same_bias(curves)]


def _same_bias(curves: dict[str, Curve]) -> Check:
    backpropagated, evolved = curves["TBPTT-1"].values[0], curves["truncated ES, N 1000"].values.mean(0)
    apart = float(np.max(np.abs(evolved / backpropagated - 1)))
    promise = "truncated ES, mean over seeds, follows TBPTT-1: largest relative difference"
    return Check(promise, apart, high=0.02)


def _typical(values: np.ndarray) -> str:
    return f"{np.median(values):.2g}"


def _range(values: np.ndarray) -> str:
    return _typical(values) if len(values) == 1 else f"{values.min():.2g} to {values.max():.2g}"


def _figure(curves: dict[str, Curve]) -> Any:
    figure = make_figure(8, 5)
    axes = figure.subplots()
    drawn = [name for name in curves if METHODS[name].drawn]
    for name, colour in zip(drawn, COLOURS, strict=False):
        curve = curves[name]
        style = (0, (4, 3)) if name.startswith("truncated ES") else "solid"
        for number, values in enumerate(curve.values[:3]):
            label = name if number == 0 else None
            axes.plot(curve.meta_steps, values, color=colour, label=label, linewidth=1.4, linestyle=style)
    axes.set(yscale="log", xlabel="meta-steps", ylabel="loss after 500 steps", ylim=(1e-18, 1e16))
    axes.set_title("Influence balancing: one line per seed (3 of UORO)", loc="left")
    tidy(axes)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
