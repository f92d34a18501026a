"""Every baseline trains, at rates that are traced, on parameters of any rank; untuned ones are defaults."""

import dataclasses
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from eval import BASELINES, REFERENCE, STANDARD, choose, families, run_keys, training_curves, tune
from eval.training.baselines import GRID_POINTS, adamw_cosine, muon, warmup_cosine
from lopt import OptaxRule
from tasks import Quadratic, Task

KEY = jax.random.key(0)
HORIZON = 40
SHAPES = {"kernel": (2, 2, 3, 4), "matrix": (6, 5), "vector": (4,), "scalar": ()}
FAMILIES = families(BASELINES)
TUNED = [name for name, baseline in BASELINES.items() if len(baseline.rates) > 1]
UNTUNED = [name for name in BASELINES if name not in TUNED]


class Bowl(Task):
    """A quadratic in a scalar, a vector, a matrix and a kernel; without noise, to compile fast."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jax.tree.map(lambda p: 0.3 * p, draw(key))

    def batch(self, instance, key, split):
        return ()

    def loss(self, instance, params, batch, key):
        return optax.tree.norm(params, squared=True) / 2

    @property
    def ceiling(self):
        return 1e3


def draw(key):
    """Draw a tree of every rank."""
    sizes = [math.prod(shape) for shape in SHAPES.values()]
    parts = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for part, (name, shape) in zip(parts, SHAPES.items(), strict=True)}


GRADIENTS = [draw(jax.random.key(seed)) for seed in (1, 2, 3)]


def rule_of(baseline, rate):
    return OptaxRule.create(KEY, baseline.make, baseline.scheduled, learning_rate=rate)


def optax_of(baseline, rate, **options):
    horizon = {"horizon": HORIZON} if baseline.scheduled else {}
    return baseline.make(learning_rate=rate, **horizon, **options)


def updates_of(transformation, params):
    """Return the updates of three steps, with the parameters held where they are."""
    state, updates = transformation.init(params), []
    for grads in GRADIENTS:
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            step, state = jax.jit(transformation.update)(grads, state, params)
        updates.append(step)
    return updates


def assert_close(actual, expected, rtol=1e-5, atol=1e-7):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), actual, expected)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: next(iter(family)))
def test_a_baseline_lowers_the_loss_of_parameters_of_every_rank(family):
    tuned = tune(family, Bowl(), HORIZON, run_keys(0, 2, "bowl"), split="test")
    assert tuned.keys() == family.keys()
    for name, one in tuned.items():
        train, held_out = one.curves.train, one.curves.held_out
        assert (train.dtype, train.shape) == (np.float32, (2, HORIZON))
        assert np.isfinite(train).all()
        assert np.isfinite(held_out).all()
        assert min(one.scores) == pytest.approx(train.mean(), rel=1e-6)
        assert one.scores[one.rates.index(one.rate)] == min(one.scores)
        assert (train[:, -1] < train[:, 0]).all()
        if name in TUNED:
            assert (held_out[:, -1] < 0.3 * train[:, 0]).all(), name
            assert one.rates[0] < one.rate < one.rates[-1]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: next(iter(family)))
def test_a_traced_rate_is_a_concrete_one(family):
    baseline, params = next(iter(family.values())), draw(KEY)
    rate = baseline.rates[7]
    expected = updates_of(optax_of(baseline, rate), params)

    @jax.jit
    def traced(rule, horizon, grads, state):
        state = rule.init(params, horizon) if state is None else state
        return rule.update(grads, state, params)

    state = None
    for grads, want in zip(GRADIENTS, expected, strict=True):
        updates, state = traced(rule_of(baseline, rate), jnp.asarray(HORIZON), grads, state)
        # Orthogonalising in another program rounds otherwise.
        assert_close(updates, want, rtol=2e-4 if baseline is BASELINES["muon"] else 1e-5)
    other, _ = traced(rule_of(baseline, baseline.rates[9]), jnp.asarray(HORIZON), GRADIENTS[0], None)
    with pytest.raises(AssertionError):  # The rate has a part in it.
        assert_close(other, expected[0])


@pytest.mark.parametrize(("name", "decay"), [("adamw-cosine", 1e-4), ("nadamw", 1e-4), ("lion", 1e-3)])
def test_weight_decay_is_decoupled(name, decay):
    """It adds -rate * decay * params whatever the gradients, and has no part in the moments."""
    baseline, params, rate = BASELINES[name], jax.tree.map(lambda p: 100 * p, draw(KEY)), 0.1
    schedule = warmup_cosine(rate, HORIZON) if baseline.scheduled else lambda step: rate
    plain = {"adamw-cosine": optax.adamw, "nadamw": optax.nadamw, "lion": optax.lion}[name]
    without = updates_of(plain(schedule, weight_decay=0.0), params)
    for step, (own, bare) in enumerate(
        zip(updates_of(optax_of(baseline, rate), params), without, strict=True)
    ):
        expected = jax.tree.map(lambda p, step=step: -schedule(step) * decay * p, params)
        assert_close(jax.tree.map(jnp.subtract, own, bare), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(TUNED) - {"adamw-cosine", "nadamw", "lion", "prodigy"}))
def test_others_do_not_decay(name):
    params, zero = draw(KEY), jax.tree.map(jnp.zeros_like, draw(KEY))
    transformation = optax_of(BASELINES[name], BASELINES[name].rates[7])
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
        updates, _ = transformation.update(zero, transformation.init(params), params)
    # Schedule-Free rounds where it recomputes its average.
    assert_close(updates, zero, atol=1e-6)


def test_the_schedule_is_optaxs_between_its_steps():
    expected = optax.warmup_cosine_decay_schedule(0.0, 0.3, warmup_steps=2, decay_steps=40)
    own = jax.jit(lambda horizon, step: warmup_cosine(0.3, horizon)(step))
    rates = [float(own(40, step)) for step in range(40)]
    np.testing.assert_allclose(rates, [float(expected(step + 0.5)) for step in range(40)], rtol=1e-4)
    assert min(rates) > 0
    assert 0.29 < max(rates) <= 0.3
    assert int(np.argmax(rates)) == 2


@pytest.mark.parametrize("name", UNTUNED)
def test_an_untuned_baseline_is_a_tuned_one_at_one_rate_which_its_label_tells(name):
    untuned = BASELINES[name]
    tuned = BASELINES["adam" if name == "adam-1e-3" else name.removesuffix("-default")]
    same = ("make", "scheduled", "measured_at", "version")
    assert [getattr(untuned, field) for field in same] == [getattr(tuned, field) for field in same]
    (rate,) = untuned.rates
    what, said = untuned.label.rsplit(" ", 1)
    assert tuned.label == f"tuned {what}"
    assert float(said) == rate
    assert tuned.rates[0] <= rate < tuned.rates[-1]


def test_an_untuned_baseline_has_the_rate_of_its_library():
    own = {
        name: inspect.signature(BASELINES[name].make).parameters["learning_rate"].default for name in UNTUNED
    }
    of_optax = {name: rate for name, rate in own.items() if isinstance(rate, float)}
    assert of_optax == {"schedule-free-adamw-default": 0.0025, "prodigy-default": 1.0}
    assert {name: BASELINES[name].rates[0] for name in of_optax} == of_optax
    assert len(UNTUNED) == len(TUNED)


@pytest.mark.parametrize("name", TUNED)
def test_every_baseline_has_the_same_budget(name):
    rates = np.array(BASELINES[name].rates)
    assert len(rates) == GRID_POINTS == 15
    np.testing.assert_allclose(np.diff(np.log10(rates)), 4 / 14, rtol=0.02)


def test_one_rate_of_muon_serves_matrices_and_vectors():
    """Kernels are orthogonalised with their last axis as outputs; every update has AdamW's size."""
    (updates, *_) = updates_of(muon(1.0), draw(KEY))
    for name in ("matrix", "kernel"):
        flat = np.asarray(updates[name]).reshape(-1, SHAPES[name][-1])
        values = np.linalg.svd(flat, compute_uv=False)
        assert values.min() > 0.6 * values.max()
        assert np.sqrt(len(flat)) * 0.2 == pytest.approx(values.mean(), rel=0.3)
    first_step = 0.9 * 0.1 / (1 - 0.9**2) + 1  # of Nesterov's Adam
    np.testing.assert_allclose(np.abs(updates["vector"]), first_step, rtol=1e-3)


def test_schedule_free_trains_at_one_point_and_is_measured_at_the_other():
    task, horizon, rate = Quadratic(dimension=3, noise=0.3), 6, 0.3
    keys = run_keys(0, 1, "quadratic")
    baseline = BASELINES["schedule-free-adamw"]
    curves = training_curves(baseline.rule(rate), task, horizon, keys, split="test", points=3, batches=1)

    init_key, step_key, measure_key = jax.random.split(keys[0], 3)
    sample_key, params_key = jax.random.split(init_key)
    instance = task.sample(sample_key)
    params = task.init(instance, params_key)
    optimizer = contrib.schedule_free_adamw(rate)
    state = optimizer.init(params)
    ((held_out_key,), (loss_key,)) = jax.random.split(measure_key, (2, 1))
    held_out = task.batch(instance, held_out_key, "test")
    train, measured, naive = [], [], []
    for key in jax.random.split(step_key, horizon):
        batch = task.batch(instance, jax.random.split(key, 3)[0], "train")
        loss, grads = jax.value_and_grad(task.loss, argnums=1)(instance, params, batch, loss_key)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        average = contrib.schedule_free_eval_params(state, params)
        train.append(loss)
        measured.append(task.loss(instance, average, held_out, loss_key))
        naive.append(task.loss(instance, params, held_out, loss_key))
    np.testing.assert_allclose(curves.train[0], train, rtol=1e-4)
    np.testing.assert_allclose(curves.held_out[0], measured[1::2], rtol=1e-4)
    assert (np.abs(curves.held_out[0] / np.array(naive[1::2]) - 1) > 1e-3).any()


def test_two_points_that_are_one_change_nothing():
    task, keys, rule = Bowl(), run_keys(0, 2, "bowl"), rule_of(BASELINES["sgd"], 0.1)
    plain = training_curves(rule, task, HORIZON, keys, split="test")
    measured = dataclasses.replace(rule, measured_at=lambda state, params: params)
    curves = training_curves(measured, task, HORIZON, keys, split="test")
    np.testing.assert_allclose(curves.train, plain.train, rtol=1e-5)
    np.testing.assert_allclose(curves.held_out, plain.held_out, rtol=1e-5)
    # And a gradient step is what it is.
    np.testing.assert_allclose(plain.train[:, 1:], 0.81 * plain.train[:, :-1], rtol=1e-5)


def test_baselines_are_chosen_by_name_with_the_reference_among_them():
    assert tuple(choose(["standard"])) == STANDARD
    assert choose(["all"]) == BASELINES
    assert list(choose(["muon", "lion"])) == [REFERENCE, "lion", "muon"]
    assert list(choose(["standard", "sgd"])) == [*STANDARD, "sgd"]
    assert set(choose(["strong"])) == {*STANDARD, "adamw-cosine", "muon", "schedule-free-adamw"}
    with pytest.raises(ValueError, match="unknown baseline 'loin'; did you mean lion"):
        choose(["loin"])


def test_a_family_is_one_optimizer():
    for family in FAMILIES:
        assert len({(one.make, one.scheduled, one.measured_at) for one in family.values()}) == 1
    assert len(FAMILIES) == len(TUNED)
    assert sum(one.make is adamw_cosine for family in FAMILIES for one in family.values()) == 2
