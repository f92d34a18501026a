"""Every rule's updates are what they were, to rounding.

`tests/data/recorded_updates.npz` holds theta and seven updates of each architecture and of the published
optimizers, recorded at commit 2f79c45, before the rules' state and their work over tensors were written anew:
`.venv/bin/python -m tests.test_recorded_updates`. Recording again is right only where a rule's mathematics
changes on purpose. Newer rules are compared with their authors' code (`test_published_parity_*.py`).
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt

RECORDED = pathlib.Path(__file__).parent / "data" / "recorded_updates.npz"
HORIZON = 6  # shorter than the trajectory
SIZES = (1.0, 1.0, 1e-4, 30.0, 0.0, 1.0, 1e-2)
"""Of the gradients of seven updates in turn."""
SHAPES = {
    "scalar": (),
    "single": (1,),
    "vector": (5,),
    "vector, the same": (5,),
    "one by one": (1, 1),
    "one row": (1, 6),
    "tall": (7, 3),
    "tall, the same": (7, 3),
    "tall, once more": (7, 3),
    "wide": (3, 7),
    "square": (4, 4),
    "square of zeros": (4, 4),
    "vector of zeros": (5,),
    "convolution": (3, 3, 2, 4),
    "convolution of one channel": (3, 3, 1, 2),
    "rank 5": (2, 1, 3, 2, 2),
}
NAMES = [
    *("adafactor-mlp", "coordinatewise-lstm", "learnable-adam", "learnable-sgd", "muon-star", "star"),
    *("small-2", "tiny-lstm"),
]


def wave(start, shape, size=1.0):
    """Sines at steps that never repeat: numbers without a generator that may change."""
    steps = 1.7 * start + 2.3 * np.arange(np.prod(shape, dtype=int)) ** 1.1
    return (size * np.sin(steps)).reshape(shape).astype(np.float32)


def parameters():
    values = {name: wave(i, shape, 0.5 + 0.2 * i) for i, (name, shape) in enumerate(SHAPES.items())}
    return {name: np.zeros_like(p) if "zeros" in name else p for name, p in values.items()}


def gradients(time):
    return {
        name: wave(100 + 31 * time + 7 * i, shape, SIZES[time] * 3.0 ** (i % 4 - 2))
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def template(name):
    if name in lopt.published():
        return lopt.load(name)
    narrow = {"hidden_size": 3} if hasattr(lopt.ARCHITECTURES[name], "hidden_size") else {}
    return lopt.create(name, jax.random.key(0), **narrow)


def trajectory(rule):
    """The updates of every tensor, times first."""
    params = jax.tree.map(jnp.asarray, parameters())
    step = jax.jit(rule.update)
    state, steps = jax.jit(lambda params: rule.init(params, HORIZON))(params), []
    for time in range(len(SIZES)):
        updates, state = step(gradients(time), state, params, jnp.float32(2.0))
        params = jax.tree.map(jnp.add, params, updates)
        steps.append(updates)
    return jax.tree.map(lambda *xs: np.stack(xs), *steps)


def record():
    stored = {}
    for name in NAMES:
        rule = template(name)
        if name not in lopt.published():
            draws = np.random.default_rng(len(name))
            rule = jax.tree.map(lambda x: x + draws.normal(scale=0.05, size=x.shape).astype(np.float32), rule)  # noqa: B023
        stored |= {f"{name}/theta/{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(rule))}
        stored |= {f"{name}/updates/{tensor}": u for tensor, u in trajectory(rule).items()}
    RECORDED.parent.mkdir(exist_ok=True)
    np.savez_compressed(RECORDED, **stored)


@pytest.mark.parametrize("name", NAMES)
def test_updates_are_those_that_were_recorded(name):
    with np.load(RECORDED) as stored:
        theta = [stored[f"{name}/theta/{i}"] for i in range(len(jax.tree.leaves(template(name))))]
        expected = {tensor: stored[f"{name}/updates/{tensor}"] for tensor in SHAPES}
    rule = jax.tree.unflatten(jax.tree.structure(template(name)), [jnp.asarray(leaf) for leaf in theta])
    for tensor, updates in trajectory(rule).items():
        size = np.abs(expected[tensor]).max()
        np.testing.assert_allclose(updates, expected[tensor], rtol=2e-4, atol=2e-5 * size, err_msg=tensor)


if __name__ == "__main__":
    record()
