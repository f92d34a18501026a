"""A picture of a run that tuned hyperparameters: how its values moved, and the loss around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt import UsageError

from ..problems.hyperparameters import HyperparameterTuning
from ..runs.directory import RunDirectory
from ..runs.parts import build
from ..runs.validation import Judge
from ..trackers import metrics
from ..trackers.json_lines import read_json_lines
from ..trackers.plots import new_figure, tidy

_MARGIN = 1.0
"""Free numbers around what a run went through, on a surface."""
_VALID = metrics.VALID_OBJECTIVE.name


def draw(directory: RunDirectory, file: Path, surface: int) -> None:
    """Draw what was validated and the values of each hyperparameter over meta-steps.

    Args:
        directory: of a run that tuned hyperparameters.
        file: the PNG to write. Where two numbers are tuned and `surface` is above 0, a second one beside it,
            surface.png, has the validation's objective over as many values of each.
        surface: points along each axis.

    Raises:
        UsageError: when the run has no metrics to draw.
    """
    steps, losses, values = read_values(directory)
    names = list(values)
    figure = new_figure(6, 1.8 * (len(names) + 1))
    panels = figure.subplots(len(names) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, line) in zip(panels, {"validation": losses, **values}.items(), strict=True):
        axes.plot(steps, line, linewidth=1.5, color="#222222" if name == "validation" else "#0072B2")
        if min(line) > 0 and max(line) > 3 * min(line):
            axes.set_yscale("log")
        axes.set_title(name, loc="left", fontsize="medium")
        tidy(axes)
    panels[-1].set_xlabel("meta-steps")
    figure.savefig(file, dpi=120)
    if surface > 0 and len(names) == 2 and not any("@" in name for name in names):
        _draw_surface(directory, file.with_name("surface.png"), values, surface)


def read_values(directory: RunDirectory) -> tuple[list[int], list[float], dict[str, list[float]]]:
    """Return the meta-steps of a run's validations, their objectives, and the values by name.

    Raises:
        UsageError: when there are none.
    """
    prefix = metrics.TUNED.of("")
    steps, losses, values = [], [], {}
    for step, record in read_json_lines(directory.metrics):
        found = {name.removeprefix(prefix): x for name, x in record.items() if name.startswith(prefix)}
        if found and _VALID in record:
            steps.append(step)
            losses.append(record[_VALID])
            for name, value in found.items():
                values.setdefault(name, []).append(value)
    if not steps:
        raise UsageError(f"{directory.path} has no values of hyperparameters in its metrics")
    return steps, losses, values


def _draw_surface(directory: RunDirectory, file: Path, values: dict[str, list[float]], points: int) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes_values, objectives = surface_of(directory, values, points)
    figure = new_figure(5.5, 4.5)
    axes = figure.add_subplot()
    (x_name, x), (y_name, y) = axes_values.items()
    low, high = np.nanquantile(objectives, [0.0, 0.8])
    mesh = axes.pcolormesh(x, y, objectives.T, vmin=low, vmax=high, cmap="viridis", shading="nearest")
    figure.colorbar(mesh, label="validation")
    axes.plot(values[x_name], values[y_name], color="white", linewidth=1.5, marker=".", markersize=3)
    axes.plot(values[x_name][-1], values[y_name][-1], "o", color="#D55E00")
    for numbers, scale, axis in ((x, axes.set_xscale, axes.xaxis), (y, axes.set_yscale, axes.yaxis)):
        if min(numbers) > 0 and max(numbers) > 10 * min(numbers):
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=x_name, ylabel=y_name)
    figure.savefig(file, dpi=120)


def surface_of(
    directory: RunDirectory, values: dict[str, list[float]], points: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Judge a grid of two hyperparameters around those that a run went through.

    Returns:
        The values along each axis by name, and the objectives [points, points], over all trials by weight.
    """
    run = directory.read_config()
    problem = run.problem
    assert isinstance(problem, HyperparameterTuning)
    parts = build(run)
    free: dict[str, Any] = {}
    for one in problem.space.tuned:
        constraint = one.hyperparameter.constraint
        seen = [constraint.free(min(max(value, 1e-30), 1e30)) for value in values[one.name]]
        free[one.name] = np.linspace(min(seen) - _MARGIN, max(seen) + _MARGIN, points, dtype=np.float32)
    grid = np.meshgrid(*free.values(), indexing="ij")
    thetas = {name: jnp.asarray(each.ravel()) for name, each in zip(free, grid, strict=True)}
    total = np.zeros(points * points)
    for trial in parts.trials:
        judge = Judge(trial, parts.estimator, run.loop.validation_episodes, parts.key)
        total += trial.weight * np.asarray(judge.each(thetas).objective, np.float64)
    shown = jax.device_get(jax.vmap(problem.space.values)({name: jnp.asarray(x) for name, x in free.items()}))
    return dict(shown), total.reshape(points, points)
