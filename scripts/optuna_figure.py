"""The table and the figure of `scripts/against_optuna.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.reproductions import make_figure

# Okabe and Ito's colour-blind-safe palette.
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#222222", "#009E73", "#CC79A7")
BUDGETS = {"by_steps": ("steps", "inner steps"), "by_seconds": ("seconds", "seconds on two cores")}
# The 97.5th percentile of Student's t, by degrees of freedom.
_STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def grouped(results: Sequence[dict[str, Any]], kind: str) -> dict[str, dict[str, np.ndarray]]:
    """Return the losses [seeds, marks] by problem and method."""
    found: dict[str, dict[str, list[Any]]] = {}
    for one in results:
        found.setdefault(one["problem"], {}).setdefault(one["method"], []).append(one[kind])
    return {name: {m: np.asarray(x) for m, x in methods.items()} for name, methods in found.items()}


def interval(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over seeds, and half the width of its 95 % interval by Student's t."""
    seeds = len(losses)
    if seeds < 2:
        return losses.mean(0), np.full(losses.shape[1:], np.nan)
    return losses.mean(0), _STUDENT.get(seeds - 1, 1.96) * losses.std(0, ddof=1) / np.sqrt(seeds)


def write_table(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the losses at the ends of both budgets as Markdown, the least of a column in bold."""
    lines = []
    for kind, (_, unit) in BUDGETS.items():
        by_problem = grouped(results, kind)
        methods = list(dict.fromkeys(one["method"] for one in results))
        lines += [f"| equal {unit} | {' | '.join(by_problem)} |", "|---" * (len(by_problem) + 1) + "|"]
        means = {name: {m: interval(x) for m, x in of.items()} for name, of in by_problem.items()}
        for method in methods:
            cells = []
            for of in means.values():
                if method not in of:
                    cells.append("")
                    continue
                mean, half = of[method]
                text = f"{mean[-1]:.3f} ± {half[-1]:.3f}"
                least = min(other[0][-1] for other in of.values())
                cells.append(f"**{text}**" if mean[-1] == least else text)
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    path.write_text("\n".join(lines))


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss against both budgets, a column for each problem."""
    problems = list(grouped(results, "by_steps"))
    figure = make_figure(3.3 * len(problems) + 0.4, 6.2)
    panels = figure.subplots(2, len(problems), squeeze=False)
    for row, (kind, (axis, unit)) in zip(panels, BUDGETS.items(), strict=True):
        by_problem = grouped(results, kind)
        for axes, name in zip(row, problems, strict=True):
            marks = next(np.asarray(one[axis]) for one in results if one["problem"] == name)
            for (method, losses), colour in zip(by_problem[name].items(), COLOURS, strict=False):
                mean, half = interval(losses)
                axes.plot(marks, mean, color=colour, linewidth=2 if method == "PES" else 1.3, label=method)
                axes.fill_between(marks, mean - half, mean + half, color=colour, alpha=0.12, linewidth=0)
            means = np.stack([interval(losses)[0] for losses in by_problem[name].values()])
            # The intervals of few seeds may reach far below zero: the means must stay apart.
            axes.set(xlabel=unit, yscale="log", ylim=(means.min() / 1.3, means.max() * 1.5))
            axes.set_title(name, loc="left")
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("validation loss of the choice")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
