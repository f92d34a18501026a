"""Variance of PES, PES+Analytic and NRES on a small LSTM language model, against the number of unrolls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from meta_train import (
    NRES,
    PES,
    ConstantHorizon,
    Estimator,
    PESAnalytic,
    SumLoss,
    advance,
    start,
    systems,
)

from .experiment import Check, Outcome, experiment, make_figure, tidy

STEPS, SIGMA, PARAMETERS = 1000, 1e-3, 790
PAIRS = 500  # The paper's population of 1000, counted as pairs.
ESTIMATORS: dict[str, type[Any]] = {"PES": PES, "PES-A": PESAnalytic, "NRES": NRES}
COLOURS = {"PES": "#D55E00", "PES-A": "#E69F00", "NRES": "#0072B2"}
MARKS = {"PES": "o", "PES-A": "s", "NRES": "^"}
_CHUNK = 100  # Pairs that run at once; it divides every number of samples.


@experiment("lstm-variance")
def lstm_variance(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Measure how the variance of a whole episode's estimate depends on the number of unrolls.

    Setting: an LSTM language model over characters (50 symbols, 5 hidden units, 790 parameters), batch 1,
    1000 steps, sigma 1e-3, theta as initialised; an estimate is the sum over the episode's windows. The
    variance is the mean of |estimate - exact|^2 / |exact|^2 for 1000 particles (500 pairs), measured as that
    of one pair over 500; exact is the gradient by backpropagation. Text: English prose, independent
    characters, one repeated character.

    Shows: with the number of unrolls, the variance of PES decreases slightly if gradients of different steps
        agree (the repeated character, towards half), grows proportionally if they don't (random characters),
        and does both for real text. That of NRES, (P + 1) / 500, does not depend on it. PES-A has a much
        smaller variance than either, because at these small parameters most of a window's gradient comes from
        within it. The predicted columns are computed from gradients of windows, without sampling; see
        `predicted_variances`.

    Time on 2 cores: 6 minutes; quick: 50 seconds.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835), the figure on variance; Vicol, Kolter,
        Swersky 2023 (arXiv 2304.11153), the same for ES-Single, which is NRES.
    """
    unrolls = (1, 20, 200) if quick else (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    with jax.enable_x64(True):  # The measured differences of losses come from a sigma of 1e-3.
        theta = systems.LanguageModel.create(jax.random.key(0))
        texts = {
            "real": systems.real_characters(STEPS),
            "random": systems.random_characters(STEPS, jax.random.key(1)),
            "repeated": systems.repeated_character(STEPS),
        }
        rows, data = [], {}
        for name, text in texts.items():
            dynamics = systems.LanguageModelling(text)
            data[name] = _measure(dynamics, theta, unrolls, quick)
            rows += [_row(name, count, data[name], i) for i, count in enumerate(unrolls)]
            tell(f"{name} characters: done")
    columns = ["text", "unrolls", *(f"{e} {c}" for e in ESTIMATORS for c in ("measured", "predicted"))]
    settings = {
        "steps": STEPS,
        "sigma": SIGMA,
        "parameters": PARAMETERS,
        "pairs sampled": "200" if quick else "500; 200 for 200 unrolls or more",
        "±": "standard error",
    }
    return Outcome(
        settings=settings,
        columns=columns,
        rows=rows,
        checks=_checks(data, unrolls),
        figures={"lstm-variance": _figure(data, unrolls)},
        data=data | {"unrolls": list(unrolls)},
    )


def _measure(dynamics: Any, theta: Any, unrolls: tuple[int, ...], quick: bool) -> dict[str, Any]:
    exact = ravel_pytree(_exact_gradient(dynamics, theta))[0]
    result: dict[str, Any] = {name: {"mean": [], "error": [], "predicted": []} for name in ESTIMATORS}
    for count in unrolls:
        samples = 500 if count < 200 and not quick else 200
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), count), samples)
        predicted = predicted_variances(dynamics, theta, count)
        for name, estimator_class in ESTIMATORS.items():
            estimator = estimator_class(
                ConstantHorizon(STEPS), STEPS // count, SumLoss(), phase="lockstep", sigma=SIGMA
            )
            one_pair = np.asarray(_squared_errors(estimator, dynamics, theta, exact, keys)) / PAIRS
            result[name]["mean"].append(float(one_pair.mean()))
            result[name]["error"].append(float(one_pair.std(ddof=1) / np.sqrt(samples)))
            result[name]["predicted"].append(float(predicted[name]) / PAIRS)
    return result


@functools.partial(jax.jit, static_argnames=("estimator",))
def _squared_errors(
    estimator: Estimator, dynamics: Any, theta: Any, exact: Float[Array, " P"], keys: Key[Array, " pairs"]
) -> Float[Array, " pairs"]:
    """Return |sum of an episode's estimates - exact|^2 / |exact|^2 for each pair."""
    windows = estimator.horizon.bounds()[1] // estimator.window

    def pair(key: Key[Array, ""]) -> Float[Array, ""]:
        def window(carry: tuple[Any, Any], key: Key[Array, ""]) -> tuple[tuple[Any, Any], None]:
            state, total = carry
            state, estimate = estimator.step(dynamics, theta, state, key, jnp.zeros((), jnp.int32))
            return (state, jax.tree.map(jnp.add, total, estimate.gradient)), None

        carry = (estimator.init(dynamics, theta), jax.tree.map(jnp.zeros_like, theta))
        (_, total), _ = jax.lax.scan(window, carry, jax.random.split(key, windows))
        return jnp.sum((ravel_pytree(total)[0] - exact) ** 2) / jnp.sum(exact**2)

    return jax.lax.map(pair, keys, batch_size=_CHUNK)


@functools.partial(jax.jit, static_argnames=("windows",))
def _window_losses(dynamics: Any, thetas: Any, windows: int) -> Float[Array, " windows"]:
    """Return each window's sum of losses, with a separate theta for each window."""
    key, first = jax.random.key(0), jax.tree.map(lambda x: x[0], thetas)

    def window(episode: Any, theta: Any) -> tuple[Any, Array]:
        episode, result = advance(dynamics, SumLoss(), theta, episode, STEPS // windows, key)
        return episode, result.objective

    return jax.lax.scan(window, start(dynamics, first, jnp.asarray(STEPS), key), thetas)[1]


def _exact_gradient(dynamics: Any, theta: Any) -> Any:
    def total(theta: Any) -> Array:
        return _window_losses(dynamics, jax.tree.map(lambda x: x[None], theta), 1)[0]

    return jax.jit(jax.grad(total))(theta)


@functools.partial(jax.jit, static_argnames=("windows",))
def predicted_variances(dynamics: Any, theta: Any, windows: int) -> dict[str, Float[Array, ""]]:
    """Predict the variance of one pair's sum over an episode, over |gradient|^2, for losses linear in noise.

    With g_ti the gradient of window t's loss with respect to the theta of window i, m = min(t, s) and P
    meta-parameters,

        PES    P sum_ts  m      sum_{i <= m} g_ti . g_si  =  P sum_i (i |A_ii|^2   + sum_{k > i} |A_ik|^2)
        PES-A  P sum_ts (m - 1) sum_{i <  m} g_ti . g_si  =  P sum_i (i |A_i,i+1|^2 + sum_{k > i} |A_i,k+1|^2)
        NRES   (P + 1) |sum_ti g_ti|^2

    where A_ik = sum_{t >= k} g_ti, the gradient of all losses from window k on, takes one backpropagation for
    each k. The first two omit terms of relative size 1 / P.

    Args:
        dynamics: the language model.
        theta: its parameters.
        windows: number of windows per episode.
    """
    thetas = jax.tree.map(lambda x: jnp.repeat(x[None], windows, axis=0), theta)
    flat, unravel = jax.vmap(lambda t: ravel_pytree(t)[0])(thetas), ravel_pytree(theta)[1]
    _, backward = jax.vjp(lambda flat: _window_losses(dynamics, jax.vmap(unravel)(flat), windows), flat)
    number = jnp.arange(1, windows + 1, dtype=flat.dtype)

    def from_window(k: Array) -> tuple[Array, Array, Array]:
        (tail,) = backward((number >= k).astype(flat.dtype))
        squares = jnp.sum(tail**2, axis=1)
        # Factor of |A_ik|^2 in each double sum; for PES-A, this is k + 1 of the formula.
        persistent = jnp.where(number < k, 1, jnp.where(number == k, k, 0))
        analytic = jnp.where(number < k - 1, 1, jnp.where(number == k - 1, k - 1, 0))
        return persistent @ squares, analytic @ squares, jnp.sum(tail, axis=0)

    persistent, analytic, gradients = jax.lax.map(from_window, number, batch_size=10)
    squared, size = jnp.sum(gradients[0] ** 2), flat.shape[1]
    return {
        "PES": size * jnp.sum(persistent) / squared,
        "PES-A": size * jnp.sum(analytic) / squared,
        "NRES": jnp.asarray(size + 1, flat.dtype),
    }


def _row(text: str, unrolls: int, measured: dict[str, Any], index: int) -> list[str]:
    cells = [text, str(unrolls)]
    for name in ESTIMATORS:
        mean, error, predicted = (measured[name][key][index] for key in ("mean", "error", "predicted"))
        cells += [f"{mean:.3g} ± {error:.1g}", f"{predicted:.3g}"]
    return cells


def _checks(data: dict[str, Any], unrolls: tuple[int, ...]) -> list[Check]:
    paper = "ES-Single, arXiv 2304.11153; PES, arXiv 2112.13835"
    reused = np.mean([text["NRES"]["mean"] for text in data.values()])
    repeated = [v for n, v in zip(unrolls, data["repeated"]["PES"]["mean"], strict=True) if n >= 20]
    random = dict(zip(unrolls, data["random"]["PES"]["mean"], strict=True))
    few, many = 20, max(unrolls)
    slope = np.log(random[many] / random[few]) / np.log(many / few)
    real = data["real"]["PES"]["mean"]
    checks = [
        Check("NRES, mean over all: (P + 1) / 500 = 1.582", float(reused), 1.482, 1.682, paper),
        Check("PES, repeated, mean from 20 unrolls on", float(np.mean(repeated)), 0.75, 0.95, paper),
        Check("PES, random characters, 200 unrolls", random[200], low=100.0, reference=paper),
        Check(f"PES, random, log-log slope from {few} to {many} unrolls", float(slope), 0.8, 1.2, paper),
        Check("PES, real text: least, over that of 1 unroll", min(real) / real[0], 0.4, 0.95, paper),
        Check("PES, real text: last, over least", real[-1] / min(real), low=2.0, reference=paper),
    ]
    prediction = "theory, in predicted_variances"
    for name in ESTIMATORS:
        z = [
            (mean - predicted) / error
            for text in data.values()
            for mean, error, predicted in zip(*(text[name][k] for k in text[name]), strict=True)
            if predicted > 0  # PES-A has zero variance with one unroll.
        ]
        farthest = max(z, key=abs)
        promise = f"{name}, farthest from prediction, in standard errors"
        checks.append(Check(promise, float(farthest), -4.5, 4.5, prediction))
    return checks


def _figure(data: dict[str, Any], unrolls: tuple[int, ...]) -> Any:
    figure = make_figure(11, 4)
    for axes, (text, measured) in zip(figure.subplots(1, 3, sharey=True), data.items(), strict=True):
        for name in ESTIMATORS:
            mean, error = np.array(measured[name]["mean"]), np.array(measured[name]["error"])
            seen = mean > 1e-9  # PES-A is exact for one unroll, which a log scale can't show.
            axes.plot(unrolls, measured[name]["predicted"], color=COLOURS[name], linewidth=1, alpha=0.6)
            axes.errorbar(
                np.array(unrolls)[seen],
                mean[seen],
                2 * error[seen],
                color=COLOURS[name],
                linestyle="none",
                marker=MARKS[name],
                markersize=5,
                label=name,
            )
        axes.set(xscale="log", yscale="log", xlabel="unrolls per episode", title=f"{text} characters")
        tidy(axes)
    first = figure.axes[0]
    first.set_ylim(1e-4, 3e3)  # Smaller variances of PES-A are negligible.
    first.set_ylabel("variance / |gradient|², 500 pairs")
    first.legend(frameon=False, title="dots measured,\nlines predicted")
    return figure
