"""What an exported update compiles to: its size follows distinct shapes, its memory the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt

from .test_adafactor_mlp import a_rule, assert_equal_to_rounding, normal_tree
from .textbook_adafactor import textbook_init, textbook_step

LARGE_RULES = ["adafactor-mlp", "star", "muon-star", "celo", "velo", "celo2"]
"""Those that run equal tensors together: the others' programs are smaller than the copies."""


def lowered(name, shapes):
    tx = lopt.as_optax(lopt.create(name, jax.random.key(0)), horizon=100)
    params = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    return jax.jit(tx.update).lower(params, jax.eval_shape(tx.init, params), params)


def operations(name, layers):
    shapes = {f"{layer} {part}": shape for layer in range(layers) for part, shape in LAYER.items()}
    return lowered(name, shapes).as_text().count(" = ")


LAYER = {"bias": (12,), "kernel": (8, 12)}


@pytest.mark.parametrize("name", LARGE_RULES)
def test_a_program_grows_with_shapes_and_not_with_tensors(name):
    """A layer more is two tensors that go into stacks and out of them: slices and reshapes."""
    rule = operations(name, 1)
    growth = (operations(name, 12) - operations(name, 4)) / 8
    assert rule > 1000
    assert growth < rule / 15


@pytest.mark.parametrize("name", LARGE_RULES)
@pytest.mark.parametrize("shape", [(20_000, 1), (1, 20_000), (20_000,), (100, 200)], ids=str)
@pytest.mark.usefixtures("optimised")
def test_memory_is_linear_in_a_tensors_size(name, shape):
    """A column of 20,000 once took 11 GB, its features being those of a row."""
    memory = lowered(name, {"w": shape}).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 200 * 20_000


@pytest.mark.parametrize("name", ["adafactor-mlp", "star"])
@pytest.mark.usefixtures("optimised")
def test_hardly_anything_is_stored_between_passes(name):
    memory = lowered(name, {"w": (512, 512)}).compile().memory_analysis()
    assert memory.temp_size_in_bytes < (2 if name == "adafactor-mlp" else 10) * 512**2


def random_shapes(number):
    """Of ranks 0 to 5, with ones and ties, and each but once."""
    rng = np.random.default_rng(0)
    shapes = {(5, 1), (1, 5), (4, 4, 1), (1, 1, 3), (2, 1, 1, 1, 2)}
    while len(shapes) < number:
        shapes.add(tuple(int(n) for n in rng.choice([1, 1, 2, 3, 4], size=rng.integers(0, 6))))
    return {str(shape): shape for shape in sorted(shapes)}


@pytest.fixture(scope="module")
def both_forms():
    """Two updates of tensors of many shapes, one of them empty, and the textbook's of all that are not."""
    shapes, rule = random_shapes(16), a_rule()
    all_shapes = shapes | {"empty": (3, 0)}
    params, state, found = normal_tree(1, all_shapes), rule.init(normal_tree(1, all_shapes)), []
    averages, expected = {key: textbook_init(shape) for key, shape in shapes.items()}, []
    step = jax.jit(rule.update)
    for time in range(2):
        grads = normal_tree(2 + time, all_shapes)
        updates, state = step(grads, state, params)
        found.append(updates)
        expected.append({})
        for key in shapes:
            expected[-1][key], averages[key] = textbook_step(rule, averages[key], grads[key], params[key])
    return found, expected


@pytest.mark.parametrize("shape", random_shapes(16))
def test_any_shape_has_the_textbooks_update(both_forms, shape):
    for found, expected in zip(*both_forms, strict=True):
        assert_equal_to_rounding(found[shape], expected[shape])


def test_an_empty_tensor_stays_empty(both_forms):
    assert both_forms[0][1]["empty"].shape == (3, 0)
