"""Classes that differ in nothing but what they do are never taken for each other by a jitted function."""

import itertools

import jax
import pytest

import lopt
import tasks
from meta_train import Dynamics

KEY = jax.random.key(0)
BASES = {
    "optimizer": lambda: lopt.create("learnable-sgd", KEY),
    "task": lambda: tasks.build("quadratic"),
    "dynamics": lambda: Walk(),
}


class Walk(Dynamics):
    def init(self, theta, horizon, key):
        return theta

    def step(self, theta, state, key):
        return state, state


@pytest.mark.parametrize("kind", BASES)
def test_a_jitted_function_runs_each_subclass_own_program(kind):
    """With flax's dataclasses alone, jax 0.10 ran another class's program for some 40 of 300."""
    base = BASES[kind]()
    fields = {name: value for name, value in vars(base).items() if name != "_class"}
    classes = [type(f"Subclass{i}", (type(base),), {"number": i}) for i in range(50)]
    nodes = [cls(**fields) for cls in classes]
    number = jax.jit(lambda node: node.number)
    assert [int(number(node)) for node in nodes] == list(range(50))
    structures = [jax.tree.structure(node) for node in [base, *nodes]]
    assert all(a != b for a, b in itertools.combinations(structures, 2))


@pytest.mark.parametrize("kind", BASES)
def test_the_class_survives_what_jax_and_replace_make_of_a_node(kind):
    node = BASES[kind]()
    for made in (jax.tree.map(lambda leaf: leaf, node), node.replace(), jax.jit(lambda n: n)(node)):
        assert type(made) is type(node)
        assert jax.tree.structure(made) == jax.tree.structure(node)
    assert "_class" not in repr(node)
