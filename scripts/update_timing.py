"""Time an update compiled by `update_compiling.py`, alternating with Adam's; print JSON.

This needs a separate process, because after a large compilation memory is fragmented and all updates are
slower, Adam's by up to a factor of two.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from parameter_trees import TREES, make_gradients, make_parameters
from update_compiling import compile_update
from update_runner import BASELINES, Runner, optimizers

FEWEST_TURNS = 5


def measure(optimizer: str, tree: str, program: str, seconds: float) -> dict[str, Any]:
    """Time an optimizer and Adam alternately, so that changes of the machine's speed affect both equally.

    Args:
        optimizer: the optimizer's name.
        tree: the parameter tree's name.
        program: the file with its compiled update.
        seconds: time to repeat it for.
    """
    params = make_parameters(TREES[tree]())
    gradients = [make_gradients(TREES[tree](), seed) for seed in (1, 2)]
    adam, tx = BASELINES["adam"](), optimizers()[optimizer]()
    state = jax.eval_shape(jax.jit(tx.init), params)
    compiled = serialize_executable.deserialize_and_load(
        Path(program).read_bytes(),
        jax.tree.structure(((params, state, params), {})),
        jax.tree.structure((params, state)),
        execution_devices=jax.devices()[:1],
    )
    subject = Runner(tx, compiled, params, gradients)
    reference = Runner(adam, compile_update(adam, params)[1], params, gradients)
    subject.warm_up()
    reference.warm_up()
    times, adam_times, ratios = in_turn(subject, reference, seconds)
    subject.check()
    return {**times, "adam": adam_times, "ratios": ratios, "finite": subject.finite}


def in_turn(subject: Runner, reference: Runner, seconds: float) -> tuple[dict[str, float], ...]:
    """Time two runners alternately; return their medians, and median ratios to the adjacent turns."""
    size = sum(leaf.size for leaf in jax.tree.leaves(subject.params))
    own, its = [], [reference.turn()]
    ends = time.perf_counter() + seconds
    while len(own) < FEWEST_TURNS or time.perf_counter() < ends:
        own.append(subject.turn())
        its.append(reference.turn())
    ratios: dict[str, float] = {}
    found: tuple[dict[str, float], ...] = ({}, {})
    for at, (name, scale) in enumerate({"ns_per_parameter": 1e9 / size, "update_ms": 1e3}.items()):
        mine, theirs = [turn[at] for turn in own], [turn[at] for turn in its]
        ratios[name] = statistics.median(
            2 * a / (b + c) for a, b, c in zip(mine, theirs, theirs[1:], strict=False)
        )
        for numbers, times in zip(found, (mine, theirs), strict=True):
            numbers[name] = scale * statistics.median(times)
            numbers[f"best_{name}"] = scale * min(times)
    return *found, ratios


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
