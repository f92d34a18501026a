"""Trajectories that other libraries' rules made on given gradients: what an imported rule has to repeat.

Those of random theta are in `tests/data/recorded/`. Those of published weights are no part of the project:
they are looked for where `LOPT_PUBLISHED` says, or in `shared/published` beside the checkout.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import LearnedOptimizer

REPOSITORY = Path(__file__).parents[1]
COMMITTED = REPOSITORY / "tests" / "data" / "recorded"
BESIDE = REPOSITORY.parent / "shared" / "published"


class Record(NamedTuple):
    """One trajectory: open loop, so that small differences don't grow."""

    name: str
    horizon: int
    """Declared length of the run, in steps."""
    theta: dict[str, Any]
    """Nested dicts of the other library's arrays."""
    params: dict[str, np.ndarray]
    """At the start, by leaf."""
    grads: dict[str, np.ndarray]
    """By leaf, steps first."""
    losses: np.ndarray
    snapshots: dict[int, dict[str, np.ndarray]]
    """Parameters by leaf, after so many updates."""


def published_folder() -> Path:
    """Return the folder of what others published, or skip the test."""
    named = os.environ.get("LOPT_PUBLISHED")
    folder = Path(named) if named else BESIDE
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: LOPT_PUBLISHED names the folder of other people's weights")
    return folder


def published_file(name: str) -> Path:
    """Return a file of that folder, or skip the test."""
    path = published_folder() / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


def read_record(name: str) -> Record:
    """Read the trajectory `name`, or skip the test where it is not to be had."""
    committed = COMMITTED / f"{name}.npz"
    return parse_record(committed if committed.is_file() else published_file(f"{name}.npz"))


def parse_record(path: Path) -> Record:
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    meta = json.loads(str(arrays.pop("meta")))
    losses = arrays.pop("loss")
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        part, _, rest = key.partition("/")
        parts.setdefault(part, {})[rest] = value
    return Record(
        name=meta["name"],
        horizon=meta["horizon"],
        theta=nested(parts.pop("theta")),
        params=parts.pop("p0"),
        grads=parts.pop("g"),
        losses=losses,
        snapshots={int(part[1:]): leaves for part, leaves in parts.items()},
    )


def nested(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """Turn the keys a/b/c into dicts of dicts."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split("/")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def replay(rule: LearnedOptimizer, record: Record) -> dict[str, np.ndarray]:
    """Run a rule on the recorded gradients.

    Returns:
        The parameters by leaf, after 1, 2, ... updates along the first axis.
    """

    @jax.jit
    def run(rule, params, grads, losses, horizon):
        def step(carry, now):
            params, state = carry
            updates, state = rule.update(now[0], state, params, now[1])
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), params

        return jax.lax.scan(step, (params, rule.init(params, horizon)), (grads, losses))[1]

    start = jax.tree.map(jnp.asarray, (record.params, record.grads, record.losses))
    return jax.tree.map(np.asarray, run(rule, *start, record.horizon))


def distances(trajectory: dict[str, np.ndarray], record: Record) -> dict[int, float]:
    """Return the distance from the recorded parameters, by the number of updates.

    Its unit is the distance between the first and the last parameters of the record.
    """
    moved = _distance(record.snapshots[max(record.snapshots)], record.params)
    return {
        count: _distance({leaf: steps[count - 1] for leaf, steps in trajectory.items()}, expected) / moved
        for count, expected in sorted(record.snapshots.items())
    }


def assert_it_repeats(rule: LearnedOptimizer, record: Record) -> None:
    """Check that a rule does what was recorded, to 1e-6 after one update and to 1e-4 after all.

    So do the parameters as a whole, and each leaf, but for the rounding of parameters that hardly move.
    """
    trajectory = replay(rule, record)
    found = distances(trajectory, record)
    assert found[1] <= 1e-6, found
    assert max(found.values()) <= 1e-4, found
    last = record.snapshots[max(record.snapshots)]
    for count, expected in record.snapshots.items():
        for leaf, values in expected.items():
            moved = np.abs(last[leaf] - record.params[leaf]).max()
            rounding = 2 * min(count, 4) * np.finfo(np.float32).eps * np.abs(values).max()
            limit = (1e-6 if count == 1 else 1e-4) * moved + rounding
            off = np.abs(trajectory[leaf][count - 1] - values).max()
            assert off <= limit, (leaf, count, off, limit)


def _distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(np.float64(a[leaf]) - b[leaf]).sum() for leaf in b)))
