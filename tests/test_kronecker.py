"""KF-RTRL and OK are unbiased, exactly: over all signs. Their variances are ordered as published."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
import tasks
from meta_train import (
    KFRTRL,
    OK,
    UORO,
    ConstantHorizon,
    InnerTraining,
    LastLoss,
    SumLoss,
    sample_estimates,
    start,
    systems,
    window_gradients,
    z_score,
)
from meta_train.estimators.optimal_kronecker import mix, shorten_sum
from meta_train.estimators.sparsity import jacobian_pattern

from .dynamics import Elman

META_STEP = jnp.zeros((), jnp.int32)
STEPS = 4
SYSTEM = Elman(sequences=1)
MEMBERS = {
    "uoro": (UORO, {}),
    "kf": (KFRTRL, {}),
    "ok-1": (OK, {"terms": 1}),
    "ok-2": (OK, {"terms": 2}),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make(name, steps=STEPS, window=STEPS, objective=SumLoss()):  # noqa: B008 (it is frozen)
    kind, options = MEMBERS[name]
    return kind(ConstantHorizon(steps), window, objective, "lockstep", **options)


def flat(tree, axes):
    leaves = [np.asarray(leaf).reshape(*leaf.shape[:axes], -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=-1)


@functools.partial(jax.jit, static_argnames="estimator")
def _under(estimator, theta, signs):
    def one(signs):
        state = estimator.init(SYSTEM, theta)
        return estimator.step_with(SYSTEM, theta, state, signs, jax.random.key(0), META_STEP)[1].gradient

    return jax.vmap(one)(signs)


@functools.cache
def over_all_signs(name):
    """The estimates of an episode under each combination of signs, and the exact gradient."""
    with jax.enable_x64(True):
        theta = SYSTEM.theta()
        estimator = make(name)
        state = estimator.init(SYSTEM, theta)
        count = estimator.signs_per_step(SYSTEM, theta, state.episode)
        # The influence on the initial state is zero, and that after the last step is not used.
        free = count * (STEPS - 1)
        every = np.array(list(itertools.product([-1.0, 1.0], repeat=free))).reshape(-1, STEPS - 1, count)
        once = np.ones((len(every), 1, count))
        signs = jnp.asarray(np.concatenate([once, every, once], axis=1))
        exact = flat(window_gradients(SYSTEM, theta, 1, STEPS), axes=1)[0]
        return flat(_under(estimator, theta, signs), axes=1), exact


@pytest.mark.parametrize("name", MEMBERS)
def test_over_all_signs_the_mean_is_the_gradient(name):
    found, exact = over_all_signs(name)
    np.testing.assert_allclose(found.mean(0), exact, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(exact) > 0.1
    # Signs that don't vary are a bias.
    assert np.linalg.norm(found[-1] - exact) > 0.02 * np.linalg.norm(exact)


def test_variances_are_ordered_as_published():
    """UORO > KF-RTRL > OK, which falls with the number of terms."""
    variance = {name: over_all_signs(name)[0].var(0).sum() for name in MEMBERS}
    assert variance["uoro"] > 1.5 * variance["kf"]
    assert variance["kf"] > 1.1 * variance["ok-1"]
    assert variance["ok-1"] > 2 * variance["ok-2"]


def test_with_as_many_terms_as_features_it_is_exact():
    theta = SYSTEM.theta()
    inputs = theta["weights"].shape[1]
    estimator = OK(ConstantHorizon(12), 12, SumLoss(), "lockstep", terms=inputs)
    found = flat(sample_estimates(estimator, SYSTEM, theta, jax.random.split(jax.random.key(1), 5), 1)[0], 2)
    exact = flat(window_gradients(SYSTEM, theta, 1, 12), axes=1)
    np.testing.assert_allclose(found[:, 0], np.repeat(exact, 5, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", [SumLoss(), LastLoss()])
@pytest.mark.parametrize("name", ["kf", "ok-2"])
def test_windows_estimates_have_the_gradient_as_their_mean(name, objective):
    """Of two sequences, two windows and a second episode, which must not remember the first."""
    system = Elman()
    theta = system.theta()
    estimator = make(name, STEPS, 2, objective)
    keys = jax.random.split(jax.random.key(7), 10_000)
    found = flat(sample_estimates(estimator, system, theta, keys, 4)[0], axes=2)
    if isinstance(objective, LastLoss):
        found, exact = found[:, 2:].sum(1), flat(window_gradients(system, theta, STEPS, 1), axes=1)[-1]
    else:
        exact = np.tile(flat(window_gradients(system, theta, 2, 2), axes=1), (2, 1))
    # The influence of a single step is one product, so a first window is not random.
    random = found.std(0) > 1e-9
    assert random.sum() >= theta["weights"].size
    np.testing.assert_allclose(found.mean(0)[~random], exact[~random], rtol=1e-9, atol=1e-12)
    assert np.abs(z_score(found[:, random], exact[random])).max() < 4.5
    if isinstance(objective, SumLoss):
        truncated = np.tile(flat(window_gradients(system, theta, 2, 2, truncated=True), axes=1), (2, 1))
        assert np.abs(z_score(found[:, random], truncated[random])).max() > 10


# --- the optimal approximation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[3.0, 1.0], [2.0, 2.0], [5.0, 1.0, 0.9, 0.8], [1.0, 1.0, 1.0], [4.0, 2.0, 0.0], [0.0, 0.0]]
)
def test_values_are_mixed_without_bias_and_with_the_least_variance(values):
    """Which is s^2 / k - sum d^2 for the values that are mixed, as published."""
    many = len(values)
    every = np.array(list(itertools.product([-1.0, 1.0], repeat=many)))
    mixing = np.asarray(jax.vmap(lambda signs: mix(jnp.asarray(values), signs))(jnp.asarray(every)))
    assert mixing.shape == (2**many, many, many - 1)
    products = mixing @ mixing.transpose(0, 2, 1)
    np.testing.assert_allclose(products.mean(0), np.diag(values), atol=1e-12)
    kept = next(m for m in range(many) if (many - 1 - m) * values[m] <= sum(values[m:]))
    mixed, rank = np.array(values[kept:]), many - 1 - kept
    variance = np.mean(np.sum((products - np.diag(values)) ** 2, (1, 2)))
    np.testing.assert_allclose(variance, mixed.sum() ** 2 / rank - np.sum(mixed**2), atol=1e-12)


@pytest.mark.parametrize(("tall", "wide"), [(6, 4), (6, 2), (1, 5)])
def test_a_shorter_sum_has_the_same_mean(tall, wide):
    """Also where the sum has more products than a factor has numbers."""
    draws = np.random.default_rng(0)
    first, second = (jnp.asarray(draws.normal(size=(3, size))) for size in (tall, wide))
    every = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=3)))
    short = jax.vmap(lambda signs: shorten_sum(first, second, signs))(every)
    assert [x.shape for x in short] == [(8, 2, tall), (8, 2, wide)]
    mean = jnp.einsum("krm,krn->mn", *short) / 8
    np.testing.assert_allclose(mean, first.T @ second, atol=1e-9)


# --- what they work on -----------------------------------------------------------------------------------


def test_the_copy_tasks_step_is_that_of_its_cell():
    system, theta = systems.CopyTask(batch=3, longest=4), systems.Copyist.create(jax.random.key(0), 5)
    state = system.init(theta, jnp.asarray(8), jax.random.key(1))
    for _ in range(6):
        symbols = system.exercise(state)[0]
        memory = theta.cell(jax.nn.one_hot(symbols, 3), state.memory)
        state, loss = system.step(theta, state, jax.random.key(0))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), state.memory, memory)
    assert loss > 0


def test_sequences_of_the_copy_task_do_not_act_on_one_another():
    system, theta = systems.CopyTask(batch=2, longest=3), systems.Copyist.create(jax.random.key(0), 2)
    state = system.init(theta, jnp.asarray(6), jax.random.key(1))
    after = lambda memory: system.step(theta, state._replace(memory=memory), jax.random.key(0))[0].memory  # noqa: E731
    pattern = jacobian_pattern(after, state.memory).reshape(2, 2, 2, 2, 2, 2)  # part, sequence, unit; twice
    assert not pattern[:, 0, :, :, 1].any()
    assert not pattern[:, 1, :, :, 0].any()
    assert pattern[:, 0, :, :, 0].any()


@pytest.mark.parametrize("name", ["kf", "ok-2"])
def test_on_the_copy_task_the_mean_is_the_backpropagated_gradient(name):
    system, theta = systems.CopyTask(batch=2, longest=2), systems.Copyist.create(jax.random.key(0), 3)
    theta = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), theta)
    estimator = make(name)
    state = estimator.init(system, theta)
    count = estimator.signs_per_step(system, theta, state.episode)
    signs = jax.random.rademacher(jax.random.key(3), (4000, STEPS + 1, count), jnp.float64)

    @jax.jit
    def both(signs):
        run = lambda s: estimator.step_with(system, theta, state, s, jax.random.key(2), META_STEP)  # noqa: E731
        loss = lambda theta: estimator.unroll(system, theta, begun, jax.random.key(0))[1].objective  # noqa: E731
        ended, estimates = jax.vmap(run)(signs)
        bits = jax.tree.map(lambda x: x[0], ended.episode.state.bits)
        begun = start(system, theta, jnp.asarray(STEPS, jnp.int32), jax.random.key(0))
        begun = begun.replace(state=begun.state._replace(bits=bits))
        return estimates.gradient, jax.grad(loss)(theta)

    found, exact = (flat(tree, axes) for tree, axes in zip(both(signs), (1, 0), strict=True))
    random = found.std(0) > 1e-12
    assert random.sum() > 20
    np.testing.assert_allclose(found.mean(0)[~random], exact[~random], rtol=1e-9, atol=1e-12)
    assert np.abs(z_score(found[:, random], exact[random])).max() < 4.5
    assert np.abs(z_score(found[:, random], 0 * exact[random])).max() > 10


def test_other_dynamics_are_refused_in_one_sentence():
    theta = lopt.LearnableAdam.create(jax.random.key(0))
    for name, kind in (("kf", "KFRTRL"), ("ok-1", "OK")):
        with pytest.raises(ValueError, match=rf"{kind} needs a state.*InnerTraining has none: take snap"):
            make(name).init(InnerTraining(tasks.Quadratic(dimension=2)), theta)

    class Begun(Elman):
        def init(self, theta, horizon, key):
            s, t = Elman.init(self, theta, horizon, key)
            return s + theta["readout"][None], t

    with pytest.raises(ValueError, match="initial state that does not depend on theta"):
        make("kf").init(Begun(), Begun().theta())
    with pytest.raises(ValueError, match="terms must be at least 1, not 0"):
        OK(ConstantHorizon(STEPS), STEPS, terms=0)
