#!/usr/bin/env python
"""Measure every registered task, for the table in docs/tasks.md and its figure.

Adam trains each task with five learning rates and two seeds. What is measured is kept in docs/tasks.json, and
tasks that are there already are left out: `scripts/describe_tasks.py` measures new ones, `--again PATTERN`
some of the others, too. Tasks whose data is not on this machine are skipped.
"""

from __future__ import annotations

import argparse
import fnmatch
import inspect
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from task_figure import draw

import eval
import lopt
import tasks
from meta_train import keep_compiled_programs

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "docs" / "tasks.json"
PAGE = ROOT / "docs" / "tasks.md"
FIGURE = ROOT / "docs" / "figures" / "tasks.png"
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS, STEPS, POINTS = 2, 200, 40
BEGIN, END = "<!-- measured by scripts/describe_tasks.py -->", "<!-- end -->"


def main() -> int:
    """Measure what is missing, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--again", metavar="PATTERN", help="tasks to measure again, such as 'digits-*'")
    options = parser.parse_args()
    keep_compiled_programs()
    found: dict[str, Any] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    found = {name: one for name, one in found.items() if name in tasks.TASKS}
    for name in tasks.names():
        if name in found and not (options.again and fnmatch.fnmatch(name, options.again)):
            continue
        try:
            task = tasks.build(name)
        except (tasks.DatasetNotPreparedError, ModuleNotFoundError) as error:
            print(f"{name}: left out ({type(error).__name__})")
            continue
        found[name] = measure(name, task)
        print(f"{name}: {found[name]['loss']:.4g} from {found[name]['first_loss']:.4g}", flush=True)
        write(found)
    write(found)
    # One of each kind: a figure of all would be a wallpaper.
    draw({name: found[name] for name in tasks.one_of_each_kind()}, STEPS, FIGURE)
    return 0


def measure(name: str, task: tasks.Task) -> dict[str, Any]:
    """Train a task with Adam; return what the table and the figure show."""
    key = jax.random.key(0)
    instance = jax.eval_shape(task.sample, key)
    params = jax.tree.leaves(jax.eval_shape(task.init, instance, key))
    rules = eval.stack([lopt.OptaxRule.create(key, optax.adam, learning_rate=rate) for rate in RATES])
    run = lambda: eval.sweep_curves(  # noqa: E731
        rules, task, STEPS, eval.run_keys(0, SEEDS, name), points=1, chunk=1, with_accuracy=False
    )
    curves = run()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    held_out = curves.held_out[..., -1].mean(axis=1)
    best = int(np.nanargmin(np.where(np.isfinite(held_out), held_out, np.inf)))
    return {
        "about": describe(name, task),
        "parameters": sum(math.prod(leaf.shape) for leaf in params),
        "data_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(task)),
        "first_loss": rounded(curves.train[..., 0].mean()),
        "loss": rounded(held_out[best]),
        "rate": RATES[best],
        "best": best,
        "megaflops": rounded(tasks.inner_step_flops(task) / 1e6),
        "microseconds": rounded(1e6 * seconds / (len(RATES) * SEEDS * STEPS)),
        "curves": [
            [rounded(x) for x in np.reshape(one.mean(axis=0), (POINTS, -1)).mean(axis=1)]
            for one in curves.train
        ],
    }


def describe(name: str, task: tasks.Task) -> str:
    """Return the first line of what the task's builder says, or else its class."""
    text = inspect.getdoc(tasks.TASKS[name]) or inspect.getdoc(type(task)) or ""
    return text.partition("\n")[0].removeprefix("Return ")


def rounded(value: float) -> float | None:
    """Return four digits of a number; None if it is not finite, which JSON has no word for."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def write(found: dict[str, Any]) -> None:
    """Write the numbers, and the table into the page."""
    lines = [f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    FOUND.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{rest.partition(END)[2]}")


def table(found: dict[str, Any]) -> str:
    """Return the table of the page."""
    head = ("task", "what it is", "parameters", "data", "first loss", "tuned Adam", "rate", "MFLOP", "µs")
    rows = [head, ("---",) * len(head)]
    for name, one in sorted(found.items()):
        data = f"{one['data_bytes'] / 1e6:.3g} MB" if one["data_bytes"] else "drawn"
        numbers = (one[key] for key in ("first_loss", "loss", "rate", "megaflops", "microseconds"))
        losses = (f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in numbers)
        about = one["about"].replace("|", "\\|")
        about = about[:1].upper() + about[1:]
        rows.append((f"`{name}`", about, f"{one['parameters']:,}", data, *losses))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
