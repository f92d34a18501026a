"""The copy task: which estimators learn dependencies longer than the window."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from meta_train import NRES, PES, Dynamics, Estimator, Horizon, TruncatedBPTT, TruncatedES, systems

from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy

HIDDEN, BATCH, PAIRS, SIGMA, SEEDS = 16, 8, 48, 0.1, 3
LONGEST = 64
_POINTS = 30  # Number of points of each curve.
_THRESHOLD, _DECAY, _SPREAD = 0.15, 0.98, 5


@dataclasses.dataclass(frozen=True)
class Curriculum(Horizon):
    """Lengths for copying `level` bits or up to five fewer: two steps per bit, in whole windows.

    The level is passed in place of the meta-step.

    Attributes:
        window: inner steps per window.
    """

    window: int

    def sample(self, key: Key[Array, ""], window: int, meta_step: Int[Array, ""]) -> Int[Array, ""]:
        """Draw a number of bits, double it, and round it up to whole windows."""
        bits = jax.random.randint(key, (), jnp.maximum(meta_step - _SPREAD, 1), meta_step + 1)
        return -(-2 * bits // window) * window

    def bounds(self) -> tuple[int, int]:
        """Return the lengths for one bit and for the largest number of bits."""
        return -(-2 // self.window) * self.window, 2 * LONGEST


class Pupil(NamedTuple):
    """The state of a run between two meta-steps."""

    theta: Any
    outer: Any
    particles: Any
    level: Int[Array, ""]
    """Number of bits to copy, one more than learned so far."""
    error: Float[Array, ""]
    """Moving average of bits per character at this level."""


@experiment("copy")
def copy_task(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Compare the lengths of sequences learned by truncated and by persistent estimators.

    Setting: copy random bits with an LSTM of 16 units (1,361 parameters), batch 8, 48 antithetic pairs (48
    episodes for backpropagation), sigma 0.1, Adam. Sequences have `level` bits or up to five fewer; the level
    is raised by one when the moving average of bits per character is below 0.15. Every method has the same
    number of inner steps. The published setting has 100 units, batch 32, 500 pairs and truncations of 25 and
    50; both are scaled down here.

    Shows: the largest number of bits that each method has learned to copy. With windows of one step, NRES and
    PES learn longer sequences than truncated ES and truncated backpropagation, which give no credit to
    earlier windows and only get as far as an untrained memory allows. NRES also learns longer sequences than
    truncated ES with windows of 4 steps and backpropagation through 2; PES, whose variance is larger, learns
    about as long ones.

    Time on 2 cores: 7 minutes; quick: 50 seconds.

    References: Mujika, Meier, Steger 2018 (arXiv 1805.10842), the task and its curriculum; Vicol, Kolter,
        Swersky 2023 (arXiv 2304.11153), the comparison.
    """
    inner_steps = 3_000 if quick else 15_000
    methods: dict[str, tuple[type[Any], int]] = {
        "NRES, window 1": (NRES, 1),
        "truncated ES, window 1": (TruncatedES, 1),
        "TBPTT, window 1": (TruncatedBPTT, 1),
    }
    if not quick:
        methods |= {
            "PES, window 1": (PES, 1),
            "truncated ES, window 4": (TruncatedES, 4),
            "TBPTT, window 2": (TruncatedBPTT, 2),
        }
    dynamics = systems.CopyTask(batch=BATCH, longest=LONGEST)
    learnt = {}
    for name, (method, window) in methods.items():
        noise: dict[str, Any] = {} if method is TruncatedBPTT else {"sigma": SIGMA}
        estimator = method(Curriculum(window), window, phase="lockstep", **noise)
        every = inner_steps // window // _POINTS
        learnt[name] = np.asarray(_learn(estimator, dynamics, _rate(method), every, jax.random.key(0))) - 1
        tell(f"{name}: {learnt[name][:, -1].tolist()} bits")
    steps = inner_steps // _POINTS * np.arange(1, _POINTS + 1)
    return Outcome(
        settings={
            "hidden units": HIDDEN,
            "batch": BATCH,
            "pairs": PAIRS,
            "sigma": SIGMA,
            "inner steps per member": inner_steps,
            "learning rate": f"{_rate(NRES)}; PES and TBPTT {_rate(PES)}",
        },
        columns=["method", "bits learnt", "at half time", *(f"seed {seed}" for seed in range(SEEDS))],
        rows=[
            [name, f"{bits[:, -1].mean():.1f}", f"{_half(bits):.1f}", *map(str, bits[:, -1])]
            for name, bits in learnt.items()
        ],
        checks=_checks(learnt),
        figures={"copy": _figure(learnt, steps)},
        data={"steps": steps.tolist(), "bits": {name: bits.tolist() for name, bits in learnt.items()}},
    )


def _rate(method: type[Any]) -> float:
    # The best of three or four rates between 3e-3 and 3e-2, in manual short runs.
    return 1e-2 if method in (TruncatedBPTT, PES) else 1.5e-2


@functools.partial(jax.jit, static_argnames=("estimator", "every"))
def _learn(
    estimator: Estimator, dynamics: Dynamics, rate: float, every: int, key: Key[Array, ""]
) -> Int[Array, "seeds points"]:
    """Train with each seed; return the level after every `every` meta-steps."""
    outer = optax.adam(rate)

    def run(key: Key[Array, ""]) -> Int[Array, " points"]:
        theta_key, key = jax.random.split(key)
        theta: Any = systems.Copyist.create(theta_key, HIDDEN)
        particle = estimator.init(dynamics, theta)
        particles = jax.tree.map(lambda x: jnp.repeat(x[None], PAIRS, axis=0), particle)
        pupil = Pupil(theta, outer.init(theta), particles, jnp.ones((), jnp.int32), jnp.ones(()))

        def meta_step(i: Array, pupil: Pupil) -> Pupil:
            keys = jax.random.split(jax.random.fold_in(key, i), PAIRS)
            step = lambda p, k: estimator.step(dynamics, pupil.theta, p, k, pupil.level)  # noqa: E731
            particles, estimates = jax.vmap(step)(pupil.particles, keys)
            gradient = jax.tree.map(lambda g: jnp.mean(g, axis=0), estimates.gradient)
            with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
                updates, outer_state = outer.update(gradient, pupil.outer, pupil.theta)
            theta = optax.apply_updates(pupil.theta, updates)
            learnt, error = _examine(pupil.error, estimates.metrics)
            level = jnp.minimum(pupil.level + learnt.astype(jnp.int32), LONGEST)
            return Pupil(theta, outer_state, particles, level, jnp.where(learnt, 1.0, error))

        def point(pupil: Pupil, number: Array) -> tuple[Pupil, Array]:
            pupil = jax.lax.fori_loop(number * every, (number + 1) * every, meta_step, pupil)
            return pupil, pupil.level

        return jax.lax.scan(point, pupil, jnp.arange(_POINTS))[1]

    return jax.vmap(run)(jax.random.split(key, SEEDS))


def _examine(error: Float[Array, ""], metrics: dict[str, Any]) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Return whether the level is learned, and the moving average of bits per character."""
    finished = jnp.sum(metrics["finished"])
    bits = jnp.sum(metrics["objective"]) / jnp.maximum(finished, 1)
    error = jnp.where(finished > 0, _DECAY * error + (1 - _DECAY) * bits, error)
    return error < _THRESHOLD, error


def _half(bits: np.ndarray) -> float:
    return float(bits[:, bits.shape[1] // 2 - 1].mean())


def _checks(learnt: dict[str, np.ndarray]) -> list[Check]:
    last = {name: float(bits[:, -1].mean()) for name, bits in learnt.items()}
    reference = "ES-Single, arXiv 2304.11153, copy task"
    truncated = [name for name in last if name.startswith("truncated ES") or name == "TBPTT, window 1"]
    checks = []
    for method in ("NRES, window 1", "PES, window 1"):
        # PES, with its larger variance, is not required to beat windows four times as long.
        others = [name for name in truncated if name.endswith("1") or method.startswith("NRES")]
        checks += [
            Check(
                f"{method}, bits more than {other}", last[method] - last[other], low=0.9, reference=reference
            )
            for other in others
            if method in last
        ]
    for name in truncated:
        checks.append(Check(f"{name}, bits", last[name], high=3.5, reference="plateau near the window"))
    if "PES, window 1" in last:
        gap = last["NRES, window 1"] - last["PES, window 1"]
        checks.append(Check("NRES, bits more than PES", gap, low=0.0, reference=reference))
    return checks


def _figure(learnt: dict[str, np.ndarray], steps: np.ndarray) -> Any:
    figure = make_figure(7.5, 4.5)
    axes = figure.subplots()
    for (name, bits), colour in zip(learnt.items(), COLOURS, strict=False):
        axes.plot(steps, bits.mean(0), color=colour, linewidth=2, label=name)
        axes.fill_between(steps, bits.min(0), bits.max(0), color=colour, alpha=0.12, linewidth=0)
    axes.set(
        xlabel="inner steps per member",
        ylabel="bits learnt to copy",
        title=f"Copy task: mean and range of {SEEDS} seeds",
    )
    axes.legend(frameon=False)
    tidy(axes)
    return figure
