"""Training of a swimmer's linear policy by full, truncated and persistent evolution strategies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from meta_train import NRES, PES, ConstantHorizon, FullES, SumLoss, TruncatedES, run_episode, systems

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import train_one

HORIZON, WINDOW, PAIRS = 1000, 100, 10
METHODS: dict[str, type[Any]] = {
    "full ES": FullES,
    "truncated ES": TruncatedES,
    "PES": PES,
    "NRES": NRES,
}
_REACHED = 0.9  # Of the final return of full ES.


@experiment("control")
def control(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Compare estimators on a control task of 1000 steps.

    Setting: a swimmer of three links in viscous fluid (`systems.Swimmer`), a linear policy of 2 x 8 weights
        that starts at zero, 10 antithetic pairs in lockstep, plain stochastic gradient descent. Full ES
        updates once per episode, the others every 100 steps. Each method has the same grid of learning rates
        and sigmas. The results are those of the setting with the highest mean return over the whole run, on
        other seeds. A return is the distance swum, averaged over 10 fresh episodes, in link lengths divided
        by 0.04. Environment steps count every member of every pair.

    Shows: truncated ES is worse than PES and full ES, as in the paper for MuJoCo's swimmer, but learns to
        swim. In the paper, PES needs fewer environment steps than full ES; here the two are equal within the
        spread of seeds. NRES is the fastest for most seeds, and may fail on one seed at the chosen rate. This
        swimmer has no inertia, so a policy that is good over 100 steps is probably closer to one that is good
        over 1000.

    Time on 2 cores: 3 minutes; quick: 50 seconds.

    References: Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835), the experiment on continuous control;
        Vicol, Kolter, Swersky 2023 (arXiv 2304.11153), the same for ES-Single, which is NRES.
    """
    rates = (3e-3, 1e-2) if quick else (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    sigmas = (0.3,) if quick else (0.1, 0.3)
    seeds, episodes = (3, 20) if quick else (6, 50)
    runs = {}
    for name, method in METHODS.items():
        grid = {}
        for sigma in sigmas:
            estimator = method(ConstantHorizon(HORIZON), WINDOW, SumLoss(), phase="lockstep", sigma=sigma)
            returns = np.asarray(_train(estimator, jnp.asarray(rates), episodes, seeds, jax.random.key(0)))
            grid |= {(sigma, rate): returns[i] for i, rate in enumerate(rates)}
        best = max(grid, key=lambda choice: grid[choice].mean())
        estimator = method(ConstantHorizon(HORIZON), WINDOW, SumLoss(), phase="lockstep", sigma=best[0])
        # Fresh seeds, because the returns of the best of a grid are biased by the selection.
        returns = _train(estimator, jnp.asarray(best[1:]), episodes, 2 * seeds, jax.random.key(77))[0]
        returns = np.asarray(returns)
        runs[name] = {"sigma": best[0], "learning rate": best[1], "returns": returns, "grid": grid}
        tell(f"{name}: {returns[:, -1].mean():.1f} with sigma {best[0]}, learning rate {best[1]}")
    steps = 2 * PAIRS * HORIZON * np.arange(1, episodes + 1)
    reached = _steps_to_reach(runs, steps)
    return Outcome(
        settings={
            "horizon": HORIZON,
            "window": WINDOW,
            "pairs": PAIRS,
            "seeds": f"{seeds} to choose, {2 * seeds} others to show",
            "learning rates": rates,
            "sigmas": sigmas,
        },
        columns=[
            "method",
            "sigma",
            "learning rate",
            "last return",
            "sd over seeds",
            "mean return",
            "steps to 90% of full ES",
        ],
        rows=[_row(name, run, reached[name]) for name, run in runs.items()],
        checks=_checks(runs),
        figures={"control": _figure(runs, steps)},
        data={
            "steps": steps.tolist(),
            "returns": {name: run["returns"].tolist() for name, run in runs.items()},
            "mean returns": {
                name: {f"sigma {s}, rate {r}": float(x.mean()) for (s, r), x in run["grid"].items()}
                for name, run in runs.items()
            },
        },
    )


@functools.partial(jax.jit, static_argnames=("estimator", "episodes", "seeds"))
def _train(
    estimator: Any, rates: Float[Array, " rates"], episodes: int, seeds: int, key: Key[Array, ""]
) -> Float[Array, "rates seeds episodes"]:
    """Train with each learning rate and seed; return the returns after each episode's number of steps."""
    swimmer, every = systems.Swimmer(), HORIZON // estimator.unrolled

    def run(rate: Float[Array, ""], key: Key[Array, ""]) -> Float[Array, " episodes"]:
        evaluate = functools.partial(_evaluate, swimmer)
        theta, outer = jnp.zeros((2, 8)), optax.sgd(rate)
        return train_one(swimmer, estimator, outer, theta, key, PAIRS, episodes, every, evaluate)[0][1:]

    over_seeds = jax.vmap(run, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(rates, jax.random.split(key, seeds))


def _evaluate(swimmer: systems.Swimmer, theta: Float[Array, "2 8"]) -> Float[Array, ""]:
    """Return the mean return of a policy over fixed episodes."""

    def episode(key: Key[Array, ""]) -> Float[Array, ""]:
        return -run_episode(swimmer, SumLoss(), theta, HORIZON, key)[0].objective

    return jnp.mean(jax.vmap(episode)(jax.random.split(jax.random.key(1), 10)))


def _steps_to_reach(runs: dict[str, Any], steps: np.ndarray) -> dict[str, float]:
    """Return the steps at which each method's mean return first is nine tenths of full ES's final return."""
    goal = _REACHED * runs["full ES"]["returns"].mean(0)[-5:].mean()
    reached = {name: run["returns"].mean(0) >= goal for name, run in runs.items()}
    return {name: float(steps[np.argmax(r)]) if r.any() else float("inf") for name, r in reached.items()}


def _row(name: str, run: dict[str, Any], reached: float) -> list[str]:
    last = run["returns"][:, -5:].mean(1)
    return [
        name,
        f"{run['sigma']:g}",
        f"{run['learning rate']:g}",
        f"{last.mean():.1f}",
        f"{last.std(ddof=1):.1f}",
        f"{run['returns'].mean():.1f}",
        f"{reached:,.0f}",
    ]


def _checks(runs: dict[str, Any]) -> list[Check]:
    paper = "arXiv 2112.13835, continuous control"
    last = {name: run["returns"][:, -5:].mean() for name, run in runs.items()}
    means = {name: run["returns"].mean() for name, run in runs.items()}
    return [
        Check(
            "full ES learns to swim: last return", float(last["full ES"]), low=80.0, reference="this swimmer"
        ),
        Check("PES, last return over that of full ES", float(last["PES"] / last["full ES"]), 0.9, 1.3, paper),
        Check(
            "NRES, last return over that of full ES", float(last["NRES"] / last["full ES"]), 0.9, 1.3, paper
        ),
        Check(
            "PES, mean return over that of full ES", float(means["PES"] / means["full ES"]), 0.9, 1.3, paper
        ),
        Check(
            "truncated ES, mean return over that of PES",
            float(means["truncated ES"] / means["PES"]),
            high=1.0,
            reference=paper,
        ),
    ]


def _figure(runs: dict[str, Any], steps: np.ndarray) -> Any:
    figure = make_figure(7.5, 4.5)
    axes = figure.subplots()
    for (name, run), colour in zip(runs.items(), COLOURS, strict=False):
        returns = run["returns"]
        label = f"{name} (σ {run['sigma']:g}, rate {run['learning rate']:g})"
        axes.plot(steps, returns.mean(0), color=colour, linewidth=2, label=label)
        axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.12, linewidth=0)
    seeds = len(runs["PES"]["returns"])
    axes.set(
        xlabel="environment steps, all members counted",
        ylabel="return",
        title=f"Swimmer, linear policy: mean and range of {seeds} seeds",
    )
    axes.legend(frameon=False, loc="lower right")
    tidy(axes)
    return figure
