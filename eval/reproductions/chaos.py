"""Gradients through chaos: exact ones explode, smoothed ones are useful."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from meta_train import (
    BPTT,
    DODGE,
    NRES,
    PES,
    UORO,
    ConstantHorizon,
    Estimator,
    FullES,
    MeanLoss,
    TruncatedBPTT,
    TruncatedES,
    run_episode,
    systems,
)

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .training import Curve, meta_train

STEPS, WINDOW, SIGMA, PAIRS = 2000, 100, 0.04, 4000
WINDOWS = STEPS // WINDOW
LENGTHS = (100, 200, 500, 1000, 1500, 2000)
PAPER = "Li et al. 2023 (arXiv 2304.12180)"


@dataclasses.dataclass(frozen=True)
class Method:
    """A training run. Each takes about 40,000 inner steps per meta-step, except those without pairs."""

    estimator: Estimator
    learning_rate: float
    particles: int = 200
    drop_after: int | None = None

    @property
    def outer(self) -> optax.GradientTransformation:
        """Gradient descent."""
        # The published rates are for the mean over a window, which is larger than its share of an episode's
        # mean.
        rate = self.learning_rate * (1 if self.estimator.whole_episodes else WINDOWS)
        if self.drop_after is None:
            return optax.sgd(rate)
        return optax.sgd(optax.piecewise_constant_schedule(rate, {self.drop_after: 0.1}))


def _make(kind: type[Estimator], window: int = WINDOW, **options: Any) -> Estimator:
    return kind(
        horizon=ConstantHorizon(STEPS), window=window, objective=MeanLoss(), phase="random", **options
    )


METHODS = {
    "BPTT": Method(_make(BPTT, STEPS), 1e-8, 1),
    "TBPTT": Method(_make(TruncatedBPTT), 3e-4),
    "UORO": Method(_make(UORO), 1e-13, 20),
    "DODGE": Method(_make(DODGE), 1e-10),
    "full ES": Method(_make(FullES, STEPS, sigma=SIGMA), 3e-5, 10),
    "truncated ES": Method(_make(TruncatedES, sigma=SIGMA), 3e-4),
    "PES": Method(_make(PES, sigma=SIGMA), 1e-5, drop_after=1000),
    "NRES": Method(_make(NRES, sigma=SIGMA), 1e-5),
}


@experiment("chaos")
def chaos(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Match a Lorenz trajectory: exact and smoothed gradients, variances, and training.

    Setting: two parameters, 2000 Euler steps of 0.005, windows of 100, the mean of the squared distance of
    heights, sigma 0.04; variances are those of one pair, from 4000. Training is by gradient descent at the
    published rates, with 200 pairs at random phases (10 for full ES), for 1500 meta-steps instead of up to
    10000 in the original, with 3 seeds. It is evaluated by the loss smoothed with 64 fixed draws.

    Shows: the exact gradient grows exponentially with the horizon, the smoothed one does not. Per window,
        NRES has a smaller variance than PES. In training, exact gradients make no progress, and truncated
        ones end with a higher loss than full ES and NRES.

    Time on 2 cores: 1 minute; quick: 20 seconds.

    References: Li, Harrison, Sohl-Dickstein, Smith, Metz 2023 (arXiv 2304.12180); Metz, Freeman, Schoenholz,
        Kachman 2021, Gradients are not all you need (arXiv 2111.05803).
    """
    pairs = 500 if quick else PAIRS
    with jax.enable_x64(True):
        system, theta = systems.Lorenz.create(STEPS), jnp.asarray(systems.GUESS)
        norms = {steps: _norms(system, theta, steps, pairs) for steps in LENGTHS}
        tell("gradients: done")
        losses, variances = _variances(system, theta, pairs)
        losses["at the start"] = float(_mean_loss(system, theta, STEPS))
        losses["smoothed, around the truth"] = float(_smoothed(system, jnp.asarray(systems.TRUTH), 2048))
        tell("variances: done")
        curves = {}
        for name, method in METHODS.items():
            if not quick or name in ("TBPTT", "NRES"):
                curves[name] = _run(system, method, theta, 210 if quick else 1500)
                tell(f"{name}: {_range(curves[name].values[:, -1])}")
    rows = [
        [f"|gradient|, {n} steps", f"{e:.3g}", f"smoothed: {s:.3g} ± {r:.1g}"]
        for n, (e, s, r) in norms.items()
    ]
    rows += [[f"variance, {name}", f"{v:.3g}", REFERENCES[name]] for name, v in variances.items()]
    rows += [[f"loss, {name}", f"{v:.4f}", REFERENCES.get(name, "")] for name, v in losses.items()]
    rows += [
        [
            f"trained by {name}",
            _range(curve.values[:, -1]),
            f"smoothed loss; {curve.values[0, 0]:.0f} at first",
        ]
        for name, curve in curves.items()
    ]
    return Outcome(
        settings={"T": STEPS, "window": WINDOW, "sigma": SIGMA, "pairs sampled": pairs, "outer": "SGD"},
        columns=["quantity", "measured", "independent re-run, or what it is"],
        rows=rows,
        checks=_checks(norms, losses)
        + ([] if quick else _variance_checks(variances) + _training_checks(curves)),
        figures={"chaos": _figure(norms, curves)},
        data={
            "norms": {n: dict(zip(("exact", "smoothed", "error"), v, strict=True)) for n, v in norms.items()},
            "variances": variances,
            "losses": losses,
            "curves": {name: curve.as_data() for name, curve in curves.items()},
        },
    )


REFERENCES = {
    "full ES, an episode": "3.9e6",
    "PES, an episode": "5.2e6",
    "NRES, a window": "1.35e7",
    "PES, a window": "1.5e8",
    "at the start": "353.2994",
    "smoothed by NRES": "325 ± 1",
    "smoothed by PES": "330 ± 1",
    "smoothed, around the truth": "about 56",
}


@functools.partial(jax.jit, static_argnames=("steps",))
def _mean_loss(system: Any, theta: Array, steps: int) -> Float[Array, ""]:
    return run_episode(system, MeanLoss(), theta, steps, jax.random.key(0))[0].objective


def _norms(system: Any, theta: Array, steps: int, pairs: int) -> tuple[float, float, float]:
    """Return the norms of the exact and the smoothed gradient, and the latter's standard error."""
    exact = jax.jit(jax.grad(_mean_loss, argnums=1), static_argnums=2)(system, theta, steps)
    estimator = FullES(ConstantHorizon(steps), steps, sigma=SIGMA)
    samples, _ = _sample(estimator, system, theta, jax.random.split(jax.random.key(1), pairs))
    error = np.sqrt(samples.var(axis=0, ddof=1).sum() / pairs)
    return float(jnp.linalg.norm(exact)), float(np.linalg.norm(samples.mean((0, 1)))), float(error)


def _sample(estimator: Estimator, system: Any, theta: Array, keys: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the estimates [pairs, windows, P] of an episode of each pair, and the pairs' objectives."""
    windows = 1 if estimator.whole_episodes else estimator.horizon.bounds()[1] // estimator.window

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, None, 0))
    def pair(system: Any, theta: Array, key: Array) -> tuple[Array, Array]:
        def window(state: Any, key: Array) -> tuple[Any, tuple[Array, Array]]:
            state, estimate = estimator.step(system, theta, state, key, jnp.zeros((), jnp.int32))
            return state, (estimate.gradient, estimate.metrics["objective"])

        state = estimator.init(system, theta)
        _, (gradients, objectives) = jax.lax.scan(window, state, jax.random.split(key, windows))
        return gradients, objectives[-1]

    gradients, objectives = pair(system, theta, keys)
    return np.asarray(gradients), np.asarray(objectives)


def _variances(system: Any, theta: Array, pairs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return smoothed losses and one pair's variances, of an episode and of a random window times J."""
    losses, variances = {}, {}
    for name, kind in (("NRES", NRES), ("PES", PES)):
        estimator = kind(ConstantHorizon(STEPS), WINDOW, phase="lockstep", sigma=SIGMA)
        samples, objectives = _sample(estimator, system, theta, jax.random.split(jax.random.key(2), pairs))
        whole = samples.sum(1)
        # The sum of a noise-reusing pair's windows is a full ES estimate.
        episode = f"{'full ES' if name == 'NRES' else name}, an episode"
        variances[episode] = float(whole.var(axis=0, ddof=1).sum())
        squares = WINDOWS**2 * np.mean(np.sum(samples**2, axis=-1))
        variances[f"{name}, a window"] = float(squares - np.sum(whole.mean(0) ** 2))
        losses[f"smoothed by {name}"] = float(objectives.mean())
    return losses, variances


def _smoothed(system: Any, theta: Array, draws: int) -> Array:
    """Return the mean loss over an episode, smoothed with fixed draws."""
    noise = SIGMA * jax.random.normal(jax.random.key(3), (draws // 2, *theta.shape), theta.dtype)
    around = theta[None] + jnp.concatenate([noise, -noise])
    return jnp.mean(jax.vmap(lambda t: _mean_loss(system, t, STEPS))(around))


def _run(system: Any, method: Method, theta: Array, meta_steps: int) -> Curve:
    return meta_train(
        system,
        method.estimator,
        method.outer,
        theta,
        particles=method.particles,
        meta_steps=meta_steps,
        every=meta_steps // 30,
        evaluate=lambda theta: _smoothed(system, theta, 64),
        seeds=1 if isinstance(method.estimator, BPTT) else 3,
    )


def _checks(norms: dict[int, tuple[float, float, float]], losses: dict[str, float]) -> list[Check]:
    published = {100: 3.18e3, 500: 9.6e2, 1000: 3.44e4, 2000: 9.84e5}
    exact, smoothed, _ = norms[STEPS]
    return [
        *(
            Check(f"|exact gradient|, {n} steps", norms[n][0], 0.99 * value, 1.01 * value)
            for n, value in published.items()
        ),
        Check("2000 steps: |exact gradient| over |smoothed gradient|", exact / smoothed, low=100),
        Check("loss at the start", losses["at the start"], 353.2993, 353.2995),
        Check("smoothed loss at the start", losses["smoothed by NRES"], 322, 328),
        Check("the same with a draw per window", losses["smoothed by PES"], 327, 333),
    ]


def _variance_checks(variances: dict[str, float]) -> list[Check]:
    return [
        Check("variance of full ES", variances["full ES, an episode"], 3.1e6, 4.7e6),
        Check("variance of PES, an episode", variances["PES, an episode"], 4.2e6, 6.2e6),
        Check("variance of NRES, a window", variances["NRES, a window"], 1.08e7, 1.62e7, PAPER),
        Check("variance of PES, a window", variances["PES, a window"], 1.2e8, 1.8e8, PAPER),
    ]


def _training_checks(curves: dict[str, Curve]) -> list[Check]:
    first = float(curves["NRES"].values[0, 0])
    share = lambda name, pick: float(pick(curves[name].values[:, -1])) / first  # noqa: E731
    promise = "smoothed loss over that at first"
    return [
        Check(f"NRES, worst seed: {promise}", share("NRES", np.max), high=0.5, reference=PAPER),
        Check(f"full ES, worst seed: {promise}", share("full ES", np.max), high=0.5, reference=PAPER),
        Check(f"BPTT: {promise}", share("BPTT", np.min), low=0.5, reference=PAPER),
    ]


def _range(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{values.min():.1f} to {values.max():.1f}"


def _figure(norms: dict[int, tuple[float, float, float]], curves: dict[str, Curve]) -> Any:
    figure = make_figure(12, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    exact, smoothed, error = np.array(list(norms.values())).T
    left.plot(LENGTHS, exact, marker="o", color=COLOURS[1], label="exact (BPTT)")
    left.errorbar(
        LENGTHS, smoothed, 2 * error, marker="s", color=COLOURS[0], label="smoothed, sigma 0.04", capsize=3
    )
    left.set(yscale="log", xlabel="steps", ylabel="norm of the gradient", title="At the first theta")
    left.legend(frameon=False)
    for name, colour in zip(curves, COLOURS, strict=False):
        curve = curves[name]
        for number, values in enumerate(curve.values):
            right.plot(curve.meta_steps, values, color=colour, linewidth=1.3, label=None if number else name)
    right.set(xlabel="meta-steps", ylabel="smoothed loss", title="Training: one line per seed")
    for axes in (left, right):
        tidy(axes)
    right.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
