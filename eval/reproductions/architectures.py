"""All architectures after equal meta-training: loss against inner steps and seconds on three tasks."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lopt
import tasks
from meta_train import Options, RunDirectory, Trainer, build

from ..training.curves import run_keys, stack, sweep_curves
from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy

TRAINED_ON, TASKS = "digits-mlp", ("digits-mlp", "procedural-mlp", "friedman-mlp-family")
META_STEPS, PARTICLES, WINDOW, STEPS, SEEDS = 120, 16, 20, 200, 3
MARGIN = 0.98
"""Bound on the meta-loss after meta-training, as a share of that before. Both are of the same episodes."""
_QUICK = ("learnable-adam", "adafactor-mlp")
_USUAL: dict[str, Any] = {"sigma": 0.01, "learning_rate": 3e-3}
_FEW_NUMBERS: dict[str, Any] = {"sigma": 0.1, "learning_rate": 0.05}
_AROUND_A_STEP: dict[str, Any] = {"sigma": 0.05, "learning_rate": 1.5e-3}
SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("learnable-sgd", "learnable-adam", "learnable-nadamw"), _FEW_NUMBERS),
    **dict.fromkeys(("star", "muon-star"), _AROUND_A_STEP),
    **dict.fromkeys(("adafactor-mlp", "celo2", "celo2-base"), _USUAL | {"learning_rate": 1e-2}),
    "velo": _USUAL | {"learning_rate": 1e-3, "optimizer_options": ("lstm_size=32", "bank_size=16")},
}
"""Noise, outer rate and sizes of the architectures that differ from the usual: rules of a few numbers, those
that correct a good step, tiny networks, and VeLO, which is made a hundred times smaller."""


@dataclasses.dataclass(frozen=True)
class MetaTrained:
    """An architecture before and after meta-training.

    Attributes:
        start: the untrained theta.
        theta: the trained one.
        before: meta-loss of the untrained theta, on fixed episodes.
        after: meta-loss of the trained one, on the same episodes.
        seconds: of meta-training, with compilation.
    """

    start: lopt.LearnedOptimizer
    theta: lopt.LearnedOptimizer
    before: float
    after: float
    seconds: float


@experiment("architectures")
def architectures(quick: bool, tell: Callable[[str], None]) -> Outcome:
    """Meta-train every architecture by PES for equally many inner steps, and train three tasks with each.

    Setting: a perceptron of one hidden layer on 8 x 8 digits, horizons log-uniform from 100 to 200, windows
    of 20, 16 particles, the mean training loss, 120 meta-steps: 76,800 inner steps, a minute or less. Each
    rule then trains 3 seeds of the same task, of procedural curves and of a regression for 200 inner steps,
    with the untrained and the trained theta. Seconds are those of one of these six runs, done side by side on
    one core.

    Shows: what a minute of meta-training makes of each architecture from its untrained start, and what its
        steps cost. It does not show what an architecture can become: that takes a thousand times as long.

    Time on 2 cores: 20 minutes; quick: two architectures, a minute.

    References: those of the architectures.
    """
    names = _QUICK if quick else sorted(lopt.ARCHITECTURES)
    found = {}
    for name in names:
        found[name] = compare(name, META_STEPS // 20 if quick else META_STEPS)
        tell(f"{name}: {found[name]['before']:.4f} to {found[name]['after']:.4f}")
    return outcome_of(found, checked=not quick)


def meta_trained(name: str, meta_steps: int = META_STEPS) -> MetaTrained:
    """Meta-train an architecture through the trainer, from its untrained start.

    Args:
        name: the architecture.
        meta_steps: length of the run.
    """
    given: dict[str, Any] = _USUAL | SETTINGS.get(name, {})
    run = Options.of(
        task=(TRAINED_ON,),
        optimizer=name,
        window=WINDOW,
        horizon_low=STEPS // 2,
        horizon_high=STEPS,
        particles=PARTICLES,
        warmup=10,
        steps=meta_steps,
        validate_every=meta_steps,
        validation_episodes=8,
        reference_rates=0,
        hysteresis_particles=0,
        devices=1,
        **given,
    ).run()
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder, "run"))
        directory.open(run, "architectures")
        parts = build(run)
        start = jax.device_get(parts.theta)
        trainer = Trainer(run, directory, parts)
        began = time.perf_counter()
        judged = [
            float(record.values["meta/valid_objective"])  # type: ignore[arg-type]
            for record in trainer.records()
            if "meta/valid_objective" in record.values
        ]
        trainer.close()
        seconds = time.perf_counter() - began
        return MetaTrained(start, jax.device_get(trainer.theta), judged[0], judged[-1], seconds)


def compare(name: str, meta_steps: int = META_STEPS) -> dict[str, Any]:
    """Meta-train an architecture, and train on the tasks with its untrained and its trained theta.

    Returns:
        Plain numbers: `before`, `after`, `seconds`, `size` of theta, and for each of `tasks` the mean
        training loss over seeds at every step, `untrained` and `trained`, and the seconds of a step.
    """
    rule = meta_trained(name, meta_steps)
    curves = {}
    for task in TASKS:
        rules, problem, keys = stack([rule.start, rule.theta]), tasks.build(task), run_keys(0, SEEDS, task)

        def train(rules: Any = rules, problem: Any = problem, keys: Any = keys) -> np.ndarray:
            return sweep_curves(rules, problem, STEPS, keys, points=1, batches=1, with_accuracy=False).train

        losses = train()
        began = time.perf_counter()
        train()
        taken = (time.perf_counter() - began) / (STEPS * 2 * SEEDS)
        mean = [[float(x) for x in np.mean(one, axis=0)] for one in losses]
        curves[task] = {"untrained": mean[0], "trained": mean[1], "seconds_per_step": taken}
    return {
        "before": rule.before,
        "after": rule.after,
        "seconds": rule.seconds,
        "size": lopt.theta_size(rule.theta),
        "tasks": curves,
    }


def outcome_of(found: Mapping[str, Any], checked: bool = True) -> Outcome:
    """Return the table, figure and checks of what `compare` returned for some architectures."""
    rows = [
        [
            name,
            f"{one['size']:,}",
            f"{one['seconds']:.0f}",
            *(f"{one[key]:.3f}" for key in ("before", "after")),
            *(f"{_end(one, task, 'untrained'):.3g} to {_end(one, task, 'trained'):.3g}" for task in TASKS),
            f"{1e3 * one['tasks'][TRAINED_ON]['seconds_per_step']:.2f}",
        ]
        for name, one in found.items()
    ]
    ratios = {name: one["after"] / one["before"] for name, one in found.items()}
    checks = [
        Check(f"{name}: meta-loss, after over before", ratio, high=MARGIN) for name, ratio in ratios.items()
    ]
    return Outcome(
        settings={
            "trained on": TRAINED_ON,
            "meta-steps": META_STEPS,
            "particles": PARTICLES,
            "window": WINDOW,
            "T": STEPS,
        },
        columns=["architecture", "theta", "seconds", "meta-loss before", "after", *TASKS, "ms a step"],
        rows=rows,
        checks=checks if checked else [],
        figures={"architectures": _figure(found)},
        data=found,
    )


def _end(one: Mapping[str, Any], task: str, which: str) -> float:
    """Return the mean loss of the last tenth of the steps."""
    return float(np.mean(one["tasks"][task][which][-STEPS // 10 :]))


def _figure(found: Mapping[str, Any]) -> Any:
    figure = make_figure(11, 7)
    axes = figure.subplots(2, len(TASKS))
    for number, (name, one) in enumerate(sorted(found.items())):
        colour, dashes = COLOURS[number % len(COLOURS)], ("-", "--")[number // len(COLOURS)]
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.2, "label": name}
        for column, task in enumerate(TASKS):
            curve = _smooth(np.asarray(one["tasks"][task]["trained"]))
            steps = np.arange(1, len(curve) + 1)
            axes[0, column].plot(steps, curve, **style)
            axes[1, column].plot(steps * one["tasks"][task]["seconds_per_step"], curve, **style)
    for column, task in enumerate(TASKS):
        axes[0, column].set_title(task, loc="left")
        axes[0, column].set(yscale="log", xlabel="inner steps")
        axes[1, column].set(yscale="log", xscale="log", xlabel="seconds on one core")
        # A rule that diverges leaves the picture, and does not squeeze the others. The scale is logarithmic
        # by now, so that the lower limit is.
        highest = 3 * max(one["tasks"][task]["trained"][0] for one in found.values())
        axes[0, column].set_ylim(top=highest)
        axes[1, column].set_ylim(top=highest)
        for row in range(2):
            tidy(axes[row, column])
    for row in range(2):
        axes[row, 0].set_ylabel("training loss")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center", fontsize=8)
    return figure


def _smooth(curve: np.ndarray, width: int = 10) -> np.ndarray:
    """Return the mean over the last steps up to each, and over fewer at the beginning."""
    total = np.cumsum(np.insert(np.nan_to_num(curve, nan=np.inf), 0, 0.0))
    ends = np.arange(1, len(curve) + 1)
    starts = np.maximum(ends - width, 0)
    return (total[ends] - total[starts]) / (ends - starts)
