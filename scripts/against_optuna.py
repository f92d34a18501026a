#!/usr/bin/env python
"""Tune by PES and by Optuna, with equal inner steps and equal seconds: `scripts/against_optuna.py --out DIR`.

Four problems of small networks on digits, by PES and by Optuna's TPE, random search, Hyperband and CMA-ES,
from several seeds. `--draw FILE...` prints the table and draws the figure of results that are there.

A trial is a training of 270 steps, judged by the mean validation loss of the last 30. All trials of a problem
are one compiled program, given its hyperparameters as arguments; two run side by side, one on each device,
and compilation is before the clock starts. PES takes the mean logarithm of the validation loss. It starts in
the middle of the bounds, which is the first trial of all others. A method's choice at a time is the best
trial seen by then, and for PES the mean of theta over the last third of its way; five further trainings judge
it, which are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARKS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10, help="PES was set up on seeds 0 to 2")
    parser.add_argument("--trainings", type=int, default=150, help="inner steps of a run, in whole trainings")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of a run")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/against-optuna"))
    parser.add_argument("--draw", nargs="+", type=Path, metavar="FILE", help="results.json of earlier calls")
    given = parser.parse_args(arguments)
    import optuna_figure

    given.out.mkdir(parents=True, exist_ok=True)
    if given.draw:
        results = [result for path in given.draw for result in json.loads(path.read_text())]
    else:
        results = run_all(given)
    optuna_figure.write_table(results, given.out / "table.md")
    optuna_figure.draw(results, given.out / "against-optuna.png")
    print((given.out / "table.md").read_text(), end="")
    return 0


def run_all(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every method on every problem from every seed; write the results as they come."""
    import jax

    jax.config.update("jax_num_cpu_devices", given.devices)
    import optuna
    import optuna_problems
    import optuna_trials

    from lopt import look_up

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results: list[dict[str, Any]] = []
    for name in given.problems or optuna_problems.PROBLEMS:
        case = optuna_trials.Case(look_up("problem", optuna_problems.PROBLEMS, name))
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            for method in given.methods or optuna_trials.METHODS:
                run = look_up("method", optuna_trials.METHODS, method)
                found = measure(case, run, seed, given.trainings * optuna_trials.HORIZON, given.seconds)
                results.append({"problem": name, "method": method, "seed": seed, **found})
                (given.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
                print(name, method, seed, f"{found['by_steps'][-1]:.4f}", file=sys.stderr, flush=True)
    return results


def measure(case: Any, run: Any, seed: int, steps: int, seconds: float) -> dict[str, Any]:
    """Run a method once, and judge its choices at some marks of both budgets."""
    choices = run(case, seed, steps, seconds)
    marks = [(number + 1) / MARKS for number in range(MARKS)]
    step_marks, second_marks = [steps * mark for mark in marks], [seconds * mark for mark in marks]
    chosen = [
        *([choice for choice in choices if choice.steps <= mark][-1] for mark in step_marks),
        *([choice for choice in choices if choice.seconds <= mark][-1] for mark in second_marks),
    ]
    losses = case.judge([choice.theta for choice in chosen]).tolist()
    return {
        "steps": step_marks,
        "seconds": second_marks,
        "by_steps": losses[:MARKS],
        "by_seconds": losses[MARKS:],
        "last_choice": [choices[-1].steps, choices[-1].seconds],
        "values": case.problem.describe(chosen[MARKS - 1].theta),
    }


if __name__ == "__main__":
    sys.exit(main())
