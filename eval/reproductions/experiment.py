"""The interface of experiments, their results, and their catalogue.

JAX and matplotlib are imported only when an experiment runs.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lopt import UsageError, look_up, strict_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CATALOGUE = {
    "influence-balancing": "which estimators detect that a good short-term influence is bad in the long term",
    "toy-regression": "tune a learning-rate schedule on a toy problem: which leave the short-horizon optimum",
    "short-horizon": "tune a schedule on a noisy quadratic: short horizons choose far too small rates",
    "chaos": "gradients through the Lorenz system: exact ones explode, smoothed ones are useful",
    "learned-optimizer": "meta-train a learned optimizer: meta-loss against inner steps",
    "architectures": "every architecture after a minute of meta-training, on three tasks",
    "lstm-variance": "variance of PES and NRES against the number of unrolls, on a small LSTM",
    "copy": "which estimators learn dependencies longer than the window",
    "control": "train a policy by truncated, persistent and full evolution strategies",
    "tuned-schedule": "tune a learning-rate schedule of a network: which estimators end in the good region",
    "tuned-network": "tune 29 hyperparameters for accuracy: PES against random search, Hyperband and others",
    "tuned-l2": "tune L2 regularisation: which estimators reach the analytic optimum",
    "transformer": "train a character transformer of a million parameters; needs a GPU, unless --quick",
}
"""A description of each experiment in this folder; its module has the same name, with underscores."""
NEED_GPU = ("transformer",)
"""Experiments that would take a CPU many hours."""

# Okabe and Ito's colour-blind-safe palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#999999", "#8C6D31")


@dataclasses.dataclass(frozen=True)
class Check:
    """A claim that bounds a measured number.

    Attributes:
        promise: the claim, in words.
        measured: the measured value.
        low: the lower bound.
        high: the upper bound.
        reference: the source of the bounds.
    """

    promise: str
    measured: float
    low: float = -math.inf
    high: float = math.inf
    reference: str = ""

    @property
    def holds(self) -> bool:
        """Whether low <= measured <= high; False for NaN."""
        return bool(self.low <= self.measured <= self.high)

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        if math.isinf(self.low):
            return f"at most {self.high:.6g}"
        if math.isinf(self.high):
            return f"at least {self.low:.6g}"
        return f"{self.low:.6g} to {self.high:.6g}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of an experiment.

    Attributes:
        settings: its settings by name.
        columns: headings of the table.
        rows: the table's rows, as long as `columns`.
        checks: its claims.
        figures: matplotlib figures by file name, without extension.
        data: the data of the figures, as numbers, strings, lists and dicts.
    """

    settings: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    checks: Sequence[Check] = ()
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


Experiment = Callable[..., Outcome]
"""A function of (quick, tell): whether to run a small version, and a callback for progress messages. Keyword
arguments are the options of this experiment, and have defaults."""
Draw = Callable[[Mapping[str, Any]], Mapping[str, "Figure"]]
"""Returns figures by file name, from an outcome's data after a round trip through strict JSON."""

EXPERIMENTS: dict[str, Experiment] = {}
"""The experiments by name whose modules have been imported."""
DRAWINGS: dict[str, Draw] = {}
"""How to draw the figures of those experiments that can do it from their data alone."""


def experiment(name: str, draw: Draw | None = None) -> Callable[[Experiment], Experiment]:
    """Register the decorated experiment by name.

    Args:
        name: its name.
        draw: draws its figures, if their data are measured on a machine that has no matplotlib.

    Raises:
        UsageError: if another experiment has the name.
    """

    def decorate(run: Experiment) -> Experiment:
        if EXPERIMENTS.setdefault(name, run) is not run:
            raise UsageError(f"an experiment called {name!r} is registered already; choose another name")
        if draw is not None:
            DRAWINGS[name] = draw
        return run

    return decorate


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name, importing its module.

    Raises:
        UsageError: for an unknown name, with similar ones.
    """
    look_up("experiment", CATALOGUE | EXPERIMENTS, name)
    if name not in EXPERIMENTS:
        importlib.import_module(f".{name.replace('-', '_')}", __package__)
    return EXPERIMENTS[name]


def reproduce(
    name: str, quick: bool, out: Path, tell: Callable[[str], None] = print, **options: Any
) -> Outcome:
    """Run an experiment and write OUT/outcome.json and a PNG per figure, in this order.

    Args:
        name: name of the experiment.
        quick: whether to run its small version, which takes less than a minute.
        out: folder for the results; created if necessary.
        tell: called with lines about its progress.
        **options: options of this experiment.

    Raises:
        UsageError: if there is no such experiment, or it has no such option.
    """
    from meta_train import provenance

    run = find_experiment(name)
    for option in options.keys() - inspect.signature(run).parameters.keys():
        raise UsageError(f"the experiment {name} has no option {option!r}: leave it out")
    began = time.perf_counter()
    outcome = run(quick, tell, **options)
    seconds = time.perf_counter() - began
    out.mkdir(parents=True, exist_ok=True)
    command = f"scripts/reproduce.py {name}" + (" --quick" if quick else "")
    for option, values in options.items():
        command += f" --{option} {' '.join(values)}"
    written = {
        "experiment": name,
        "quick": quick,
        "seconds": round(seconds, 1),
        "settings": outcome.settings,
        "columns": outcome.columns,
        "rows": outcome.rows,
        "checks": [{**dataclasses.asdict(check), "holds": check.holds} for check in outcome.checks],
        "data": outcome.data,
        "provenance": provenance(command),
    }
    recorded = strict_json.encode(written)
    (out / "outcome.json").write_text(json.dumps(recorded, indent=1, allow_nan=False) + "\n")
    _save(outcome.figures, out)
    if name in DRAWINGS:
        _save(DRAWINGS[name](recorded["data"]), out)
    return outcome


def redraw(name: str, file: Path, out: Path) -> None:
    """Draw an experiment's figures from its outcome.json, which another machine may have written.

    Args:
        name: name of the experiment.
        file: the outcome.json.
        out: folder for the figures; created if necessary.

    Raises:
        UsageError: if the experiment can't do this, or the file is not one of its outcomes.
    """
    find_experiment(name)
    if name not in DRAWINGS:
        raise UsageError(f"the figures of {name} can't be drawn from a file: run the experiment")
    try:
        recorded = json.loads(file.read_text())
        found = recorded["experiment"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not an outcome.json: {error!r}") from error
    if found != name:
        raise UsageError(f"{file} is an outcome of {found}, not of {name}: name that experiment")
    out.mkdir(parents=True, exist_ok=True)
    _save(DRAWINGS[name](recorded["data"]), out)


def _save(figures: Mapping[str, Figure], out: Path) -> None:
    for stem, figure in figures.items():
        figure.savefig(out / f"{stem}.png", dpi=150)


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure of the given size in inches, which needs no display.

    Raises:
        RuntimeError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise RuntimeError("there are no figures without matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any) -> None:
    """Give axes a faint grid, and no frame at the top and right."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
