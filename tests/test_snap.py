"""SnAp keeps what theta reaches within a few steps: with all of it, it is RTRL; with less, it is biased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
import tasks
from meta_train import (
    RTRL,
    ConstantHorizon,
    Dynamics,
    InnerTraining,
    LastLoss,
    SnAp,
    SumLoss,
    sample_estimates,
    systems,
    window_gradients,
)
from meta_train.estimators.reach import colours, find_reach
from meta_train.estimators.sparsity import jacobian_pattern

from .dynamics import Elman, ScalarTanh, VectorLinear

STEPS, WINDOW = 6, 2
WINDOWS = STEPS // WINDOW
SHARED = {"horizon": ConstantHorizon(STEPS), "window": WINDOW, "objective": SumLoss(), "phase": "lockstep"}
KEYS = jax.random.split(jax.random.key(0), 1)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Chain(Dynamics):
    """Three states in a line: theta drives the first, and each drives the next; the loss is of the last."""

    def init(self, theta, horizon, key):
        return jnp.zeros(3, theta.dtype)

    def step(self, theta, s, key):
        s = jnp.stack([0.5 * s[0] + theta[0], 0.5 * s[1] + s[0] ** 2, 0.5 * s[2] + jnp.sin(s[1])])
        return s, (s[2] - 1) ** 2 + s[0] * theta[1]


class ElementWise(Dynamics):
    """A state for each meta-parameter, which acts on nothing else."""

    def init(self, theta, horizon, key):
        return theta**2

    def step(self, theta, s, key):
        s = jnp.tanh(0.9 * s + theta)
        return s, jnp.sum(jnp.cos(jnp.cumsum(s)))


def gradients(estimator, system, theta, windows=2 * WINDOWS):
    return jax.tree.map(lambda g: g[0], sample_estimates(estimator, system, theta, KEYS, windows)[0])


def close(found, expected, rtol=1e-9):
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-12), found, expected)


def distance(found, expected):
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.abs(np.asarray(f) - np.asarray(e)).max()) for f, e in leaves)


SYSTEMS = {
    "tanh": lambda: (ScalarTanh.draw(STEPS), jnp.asarray(0.4)),
    "vector": lambda: (VectorLinear.draw(STEPS), VectorLinear.theta()),
    "chain": lambda: (Chain(), jnp.asarray([0.7, 0.2])),
    "elman": lambda: (Elman(), Elman().theta()),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_with_all_influences_it_is_the_exact_gradient_of_every_window(name):
    """Also of a second episode: nothing of the first is left over."""
    system, theta = SYSTEMS[name]()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    twice = jax.tree.map(lambda g: jnp.concatenate([g, g]), exact)
    close(gradients(SnAp(**SHARED, steps=5), system, theta), twice)


def test_with_all_influences_it_is_rtrl_on_a_final_loss_and_on_inner_training():
    system, theta = SYSTEMS["elman"]()
    last = SHARED | {"objective": LastLoss()}
    close(gradients(SnAp(**last, steps=5), system, theta), gradients(RTRL(**last), system, theta))
    dynamics = InnerTraining(tasks.Quadratic(dimension=2))
    theta = lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.1)
    # A task without noise: the keys of single steps differ.
    found, exact = (gradients(e, dynamics, theta, 1) for e in (SnAp(**SHARED, steps=9), RTRL(**SHARED)))
    close(found, exact, rtol=1e-4)


@pytest.mark.parametrize(("steps", "reached"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_influence_travels_one_state_a_step(steps, reached):
    reach = find_reach(Chain(), jnp.zeros(2), steps)
    assert list(zip(reach.rows, reach.columns, strict=True)) == [(row, 0) for row in range(reached)]


def masked(kept):
    """The chain's gradient by theta_0 with that many states' influences kept, by a loop in numpy."""
    s, influence, gradient = np.zeros(3), np.zeros(3), 0.0
    for _ in range(STEPS):
        recurrent = np.array([[0.5, 0, 0], [2 * s[0], 0.5, 0], [0, np.cos(s[1]), 0.5]])
        s = np.array([0.5 * s[0] + 0.7, 0.5 * s[1] + s[0] ** 2, 0.5 * s[2] + np.sin(s[1])])
        influence = recurrent @ influence + np.array([1.0, 0, 0])
        gradient += np.array([0.2, 0, 2 * (s[2] - 1)]) @ influence
        influence[kept:] = 0
    return gradient


def test_snap_of_a_step_or_two_is_the_masked_recursion_and_rejected_as_a_gradient():
    """Theta reaches the chain's last state, which the loss depends on, in three steps."""
    system, theta = SYSTEMS["chain"]()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    for steps in (1, 2, 3):
        found = gradients(SnAp(**SHARED, steps=steps), system, theta, WINDOWS)
        np.testing.assert_allclose(found[:, 1], exact[:, 1], rtol=1e-9)  # the loss's own derivative
        np.testing.assert_allclose(found[:, 0].sum(), masked(steps), rtol=1e-9)
        wrong = abs(found[:, 0].sum() - exact[:, 0].sum()) > 0.4 * abs(exact[:, 0].sum())
        assert wrong == (steps < 3)


def test_more_steps_come_closer_in_a_recurrent_network():
    """A matrix's influence reaches its own unit in one step, and all units in two."""
    system, theta = SYSTEMS["elman"]()
    exact = window_gradients(system, theta, WINDOWS, WINDOW)
    one, two = (gradients(SnAp(**SHARED, steps=n), system, theta, WINDOWS) for n in (1, 2))
    close(two, exact)
    assert distance(one, exact) > 0.01
    kept = find_reach(system, theta, 1)
    assert len(kept.rows) == system.sequences * theta["weights"].size  # one entry for each sequence
    assert len(find_reach(system, theta, 2).rows) == system.sequences * system.units * theta["weights"].size


def test_snap_1_is_exact_for_element_wise_recurrences_at_the_cost_of_two_derivatives():
    system, theta = ElementWise(), jnp.asarray([0.3, -0.2, 0.9, 0.1])
    close(gradients(SnAp(**SHARED), system, theta, WINDOWS), window_gradients(system, theta, WINDOWS, WINDOW))
    reach = find_reach(system, theta, 1)
    assert (len(reach.start.seeds), len(reach.direct.seeds), len(reach.recurrent.seeds)) == (1, 1, 1)
    assert len(reach.rows) == len(reach.to) == 4


def test_a_network_takes_one_derivative_for_each_unit_and_each_column():
    system, theta = Elman(units=4, sequences=1), Elman(units=4).theta()
    reach = find_reach(system, theta, 1)
    assert len(reach.recurrent.seeds) == 4
    assert len(reach.direct.seeds) == theta["weights"].shape[1]


FUNCTIONS = {
    "reductions": lambda x: x.sum(0) * jnp.arange(4.0) + jnp.prod(x, axis=0),
    "products": lambda x: jnp.einsum("ij,jk->ik", jnp.arange(6.0).reshape(2, 3), x) + jnp.ones((2, 4)),
    "batched": lambda x: jax.vmap(lambda row: jnp.outer(row, jnp.arange(2.0)))(x[:, ::2]),
    "pieces": lambda x: jnp.concatenate([x[1:, ::-1], jnp.pad(x[:1], ((1, 0), (0, 0)))]).T.reshape(2, -1),
    "stacks": lambda x: jnp.stack([x[0], x[1] * x[2], jnp.ones(4)], axis=1),
    "choices": lambda x: jnp.where(jnp.arange(4)[None] > 1, x, jnp.flip(jnp.maximum(x, 0.1), 0)),
    "functions": lambda x: jax.nn.softmax(x, axis=1) + jax.nn.gelu(x)[:, :1],
    "split": lambda x: jnp.split(x, [1, 3], axis=1)[1] * jnp.sqrt(1 + x[:, 1:3] ** 2),
    "places": lambda x: x[1] * x[0, 2] + jax.lax.dynamic_slice(x, (jnp.asarray(1), 1), (2, 2)).sum(),
    "gathers": lambda x: x[jnp.asarray([0, 2, 0])] * 2.0,
    "scans": lambda x: jax.lax.scan(lambda c, r: (c * r, c + r), jnp.ones(4), x)[1],
    "stopped": lambda x: jax.lax.stop_gradient(x) + jnp.floor(x) + x[:1],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_pattern_has_every_entry_that_is_not_zero(name):
    """Against the Jacobian at a random point; without gathers and loops it has no others."""
    function, x = FUNCTIONS[name], jax.random.normal(jax.random.key(1), (3, 4))
    jacobian = jax.jacfwd(function)(x)
    pattern = jacobian_pattern(function, x)
    nonzero = np.asarray(jacobian.reshape(-1, x.size) != 0)
    assert pattern.shape == nonzero.shape
    assert np.all(pattern >= nonzero)
    if name not in ("gathers", "scans", "places", "products", "choices", "reductions", "batched"):
        np.testing.assert_array_equal(pattern, nonzero)
    elif name not in ("gathers", "scans"):  # a factor of zero, a branch not taken, a place not known
        assert pattern.mean() < 0.75


def test_columns_of_one_colour_share_no_row():
    pattern = np.random.default_rng(0).random((8, 30)) < 0.15
    chosen = colours(pattern)
    for colour in range(chosen.max() + 1):
        assert np.all(pattern[:, chosen == colour].sum(1) <= 1)
    assert chosen.max() + 1 < 15
    assert colours(np.eye(5, dtype=bool)).max() == 0
    assert colours(np.ones((2, 5), bool)).max() == 4


def test_it_says_what_memory_it_would_need():
    system, theta = SYSTEMS["elman"]()
    with pytest.raises(ValueError, match=r"steps=2 keeps 90 influences, made of 270 products.*fewer steps"):
        SnAp(**SHARED, steps=2, max_megabytes=0.001).init(system, theta)
    with jax.enable_x64(False):
        dynamics, star = InnerTraining(tasks.build("digits-mlp")), lopt.create("star", jax.random.key(0))
        with pytest.raises(ValueError, match="snap finds out entry by entry.*take dodge, uoro or pes"):
            SnAp(**SHARED).init(dynamics, star)
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        SnAp(**SHARED, steps=0)


def test_the_copy_task_is_within_reach():
    """Its bits are integers, its gates act within a sequence, and its decoder on no state."""
    system, theta = systems.CopyTask(batch=2, longest=3), systems.Copyist.create(jax.random.key(0), 2)
    reach = find_reach(system, theta, 1)
    cell = sum(leaf.size for leaf in jax.tree.leaves(theta.cell))
    assert set(reach.columns) == set(range(cell))
    assert len(reach.rows) == 2 * (2 * cell) - 2 * cell // 4  # the output gate acts on hidden states only
