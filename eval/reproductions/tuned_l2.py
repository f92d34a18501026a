"""Tuning of L2 regularisation, whose optimum is known: which estimators reach it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

import tasks
from meta_train import (
    NRES,
    PES,
    ConstantHorizon,
    Estimator,
    HyperparameterTuning,
    MeanLoss,
    TruncatedBPTT,
    TruncatedES,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import Curve, meta_train_each

TRAIN, VALID = 40, 100
STARTS = (5.0, 3.0, 1.0, -1.0, -3.0, -5.0)
RATE, SIGMA, PARTICLES, META_STEPS = 0.01, 0.01, 32, 10_000
TASK = "quadratic-ridge-diabetes"
PAPER = "Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835)"


class RidgeRegression(tasks.Task):
    """Least squares on all rows at once: nothing is random, and weights start at zero.

    Attributes:
        inputs: "train" and "inner_valid" -> [rows, columns].
        targets: the same -> [rows].
    """

    inputs: dict[str, Float[Array, "rows columns"]]
    targets: dict[str, Float[Array, " rows"]]

    def sample(self, key: Key[Array, ""]) -> tuple[()]:
        """Return the only member."""
        return ()

    def init(self, instance: Any, key: Key[Array, ""]) -> dict[str, Float[Array, " columns"]]:
        """Return weights of zero."""
        return {"weights": jnp.zeros(self.inputs["train"].shape[1], jnp.float32)}

    def batch(self, instance: Any, key: Key[Array, ""], split: tasks.Split) -> tuple[Array, Array]:
        """Return all rows."""
        return self.inputs[split], self.targets[split]

    def loss(self, instance: Any, params: Any, batch: Any, key: Key[Array, ""]) -> Float[Array, ""]:
        """Return half the mean square."""
        inputs, targets = batch
        return 0.5 * jnp.mean(jnp.square(inputs @ params["weights"] - targets))

    @property
    def ceiling(self) -> float:
        """Far above the loss without weights, which is about a half."""
        return 1e3


@functools.cache
def read_rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return scikit-learn's diabetes data with all products of two columns, standardised, as float64.

    65 columns for 40 rows to train on: without regularisation, the validation loss is twenty times as high.
    """
    from sklearn.datasets import load_diabetes

    table: Any = load_diabetes()
    inputs, targets = np.asarray(table.data), np.asarray(table.target)
    order = np.random.RandomState(0).permutation(len(targets))[: TRAIN + VALID]
    inputs, targets = inputs[order] / inputs[order[:TRAIN]].std(0), targets[order]
    first, second = np.triu_indices(inputs.shape[1])
    inputs = np.concatenate([inputs, inputs[:, first] * inputs[:, second]], axis=1)
    inputs = (inputs - inputs[:TRAIN].mean(0)) / inputs[:TRAIN].std(0)
    targets = (targets - targets[:TRAIN].mean()) / targets[:TRAIN].std()
    return {
        "train": (inputs[:TRAIN], targets[:TRAIN]),
        "inner_valid": (inputs[TRAIN:], targets[TRAIN:]),
    }


@tasks.register(TASK)
def ridge() -> RidgeRegression:
    """Build the task."""
    rows = read_rows()
    with jax.ensure_compile_time_eval():
        return RidgeRegression(
            inputs={split: jnp.asarray(both[0], jnp.float32) for split, both in rows.items()},
            targets={split: jnp.asarray(both[1], jnp.float32) for split, both in rows.items()},
        )


def solve(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the validation loss of fully trained weights, and the derivative that a single step shows.

    The derivative of the loss after one step in the logarithm of the penalty is minus the product of the
    weights and the gradient of the validation loss, times the penalty and the learning rate, which are left
    out here. Its root is where methods with windows of one step end.

    Args:
        points: logarithms of the penalty.
    """
    (inputs, targets), (held, wanted) = read_rows().values()
    losses, short = [], []
    for point in points:
        ridge = inputs.T @ inputs / TRAIN + np.exp(point) * np.eye(inputs.shape[1])
        weights = np.linalg.solve(ridge, inputs.T @ targets / TRAIN)
        errors = held @ weights - wanted
        losses.append(0.5 * np.mean(errors**2))
        short.append(-weights @ (held.T @ errors) / VALID)
    return np.asarray(losses), np.asarray(short)


def optima() -> tuple[float, float]:
    """Return the logarithm of the best penalty, and that at which one step shows no derivative."""
    points = np.linspace(-5, 5, 2001)
    losses, short = solve(points)
    (roots,) = np.nonzero((short[:-1] < 0) & (short[1:] >= 0))
    return float(points[np.argmin(losses)]), float(points[roots[0]])


def _make(kind: type[Estimator], meta_steps: int, **options: Any) -> Estimator:
    """One step a window, and one episode, which is never over."""
    horizon = ConstantHorizon(meta_steps)
    return kind(horizon=horizon, window=1, objective=MeanLoss(), phase="lockstep", **options)


METHODS: dict[str, Callable[[int], Estimator]] = {
    "TBPTT": lambda meta_steps: _make(TruncatedBPTT, meta_steps),
    "truncated ES": lambda meta_steps: _make(TruncatedES, meta_steps, sigma=SIGMA),
    "PES": lambda meta_steps: _make(PES, meta_steps, sigma=SIGMA),
    "NRES": lambda meta_steps: _make(NRES, meta_steps, sigma=SIGMA),
}

WRONG = ("TBPTT", "truncated ES")


@experiment("tuned-l2")
def tuned_l2(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Tune the L2 penalty of a regression while it is trained, from six starts, with windows of one step.

    Setting: 65 columns (ten and their products) of 40 patients of scikit-learn's diabetes data, 100 others to
    validate; full-batch gradient descent at 0.01, one episode that is never over, sigma 0.01, the outer Adam
    at 0.003; the logarithm of the penalty starts at 5, 3, 1, -1, -3 and -5; 32 pairs and 10,000 meta-steps.
    The published experiment is on another table, with two pairs and 50,000 meta-steps.

    Shows: PES and NRES reach the penalty that is best for the trained weights. One step shows another
        derivative: it is zero where the weights and the gradient of the validation loss are orthogonal, and
        truncated ES and truncated backpropagation end there, from each start. The variance of PES grows with
        the length of the episode: after 16,000 meta-steps, one of the six left the optimum.

    Time on 2 cores: 20 seconds.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """
    meta_steps = 4000 if quick else META_STEPS
    curves = {}
    for name in METHODS:
        curves[name] = measure(name, meta_steps, PARTICLES // 4 if quick else PARTICLES)
        tell(f"{name}: {_range(settled(curves[name]))}")
    return outcome(curves, meta_steps, quick)


def outcome(curves: dict[str, Curve], meta_steps: int, quick: bool = False) -> Outcome:
    """Return the table, the checks and the figure of what was measured."""
    best, wrong = optima()
    losses = {name: solve(settled(curve))[0] for name, curve in curves.items()}
    rows = [
        [name, _range(settled(curve)), _range(losses[name], 4), f"{(wrong if name in WRONG else best):.2f}"]
        for name, curve in curves.items()
    ]
    return Outcome(
        settings={
            "train": TRAIN,
            "best": round(best, 3),
            "one step": round(wrong, 3),
            "meta-steps": meta_steps,
            "sigma": SIGMA,
        },
        columns=["method", "log of the penalty", "validation loss", "expected"],
        rows=rows,
        checks=[] if quick else _checks(curves, best, wrong),
        figures={"tuned-l2": _figure(curves, best, wrong)},
        data={name: curve.as_data() | {"thetas": curve.thetas} for name, curve in curves.items()},
    )


def problem() -> HyperparameterTuning:
    """Return what is tuned."""
    return HyperparameterTuning((TASK,), tune=("l2",), set=(f"learning_rate={RATE}", "momentum=0"))


def measure(name: str, meta_steps: int, particles: int) -> Curve:
    """Tune from every start by one estimator."""
    with jax.enable_x64(False):
        estimator = METHODS[name](meta_steps)
        return meta_train_each(
            problem().members()[TASK].dynamics,
            estimator,
            optax.adam(3e-3),
            {"l2": jnp.asarray(STARTS, jnp.float32)},
            jax.random.split(jax.random.key(0), len(STARTS)),
            particles=1 if estimator.needs_derivatives else particles,
            meta_steps=meta_steps,
            every=meta_steps // 100,
            evaluate=lambda theta: theta["l2"],
        )


def settled(curve: Curve) -> np.ndarray:
    """Return the mean over the last fifth of each run."""
    return curve.values[:, -(len(curve.meta_steps) // 5) :].mean(axis=1)


def _checks(curves: dict[str, Curve], best: float, wrong: float) -> list[Check]:
    checks = []
    for name, curve in curves.items():
        goal, at = (wrong, "the point of one step") if name in WRONG else (best, "the optimum")
        off = float(np.abs(settled(curve) - goal).max())
        checks.append(Check(f"{name}: furthest from {at}", off, high=0.3, reference=PAPER))
    return [*checks, Check("distance of the two points", wrong - best, low=1.0)]


def _range(values: np.ndarray, digits: int = 2) -> str:
    return f"{values.min():.{digits}f} to {values.max():.{digits}f}"


def _figure(curves: dict[str, Curve], best: float, wrong: float) -> Any:
    figure = make_figure(11, 4.4)
    left, *rest = figure.subplots(1, len(curves) + 1, sharey=True, width_ratios=(0.8, *[1] * len(curves)))
    points = np.linspace(-5, 5, 201)
    left.plot(solve(points)[0], points, color="black", linewidth=1.2)
    left.set(xlabel="validation loss", ylabel="log of the penalty", xlim=(0.45, 1), ylim=(-5.3, 5.3))
    for axes, (name, curve), colour in zip(rest, curves.items(), COLOURS, strict=False):
        axes.plot(curve.meta_steps, curve.values.T, color=colour, linewidth=1.2)
        axes.set_title(name, loc="left")
        axes.set(xlabel="meta-steps")
    for axes in (left, *rest):
        axes.axhline(best, color="black", linestyle="--", linewidth=1)
        axes.axhline(wrong, color="#D55E00", linestyle=":", linewidth=1.2)
        tidy(axes)
    left.text(0.98, best + 0.12, "best", ha="right")
    left.text(0.98, wrong + 0.12, "one step", ha="right", color="#D55E00")
    return figure
