"""A network is differentiated by theta in a form that compiles, and equals the derivative of its planes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.features import _project_planes
from lopt.mlp import _apply_planes, init_layers

SHAPES = [(), (5,), (4, 3), (2, 3, 4)]


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def both_ways(function, arguments, seed):
    """Derivatives of the stacked form and of the planes, forwards and backwards, in random directions."""
    draws = np.random.default_rng(seed)
    like = lambda tree: jax.tree.map(lambda x: jnp.asarray(draws.normal(size=x.shape)), tree)  # noqa: E731
    tangents, cotangents = like(arguments), like(function(*arguments))
    results = []
    for form in (function, function.fun):
        forwards = jax.jvp(form, arguments, tangents)
        backwards = jax.vjp(form, *arguments)[1](cotangents)
        results.append((forwards, backwards))
    return results


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_stacked_layers_have_the_derivative_of_the_planes(shape):
    draws = np.random.default_rng(0)
    layers = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), init_layers(jax.random.key(0), (4, 6, 3)))
    hidden = [jnp.asarray(draws.normal(size=shape)) for _ in range(4)]
    stacked, planes = both_ways(_apply_planes, (layers, hidden), seed=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), stacked, planes)


@pytest.mark.usefixtures("double_precision")
def test_the_stacked_projection_has_the_derivative_of_the_planes():
    """With features that depend on rows or columns alone, in any order."""
    draws = np.random.default_rng(0)
    shapes = [(4, 3), (1, 3), (4, 1), (4, 3), (1, 3), (4, 3)]
    values = tuple(jnp.asarray(draws.normal(size=shape)) for shape in shapes)
    weights, bias = jnp.asarray(draws.normal(size=(6, 5))), jnp.asarray(draws.normal(size=5))
    stacked, planes = both_ways(_project_planes, (values, weights, bias), seed=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), stacked, planes)


def problem(name):
    """A loss of one update's steps, as a function of theta."""
    draws = np.random.default_rng(0)
    params = {"w": jnp.asarray(draws.normal(size=(6, 4)), jnp.float32), "b": jnp.ones(4)}
    grads = jax.tree.map(lambda p: jnp.cos(3 * p), params)
    weights = jax.tree.map(lambda p: jnp.sin(5 * p), params)
    optimizer = lopt.create(name, jax.random.key(0))

    def loss(optimizer):
        updates, _ = optimizer.update(grads, optimizer.init(params, 100), params, jnp.ones(()))
        pairs = zip(jax.tree.leaves(updates), jax.tree.leaves(weights), strict=True)
        return sum(jnp.vdot(u, w) for u, w in pairs)

    return optimizer, loss


@pytest.mark.parametrize("name", ["star", "adafactor-mlp", "tensor-lstm", "velo", "celo", "celo-adam"])
def test_a_backward_pass_is_a_program_of_bounded_size(name):
    """Weight by weight it was 8,573 and 4,430 equations, and minutes of compiling."""
    optimizer, loss = problem(name)
    assert len(jax.make_jaxpr(jax.grad(loss))(optimizer).eqns) < 2500
