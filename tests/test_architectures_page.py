"""The table in docs/architectures.md says what the architectures are."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import lopt

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
PARAMS = {
    "kernel": jax.ShapeDtypeStruct((256, 128), jnp.float32),
    "bias": jax.ShapeDtypeStruct((128,), jnp.float32),
}
ELEMENTS = sum(leaf.size for leaf in jax.tree.leaves(PARAMS))


def rows():
    """Return theta's size, the state's bytes and the operations, each per parameter, by name."""
    found = re.findall(
        r"^\| `\w+` \| `([\w-]+)` \| ([\d,]+) \| (\d+) \| ([\d,]+) \|", PAGE.read_text(), re.MULTILINE
    )
    return {name: [int(cell.replace(",", "")) for cell in cells] for name, *cells in found}


def test_every_architecture_has_a_row():
    assert set(rows()) == set(lopt.ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(lopt.ARCHITECTURES))
def test_a_row_says_what_an_architecture_costs(name):
    rule = jax.eval_shape(lambda: lopt.create(name, jax.random.key(0)))
    state = jax.eval_shape(lambda rule, params: rule.init(params, 100), rule, PARAMS)
    update = jax.jit(lambda rule, grads, state, params: rule.update(grads, state, params))
    costs = update.lower(rule, PARAMS, state, PARAMS).cost_analysis()
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    theta, stored, operations = rows()[name]
    assert lopt.theta_size(rule) == theta
    assert round(size / ELEMENTS) == stored
    assert costs["flops"] / ELEMENTS == pytest.approx(
        operations, rel=0.05, abs=1
    )  # versions of jax differ a little


def test_the_readme_says_the_same():
    text = (PAGE.parents[1] / "README.md").read_text()
    found = re.findall(r"^\| `\w[^|]*\| (`[a-z][^|]*) \| ([\d, ]+) \|", text, re.MULTILINE)
    told = {
        name: int(size.replace(",", ""))
        for names, sizes in found
        for name, size in zip(re.findall(r"`([^`]+)`", names), sizes.split(", "), strict=True)
    }
    assert set(told) >= set(lopt.ARCHITECTURES)
    assert {name: rows()[name][0] for name in lopt.ARCHITECTURES} == {n: told[n] for n in lopt.ARCHITECTURES}
