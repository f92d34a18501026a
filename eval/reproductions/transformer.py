"""A character transformer of a million parameters: learned optimizers, untuned, against tuned baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import lopt
import tasks
from lopt import LearnedOptimizer

from ..training import optimizers as known
from ..training.baselines import Baseline
from ..training.curve_metrics import diverged, mean_loss
from ..training.curves import run_keys, stack
from .experiment import COLOURS, Check, Outcome, experiment, make_figure, tidy
from .races import SweptRuns, race

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMIZERS = ("small",)
MODULES = (
    *("ast", "collections", "dataclasses", "_pydecimal", "enum", "inspect", "ipaddress", "mailbox", "pdb"),
    *("pickle", "pickletools", "platform", "pydoc", "random", "shutil", "smtplib", "socket", "ssl"),
    *("subprocess", "threading", "traceback", "typing", "zipfile", "_pyio"),
)
"""The text: long modules of Python's library that no registered task reads."""
LOSSES = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
"""Losses that are marked in the figure."""
POINTS = 150
"""Points of a curve: the means of equally many inner steps."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the experiment is.

    Attributes:
        model: options of `CharTransformer`.
        baselines: names of the tuned baselines.
        steps: inner steps of a run.
        seeds: runs of each optimizer at each rate.
        every: the distance of the rates that are tried, in the benchmark's grid of 15.
        stretch: inner steps of one call of a program.
    """

    model: Mapping[str, Any]
    baselines: Sequence[str]
    steps: int
    seeds: int
    every: int
    stretch: int


_MODEL = {"depths": (3, 3), "features": 208, "heads": 4, "length": 64, "batch_size": 24}
_TINY = {"depths": (1, 1), "features": 16, "heads": 2, "length": 16, "batch_size": 4}
FULL = Size(_MODEL, ("adam", "adamw-cosine", "muon"), steps=3_000, seeds=3, every=2, stretch=100)
QUICK = Size(_TINY, ("adam",), steps=30, seeds=1, every=7, stretch=10)


@dataclasses.dataclass(frozen=True)
class Entrant:
    """An optimizer and the learning rates among which one is chosen.

    Attributes:
        label: its name in the figure.
        rules: the optimizer at every rate.
        rates: the rates, ascending; none for a learned optimizer, which is one rule.
    """

    label: str
    rules: Sequence[LearnedOptimizer]
    rates: Sequence[float] = ()


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw loss against inner steps and against seconds: means over the seeds, and the seeds' range."""
    figure = make_figure(11, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    found = sorted(data["optimizers"].values(), key=lambda one: one["seconds_per_step"])
    for number, one in enumerate(found):
        curves = np.asarray(lopt.strict_json.decode(one["curves"], np.inf))
        mean = curves.mean(0)
        dashes = "--" if one["rate"] is not None else "-"
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": dashes, "linewidth": 1.8}
        steps = np.asarray(data["steps"])
        for axes, place in ((left, steps), (right, steps * one["seconds_per_step"])):
            axes.fill_between(
                place, curves.min(0), curves.max(0), color=style["color"], alpha=0.18, linewidth=0
            )
            axes.plot(place, mean, label=_label(one), **style)
    every = np.concatenate([np.ravel(one["curves"]) for one in found]).astype(float)
    left.set_ylim(0.97 * np.nanmin(every), min(1.05 * data["first_loss"], 1.05 * np.nanmax(every)))
    left.set(yscale="log", xlabel="inner steps", ylabel="training loss, nats per character")
    right.set(xscale="log", xlabel=f"seconds of one run on one {data['device']}, log scale")
    low, high = left.get_ylim()
    ticks = [loss for loss in LOSSES if low <= loss <= high]
    left.set_yticks(ticks, [f"{loss:g}" for loss in ticks])
    left.set_yticks([], minor=True)
    for axes in (left, right):
        tidy(axes)
    left.set_title(f"A transformer of {data['parameters']:,} parameters on text", loc="left")
    left.legend(frameon=False)
    return {"transformer": figure}


@experiment("transformer", draw=figures)
def transformer(quick: bool, tell: Callable[[str], None], optimizers: Sequence[str] = OPTIMIZERS) -> Outcome:
    """Train a character transformer with learned optimizers as they are, and with tuned baselines.

    Setting: three blocks of 208 features and 4 heads (1.1 million parameters), normalisation before each
    branch, batches of 24 stretches of 64 characters of Python's library, 3,000 inner steps, 3 seeds, float32
    with JAX's default precision of matrix products. Adam, AdamW with warm-up and a cosine, and Muon are
    the benchmark's, at every other of its 15 rates; of these seven, the one with the lowest held-out loss at
    the end counts. Learned optimizers have no settings. Seconds are inner steps times those of one inner step
    of one run that has the device for itself.

    Shows: what a learned optimizer is worth on a task that is larger than those it was meta-trained on, in
        inner steps and in seconds.

    Time: it needs a GPU; on 2 cores it would take more than a day. Quick, on 2 cores: less than a minute.

    Args:
        quick: whether to train a tiny model for 30 steps, against Adam only, at two rates.
        tell: called with lines about its progress.
        optimizers: names of learned optimizers or paths, as for `lopt-eval`; "@ARCHITECTURE" is an untrained
            one, and a baseline is tuned.
    """
    size = QUICK if quick else FULL
    task = tasks.CharTransformer(tasks.load_text(MODULES), **size.model)
    found = entrants((*size.baselines, *optimizers), size.every)
    runs = race(
        {name: stack(list(one.rules)) for name, one in found.items()},
        *(task, size.steps, run_keys(0, size.seeds, "transformer")),
        stretch=size.stretch,
        tell=tell,
    )
    return outcome_of(found, runs, task, size)


def entrants(names: Sequence[str], every: int) -> dict[str, Entrant]:
    """Find optimizers by name, each once; tuned ones at every so many of the rates of their grid.

    Args:
        names: see `transformer`.
        every: distance of the rates that are tried; they lie in the middle of the grid.

    Raises:
        UsageError: for an unknown name.
    """
    return {name: _entrant(name, every) for name in names}


def _entrant(name: str, every: int) -> Entrant:
    if name.startswith("@"):
        rule = lopt.create(name[1:], jax.random.key(0))
        return Entrant(f"{name[1:]}, untrained", [rule])
    found = known.find(name)
    if not isinstance(found.optimizer, Baseline):
        return Entrant(found.name, [found.optimizer])
    rates = found.optimizer.rates
    if len(rates) > 1:
        rates = rates[every // 2 :: every]
    return Entrant(found.optimizer.label, [found.optimizer.rule(rate) for rate in rates], rates)


def outcome_of(
    found: Mapping[str, Entrant], runs: Mapping[str, SweptRuns], task: tasks.CharTransformer, size: Size
) -> Outcome:
    """Choose the rates, and return the table and the data of the figure."""
    width = max(1, size.steps // POINTS)
    chosen = {name: _chosen(found[name], runs[name], task.ceiling, width) for name in found}
    params = jax.eval_shape(lambda key: task.init(task.sample(key), key), jax.random.key(0))
    data = {
        "device": jax.devices()[0].device_kind,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "steps": [width * (number + 1) for number in range(size.steps // width)],
        "first_loss": float(np.mean(next(iter(runs.values())).train[..., 0])),
        "optimizers": chosen,
    }
    rows = [
        [
            one["label"],
            "-" if one["rate"] is None else f"{one['rate']:g}",
            *(f"{np.mean(one[key]):.4f}" for key in ("held_out", "mean_train")),
            f"{1e3 * one['seconds_per_step']:.3f}",
            f"{size.steps * one['seconds_per_step']:.1f}",
        ]
        for one in chosen.values()
    ]
    return Outcome(
        settings={
            "device": data["device"],
            "parameters": data["parameters"],
            "steps": size.steps,
            "seeds": size.seeds,
        },
        columns=["optimizer", "rate", "held-out loss", "mean training loss", "ms a step", "seconds of a run"],
        rows=rows,
        checks=_checks(found, chosen),
        data=data,
    )


def _chosen(entrant: Entrant, runs: SweptRuns, ceiling: float, width: int) -> dict[str, Any]:
    """Return the runs at the rate with the lowest held-out loss, and what all rates gave."""
    best = lopt.lowest(runs.held_out.mean(-1))
    whole = runs.train[best][:, : runs.train.shape[-1] // width * width]
    curves = whole.reshape(len(whole), -1, width).mean(-1)
    return {
        "label": entrant.label,
        "rate": entrant.rates[best] if entrant.rates else None,
        "rates": list(entrant.rates),
        "held_out": runs.held_out[best],
        "mean_train": mean_loss(runs.train[best]),
        "diverged": diverged(runs.train[best], runs.held_out[best][:, None], ceiling),
        "held_out_by_rate": runs.held_out,
        "mean_train_by_rate": mean_loss(runs.train),
        "seconds_per_step": runs.seconds_per_step,
        "curves": np.round(curves, 5),
    }


def _checks(found: Mapping[str, Entrant], chosen: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Check that baselines are well tuned, with the best rate inside the grid, and that no run diverged."""
    inside = [
        Check(
            f"{one.label}: place of the best rate in the grid",
            *(one.rates.index(chosen[name]["rate"]) + 1, 2, len(one.rates) - 1),
        )
        for name, one in found.items()
        if len(one.rates) > 2
    ]
    return inside + [
        Check(f"{one.label}: runs that diverged", int(np.sum(chosen[name]["diverged"])), high=0)
        for name, one in found.items()
    ]


def _label(one: Mapping[str, Any]) -> str:
    if one["rate"] is None:
        return f"{one['label']}, not tuned" if "untrained" not in one["label"] else one["label"]
    return f"{one['label']} ({one['rate']:g})" if len(one["rates"]) > 1 else one["label"]
