"""Training curves are what a plain loop gives, runs of a seed are paired, and sweeps are single runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eval.training.curves
import lopt
from eval import (
    BASELINES,
    STANDARD,
    Baseline,
    choose,
    families,
    log_grid,
    run_keys,
    stack,
    sweep_curves,
    training_curves,
    tune,
)
from eval.training.baselines import sgd_momentum
from lopt import LearnableAdam, LearnableSGD, OptaxRule
from tasks import Quadratic, Task

TASK = Quadratic(dimension=3, noise=0.3)
HORIZON, POINTS, BATCHES = 12, 4, 3
KEYS = run_keys(0, 2, "quadratic")
KEY = jax.random.key(0)


def rule(make=optax.adam, **hyperparameters):
    return OptaxRule.create(KEY, make, **hyperparameters)


def curves_of(optimizer, task=TASK, **options):
    options = {"points": POINTS, "batches": BATCHES} | options
    return training_curves(optimizer, task, HORIZON, KEYS, **options)


def plain_loop(transformation, key):
    """Train without scan and vmap; return training losses and held-out losses at the points."""
    init_key, step_key, measure_key = jax.random.split(key, 3)
    sample_key, params_key = jax.random.split(init_key)
    instance = TASK.sample(sample_key)
    params = TASK.init(instance, params_key)
    state = transformation.init(params)
    batch_keys, loss_keys = jax.random.split(measure_key, (2, BATCHES))

    @jax.jit
    def step(params, state, key):
        batch_key, loss_key, _ = jax.random.split(key, 3)
        batch = TASK.batch(instance, batch_key, "train")
        loss, grads = jax.value_and_grad(TASK.loss, argnums=1)(instance, params, batch, loss_key)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    @jax.jit
    def measure(params, batch_key, loss_key):
        return TASK.loss(instance, params, TASK.batch(instance, batch_key, "outer_valid"), loss_key)

    train, held_out = [], []
    for done, key in enumerate(jax.random.split(step_key, HORIZON), start=1):
        params, state, loss = step(params, state, key)
        train.append(loss)
        if done % (HORIZON // POINTS) == 0:
            held_out.append(
                np.mean([measure(params, *keys) for keys in zip(batch_keys, loss_keys, strict=True)])
            )
    return np.array(train), np.array(held_out)


def test_the_scan_equals_a_plain_optax_loop():
    curves = curves_of(rule(learning_rate=0.1))
    assert curves.train.shape == (2, HORIZON)
    assert curves.steps == (3, 6, 9, 12)
    for seed, key in enumerate(KEYS):
        train, held_out = plain_loop(optax.adam(0.1), key)
        np.testing.assert_allclose(curves.train[seed], train, rtol=2e-5)
        np.testing.assert_allclose(curves.held_out[seed], held_out, rtol=2e-5)


def test_runs_of_a_seed_see_the_same_whatever_the_optimizer():
    still = [curves_of(rule(optax.sgd, learning_rate=0.0)), curves_of(rule(optax.adam, learning_rate=0.0))]
    still.append(curves_of(LearnableAdam.create(KEY, learning_rate=0.0)))  # log 0: it stands still, too.
    for other in still[1:]:
        np.testing.assert_allclose(other.train, still[0].train, rtol=1e-6)
        np.testing.assert_allclose(other.held_out, still[0].held_out, rtol=1e-6)
    assert (still[0].train[0] != still[0].train[1]).all()
    assert len(np.unique(still[0].train[0])) == HORIZON  # A fresh batch every step.


def test_more_seeds_and_other_tasks_leave_a_key_alone():
    data = lambda *args: jax.random.key_data(run_keys(*args))  # noqa: E731
    np.testing.assert_array_equal(data(0, 3, "a")[:2], data(0, 2, "a"))
    assert (data(0, 2, "a") != data(0, 2, "b")).any()
    assert (data(0, 2, "a") != data(1, 2, "a")).any()


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_sweep_equals_single_runs_however_it_is_chunked(chunk):
    rates = log_grid(1e-3, 1, 6)
    rules = stack([rule(learning_rate=rate) for rate in rates])
    sweep = sweep_curves(rules, TASK, HORIZON, KEYS, points=POINTS, batches=BATCHES, chunk=chunk)
    assert sweep.train.shape == (6, 2, HORIZON)
    for at in (0, 3, 5):
        single = curves_of(rule(learning_rate=rates[at]))
        np.testing.assert_allclose(sweep.train[at], single.train, rtol=1e-5)
        np.testing.assert_allclose(sweep.held_out[at], single.held_out, rtol=1e-5)


def test_a_rule_of_the_same_structure_compiles_nothing_new():
    curves_of(rule(learning_rate=0.1))
    size = eval.training.curves._train._cache_size()
    curves_of(rule(learning_rate=0.2))
    assert eval.training.curves._train._cache_size() == size


def test_held_out_points_divide_the_horizon():
    assert curves_of(rule(learning_rate=0.1), points=5).steps == (3, 6, 9, 12)
    assert curves_of(rule(learning_rate=0.1), points=1).steps == (12,)
    with pytest.raises(ValueError, match="points must be at least 1, not 0"):
        curves_of(rule(learning_rate=0.1), points=0)


def test_a_run_that_blows_up_is_infinite_and_flagged_and_its_neighbours_are_not():
    rules = stack([rule(optax.sgd, learning_rate=rate) for rate in (0.1, 1e30)])
    curves = sweep_curves(rules, TASK, HORIZON, KEYS, points=POINTS, batches=BATCHES)
    np.testing.assert_array_equal(curves.diverged, [[False, False], [True, True]])
    assert np.isfinite(curves.train[0]).all()
    assert not np.isnan(curves.train[1]).any()
    assert np.isinf(curves.train[1, :, -1]).all()


@pytest.mark.parametrize(
    ("make", "hyperparameters"),
    [
        (optax.adam, {"learning_rate": 0.1, "b1": 0.8, "b2": 0.99}),
        (optax.sgd, {"learning_rate": 0.1, "momentum": 0.9}),
        (optax.lion, {"learning_rate": 0.1}),
    ],
)
def test_an_optax_rule_equals_optax(make, hyperparameters):
    params = {"w": jnp.arange(3.0), "b": jnp.ones(())}
    wrapped, plain = rule(make, **hyperparameters), make(**hyperparameters)
    state, plain_state = wrapped.init(params), plain.init(params)
    for step in range(4):
        grads = jax.tree.map(lambda p, step=step: p - step, params)
        updates, state = wrapped.update(grads, state, params, jnp.ones(()))
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            expected, plain_state = plain.update(grads, plain_state, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


def test_an_optax_rule_keeps_dtypes_and_the_structure_of_its_state():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    wrapped = rule(sgd_momentum, learning_rate=0.1)
    state = wrapped.init(params)
    updates, after = wrapped.update(params, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, after)


def decaying(learning_rate, horizon):
    return optax.sgd(lambda count: learning_rate * (1 - count / horizon))


def test_a_scheduled_rule_is_told_the_horizon():
    scheduled = OptaxRule.create(KEY, decaying, scheduled=True, learning_rate=0.1)
    curves = curves_of(scheduled)
    for seed, key in enumerate(KEYS):
        train, _ = plain_loop(decaying(0.1, HORIZON), key)
        np.testing.assert_allclose(curves.train[seed], train, rtol=2e-5)
    with pytest.raises(ValueError, match="needs the length of the run"):
        scheduled.init({"w": jnp.ones(1)})


@pytest.mark.parametrize("declared", [6, 24])
def test_a_declared_horizon_is_told_instead_of_the_true_one(declared):
    star = lopt.create("star", KEY)
    told = curves_of(star, declared=declared)
    assert told.train.shape == (2, HORIZON)
    assert told.steps == (3, 6, 9, 12)
    truth = curves_of(star)
    assert (told.train[:, 0] == truth.train[:, 0]).all()
    assert (told.train[:, -1] != truth.train[:, -1]).all()
    np.testing.assert_array_equal(curves_of(star, declared=HORIZON).train, truth.train)


def test_a_declared_horizon_is_what_a_scheduled_rule_would_be_told():
    scheduled = OptaxRule.create(KEY, decaying, scheduled=True, learning_rate=0.1)
    curves = curves_of(scheduled, declared=2 * HORIZON)
    for seed, key in enumerate(KEYS):
        train, _ = plain_loop(decaying(0.1, 2 * HORIZON), key)
        np.testing.assert_allclose(curves.train[seed], train, rtol=2e-5)
    size = eval.training.curves._train._cache_size()
    curves_of(scheduled, declared=HORIZON // 2)  # Compiles nothing new.
    assert eval.training.curves._train._cache_size() == size
    with pytest.raises(ValueError, match="declared must be at least 1, not 0"):
        curves_of(scheduled, declared=0)


class Threshold(Task):
    """Tell whether a number is above one that is learned; the slope is 1."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return {"threshold": jnp.zeros(())}

    def batch(self, instance, key, split):
        return jax.random.uniform(key, (16,), minval=-1.0) + (0.25 if split == "train" else 0.0)

    def logits(self, params, batch):
        return jnp.stack([jnp.zeros_like(batch), batch - params["threshold"]], axis=-1)

    def loss(self, instance, params, batch, key):
        labels = (batch > 0.5).astype(jnp.int32)
        return optax.softmax_cross_entropy_with_integer_labels(self.logits(params, batch), labels).mean()

    def accuracy(self, instance, params, batch, key):
        return jnp.mean((batch > params["threshold"]) == (batch > 0.5))

    @property
    def ceiling(self):
        return 1e3


def test_accuracy_is_that_of_the_trained_parameters_on_the_held_out_batches():
    rules = stack([rule(optax.sgd, learning_rate=rate) for rate in (0.0, 1.0)])
    curves = sweep_curves(rules, Threshold(), HORIZON, KEYS, points=1, batches=BATCHES, split="test")
    assert curves.accuracy.shape == (2, 2)
    for seed, key in enumerate(KEYS):
        keys = jax.random.split(jax.random.split(key, 3)[2], (2, BATCHES))[0]
        batches = np.stack([Threshold().batch((), key, "test") for key in keys])
        still = np.mean((batches > 0) == (batches > 0.5))
        assert curves.accuracy[0, seed] == pytest.approx(still)
    assert (curves.accuracy[1] > curves.accuracy[0]).all()
    assert (curves.accuracy <= 1).all()


def test_there_is_no_accuracy_where_nothing_is_classified_or_none_is_asked_for():
    assert curves_of(rule(learning_rate=0.1)).accuracy is None
    assert curves_of(rule(learning_rate=0.1), Threshold(), with_accuracy=False).accuracy is None


def test_tuning_takes_the_lowest_mean_training_loss_and_never_a_run_that_blew_up():
    family = {"a": Baseline("A", sgd_momentum, (1e-3, 0.1, 1e30)), "b": Baseline("B", sgd_momentum, (1e-3,))}
    assert families(family | choose(STANDARD))[0] == {**family, "sgd-momentum": BASELINES["sgd-momentum"]}
    tuned = tune(family, TASK, HORIZON, KEYS)
    assert tuned["a"].rate == 0.1
    assert tuned["a"].scores[2] == np.inf
    assert tuned["a"].scores[1] == pytest.approx(tuned["a"].curves.train.mean(), rel=1e-6)
    assert tuned["b"].rate == 1e-3
    assert tuned["b"].scores == tuned["a"].scores[:1]
    assert (tuned["a"].curves.train[:, 0] == tuned["b"].curves.train[:, 0]).all()


def test_the_grids_are_what_the_report_says():
    grid = BASELINES["adam"].rates
    assert (grid[0], grid[-1], len(grid)) == (1e-4, 1.0, 15)
    assert (BASELINES["sgd-momentum"].rates[0], BASELINES["sgd-momentum"].rates[-1]) == (1e-3, 10.0)
    ratios = np.diff(np.log(grid))
    np.testing.assert_allclose(ratios, ratios.mean(), rtol=0.01)


class Origin(LearnableSGD):
    """Gradient descent that hands out the origin, wherever it is."""

    def evaluated(self, state, params):
        return jax.tree.map(jnp.zeros_like, params)


def test_a_rule_is_measured_where_it_says_and_trained_where_it_is():
    task, keys = Quadratic(dimension=3), run_keys(0, 2, "quadratic")
    create = {"key": KEY, "learning_rate": 0.01}
    plain = training_curves(LearnableSGD.create(**create), task, 4, keys, points=2, batches=1)
    moved = training_curves(Origin.create(**create), task, 4, keys, points=2, batches=1)
    np.testing.assert_array_equal(moved.train, plain.train)
    # No noise: the loss at the origin is the same at both points, and another than where it trains.
    np.testing.assert_array_equal(moved.held_out[:, 0], moved.held_out[:, 1])
    assert (plain.held_out[:, 0] > plain.held_out[:, 1]).all()
