"""Tuning hyperparameters: what is run is the optimizer that is printed, and wrong input is told."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from lopt import UsageError
from meta_train import (
    BPTT,
    OPTIMIZERS,
    PES,
    SCHEDULES,
    ConstantHorizon,
    HyperparameterTuning,
    Loop,
    Method,
    Placement,
    Run,
    RunDirectory,
    SumLoss,
    TimeWeightedLoss,
    Trainer,
    register_optimizer,
    run_from_json,
    run_to_json,
)
from meta_train.commands import tune
from meta_train.tuning.space import parse_names
from tasks import TASKS, Bounded, Choice, Hyperparameter, Integer, Positive, Real, Share, Task

from .small_runs import run_here

HORIZON = 6


class Bowl(Task):
    """Two layers of a parabola with a hyperparameter of its own; batches are noise on the optimum."""

    width: int = struct.field(pytree_node=False, default=3)

    @property
    def hyperparameters(self):
        return {"tilt": Hyperparameter(Bounded(0, 2), 0.5, measured=0)}

    def tuned(self, instance, values):
        return {**instance, **values}

    def sample(self, key):
        return {"tilt": jnp.zeros((), jnp.float32)}

    def init(self, instance, key):
        first, second = jax.random.normal(key, (2, self.width))
        return {"a": {"kernel": first, "bias": jnp.ones(())}, "b": {"kernel": second}}

    def batch(self, instance, key, split):
        return 0.1 * jax.random.normal(key, ())

    def loss(self, instance, params, batch, key):
        a, b = params["a"], params["b"]
        return (
            jnp.sum(jnp.square(a["kernel"] - batch))
            + 2 * jnp.square(a["bias"])
            + 0.5 * jnp.sum(jnp.square(b["kernel"] - 1))
            + instance["tilt"] * a["bias"]
        )

    def accuracy(self, instance, params, batch, key):
        return (jnp.abs(params["a"]["bias"]) < 0.5).astype(jnp.float32)

    @property
    def ceiling(self):
        return 1e3


@pytest.fixture(autouse=True)
def bowl(monkeypatch):
    monkeypatch.setitem(TASKS, "bowl", Bowl)


def problem(*names, **options):
    return HyperparameterTuning(task=("bowl",), tune=names or ("learning_rate",), **options)


def trained(one, theta=None, key=0):
    """Return the parameters after an episode, and the last loss."""
    dynamics = one.members()["bowl"].dynamics
    theta = one.theta(jax.random.key(0)) if theta is None else theta

    @jax.jit
    def run(theta):
        state = dynamics.init(theta, jnp.asarray(HORIZON), jax.random.key(key))
        keys = jax.random.split(jax.random.key(key + 1), HORIZON)
        return jax.lax.scan(lambda state, key: dynamics.step(theta, state, key), state, keys)

    state, losses = run(theta)
    return state.params, losses


def written(one, theta=None):
    """Return the optimizer as Python."""
    theta = one.theta(jax.random.key(0)) if theta is None else theta
    return one.tuning.expression(one.describe(theta), HORIZON)


def trained_by_optax(text, key=0):
    """Do the same with a plain loop and the optimizer that a piece of Python makes."""
    task, tx = Bowl(), eval(text, {"optax": optax, "jnp": jnp, "jax": jax})
    sample_key, init_key = jax.random.split(jax.random.key(key))
    instance = task.sample(sample_key)
    params = task.init(instance, init_key)
    with jax.numpy_dtype_promotion("standard"):
        state = tx.init(params)

    @jax.jit
    def step(params, state, key):
        batch_key, loss_key, _, _ = jax.random.split(key, 4)
        batch = task.batch(instance, batch_key, "train")
        grads = jax.grad(task.loss, argnums=1)(instance, params, batch, loss_key)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    with jax.numpy_dtype_promotion("standard"):  # the printed text is a user's code
        for one in jax.random.split(jax.random.key(key + 1), HORIZON):
            params, state = step(params, state, one)
    return params


def assert_close(got, expected, rtol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), got, expected)


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "values", "wrong"),
    [
        (Real(), (-3.0, 0.0, 7.0), (math.inf, math.nan)),
        (Positive(), (1e-8, 1.0, 30.0), (0.0, -1.0, math.inf)),
        (Share(), (0.01, 0.5, 0.999), (0.0, 1.0, 2.0)),
        (Bounded(-1, 3), (-0.9, 0.0, 2.9), (-1.1, 3.1)),
        (Bounded(1e-4, 10, log=True), (1e-3, 1.0, 5.0), (1e-5, 0.0, 11.0)),
        (Integer(1, 9), (1.0, 4.0, 9.0), (0.0, 2.5, 10.0)),
        (Integer(1, 1000, log=True), (1.0, 30.0, 1000.0), (0.0, 1001.0)),
        (Choice((16, 32, 128)), (16.0, 32.0, 128.0), (64.0,)),
    ],
)
def test_free_numbers_and_values_are_inverse(constraint, values, wrong):
    for value in values:
        assert constraint.allows(value)
        got = constraint.value(jnp.asarray(constraint.free(value), jnp.float32))
        assert float(got) == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert not any(constraint.allows(value) for value in wrong)


def test_every_whole_number_has_an_equal_share():
    """Evenly drawn places give each number alike, the ends too."""
    free = np.log(np.linspace(0.0005, 0.9995, 1000)) - np.log1p(-np.linspace(0.0005, 0.9995, 1000))
    got = np.asarray(Integer(3, 7).value(jnp.asarray(free, jnp.float32)))
    assert [int(np.sum(got == n)) for n in range(3, 8)] == [200] * 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bounded(1, 1), "the lower one first, not 1:1"),
        (lambda: Bounded(0, math.inf), "must be finite"),
        (lambda: Bounded(0, 1, log=True), "must be positive, not 0:1"),
        (lambda: Integer(0.5, 3), "must be whole, not 0.5:3"),
        (lambda: Choice((3,)), "at least two values"),
        (lambda: Hyperparameter(Positive(), 0.0), "its start must be positive, not 0"),
        (lambda: Hyperparameter(Share(), (0.9, 0.1)), "the lower end first, not 0.9:0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- what is run is what is printed ------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_training_is_that_of_the_printed_optimizer(optimizer):
    one = problem(*OPTIMIZERS[optimizer].hyperparameters, optimizer=optimizer, start=("learning_rate=0.03",))
    text = written(one)
    assert_close(trained(one)[0], trained_by_optax(text))


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_schedule_is_that_of_the_printed_optimizer(schedule):
    names = SCHEDULES[schedule].hyperparameters
    one = problem("learning_rate", *names, schedule=schedule, set=("momentum=0.5",))
    theta = jax.tree.map(lambda x: x - 0.3, one.theta(jax.random.key(0)))
    text = written(one, theta)
    assert "momentum=0.5" in text
    assert_close(trained(one, theta)[0], trained_by_optax(text))


@pytest.mark.parametrize("scope", ["tensor", "layer"])
def test_groups_of_tensors_have_their_own_values(scope):
    one = problem(f"learning_rate@{scope}", "momentum")
    theta = one.theta(jax.random.key(0))
    assert theta["learning_rate"].shape == ({"tensor": 3, "layer": 2}[scope],)
    theta["learning_rate"] += jnp.arange(len(theta["learning_rate"]), dtype=jnp.float32)
    text = written(one, theta)
    assert_close(trained(one, theta)[0], trained_by_optax(text))


def test_what_acts_on_the_gradient_is_printed_too():
    one = problem("l2", "clip", start=("l2=0.3", "clip=0.5"), set=("learning_rate=0.05",))
    text = written(one)
    assert_close(trained(one)[0], trained_by_optax(text))


def test_noise_has_the_size_that_it_says():
    """Adam's first step shows signs; gradient descent's first step shows the noise itself."""
    one = problem("gradient_noise", start=("gradient_noise=2",), set=("learning_rate=1",))
    quiet = problem("learning_rate", start=("learning_rate=1",))
    dynamics = [each.members()["bowl"].dynamics for each in (one, quiet)]
    thetas = [each.theta(jax.random.key(0)) for each in (one, quiet)]

    @jax.jit
    def difference(key):
        moved = []
        for each, theta in zip(dynamics, thetas, strict=True):
            state = each.init(theta, jnp.asarray(HORIZON), jax.random.key(0))
            moved.append(each.step(theta, state, key)[0].params)
        return jax.flatten_util.ravel_pytree(jax.tree.map(jnp.subtract, *moved))[0]

    drawn = np.asarray(jax.vmap(difference)(jax.random.split(jax.random.key(3), 2000)))
    size = np.sqrt(np.mean(np.square(drawn)))
    assert size == pytest.approx(2, rel=4 / math.sqrt(2 * drawn.size))


# --- what is measured --------------------------------------------------------------------------------------


def test_what_acts_in_training_alone_is_off_where_it_is_measured():
    """The tilt moves the bias, and is no part of the loss that is measured."""
    one = problem("tilt", start=("tilt=1.5",), set=("learning_rate=0.1",))
    dynamics = one.members()["bowl"].dynamics
    theta, key = one.theta(jax.random.key(0)), jax.random.key(2)
    state = dynamics.init(theta, jnp.asarray(HORIZON), jax.random.key(0))
    after, measured = dynamics.step(theta, state, key)
    *_, measure_key = jax.random.split(key, 4)
    batch_key, loss_key = jax.random.split(measure_key)
    batch = Bowl().batch({}, batch_key, "inner_valid")
    plain = Bowl().loss({"tilt": 0.0}, after.params, batch, loss_key)
    np.testing.assert_allclose(measured, plain, rtol=1e-6)
    assert float(after.params["a"]["bias"]) == pytest.approx(1 - 0.1 * (4 + 1.5), rel=1e-5)


@pytest.mark.parametrize(("measure", "low", "high"), [("error", 0, 1), ("loss+error", 0, math.inf)])
def test_the_error_is_one_minus_the_accuracy(measure, low, high):
    _, losses = trained(problem(measure=measure, start=("learning_rate=0.1",)))
    plain = trained(problem(start=("learning_rate=0.1",)))[1]
    error = losses - plain if measure != "error" else losses
    # The bias is multiplied by 0.6 a step, from 1: it is below a half from the second step on.
    np.testing.assert_allclose(error, [1, 0, 0, 0, 0, 0], atol=1e-5)


def test_late_steps_count_more_in_the_time_weighted_objective():
    losses = jnp.asarray([5.0, 1.0, 2.0, 4.0])
    objective, total = TimeWeightedLoss(), jnp.zeros(())
    for age, loss in enumerate(losses):
        total += objective.increment(total, loss, jnp.asarray(age), jnp.asarray(4))
    assert float(total) == pytest.approx((1 * 5 + 2 * 1 + 3 * 2 + 4 * 4) / 10)


def test_the_exact_gradient_is_that_of_the_values():
    """By a finite difference of the free number: what bptt gives is a hypergradient."""
    one = problem(start=("learning_rate=0.05",))
    dynamics = one.members()["bowl"].dynamics
    estimator = BPTT(ConstantHorizon(HORIZON), HORIZON, SumLoss(), phase="lockstep")
    theta, key = one.theta(jax.random.key(0)), jax.random.key(4)
    particle = estimator.init(dynamics, theta)
    step = jax.jit(lambda theta: estimator.step(dynamics, theta, particle, key, jnp.asarray(0))[1])
    rate = theta["learning_rate"]
    up, down = (float(step({"learning_rate": rate + d}).metrics["objective"]) for d in (0.01, -0.01))
    gradient = float(step(theta).gradient["learning_rate"])
    assert gradient == pytest.approx((up - down) / 0.02, rel=2e-3)


# --- wrong input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": ("learning_rat",)}, "unknown hyperparameter 'learning_rat'; did you mean learning_rate"),
        ({"tune": ("learning_rate", "learning_rate")}, "names learning_rate twice"),
        ({"tune": ("learning_rate@kernel",)}, "NAME@layer or NAME@tensor"),
        ({"tune": ()}, "at least one hyperparameter"),
        ({"bounds": ("learning_rate=1:0.1",)}, "learning_rate: bounds must be finite, the lower one first"),
        ({"bounds": ("learning_rate=1",)}, "learning_rate: bounds are LOW:HIGH"),
        ({"bounds": ("momentum=0:1",)}, "--bounds has momentum, which --tune does not name"),
        ({"start": ("learning_rate=-1",)}, "learning_rate: its start must be positive, not -1"),
        (
            {"start": ("learning_rate=3",), "bounds": ("learning_rate=0.1:1",)},
            "its start must be between 0.1 and 1, not 3",
        ),
        ({"start": ("learning_rate",)}, "--start takes NAME=VALUE"),
        ({"set": ("learning_rate=1",)}, "--set has learning_rate, which --tune names"),
        ({"set": ("momentum=2",)}, "--set: momentum must be between 0 and 1, not 2"),
        ({"set": ("momentu=0.5",)}, "unknown hyperparameter 'momentu'; did you mean momentum"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; did you mean sgd"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean cosine"),
        ({"task": ("bowll",)}, "unknown task 'bowll'"),
    ],
)
def test_wrong_input_is_told_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as told:
        HyperparameterTuning(**{"task": ("bowl",)} | options).members()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "error"}, "BPTT needs derivatives, and the error has none: choose pes"),
        ({"bounds": ("learning_rate=0.1,0.2,0.4",)}, "BPTT needs derivatives, and learning_rate is rounded"),
    ],
)
def test_an_estimator_that_needs_derivatives_is_refused_where_there_are_none(options, message):
    method = Method(BPTT(ConstantHorizon(20), 5))
    with pytest.raises(UsageError, match=message):
        Run(problem(**options), method)
    Run(problem(**options), Method(PES(ConstantHorizon(20), 5)))
    Run(problem(), method)


def test_names_may_be_apart_by_commas():
    assert parse_names(("a,b@layer", "c@tensor")) == {"a": "all", "b": "layer", "c": "tensor"}


def test_an_optimizer_of_ones_own_says_what_its_hyperparameters_may_be():
    with pytest.raises(UsageError, match="say what trust may be"):
        register_optimizer("mine")(lambda learning_rate, trust: optax.sgd(learning_rate))
    with pytest.raises(UsageError, match="'sgd' is registered for tuning already"):
        register_optimizer("sgd")(lambda learning_rate: optax.sgd(learning_rate))


# --- as a command ------------------------------------------------------------------------------------------

LINE = "bowl --tune learning_rate,momentum --window 3 --horizon-high 6 --particles 4 --steps 4 --seed 3"
LINE += " --validate-every 2 --validation-episodes 2 --reference-rates 3 --devices 1 --steps-per-call 2"
LINE += " --surface 3 --no-progress --run-dir"


def test_the_command_tunes_prints_and_draws(tmp_path, capsys):
    assert run_here(tune.main, *LINE.split(), tmp_path / "whole") == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "whole" / "tuned" / "hyperparameters.json").read_text())
    assert found["values"].keys() == {"learning_rate", "momentum"}
    assert found["optax"] in printed
    eval(found["optax"], {"optax": optax, "jnp": jnp})
    for picture in ("tuned.png", "surface.png"):
        assert (tmp_path / "whole" / "tuned" / picture).read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    names = {"tuned/learning_rate", "tuned/momentum", "meta/untuned", "meta/random_search"}
    assert names <= json.loads(lines[-1]).keys()


def test_it_resumes_to_the_bit(tmp_path):
    method = Method(PES(ConstantHorizon(6), 3, sigma=0.1), particles=4, warmup=0)
    loop = Loop(steps=4, steps_per_call=2, validate_every=2, validation_episodes=2, reference_rates=2)
    about = Run(problem("learning_rate@layer", "momentum"), method, loop, Placement(devices=1))

    def theta(path, *stops):
        for stop_at in (*stops, None):
            directory = RunDirectory(path)
            directory.open(about, "lopt-tune bowl")
            trainer = Trainer(about, directory)
            list(trainer.records(lambda: trainer.meta_step == stop_at))  # noqa: B023
            trainer.close()
        return jax.device_get(trainer.theta)

    jax.tree.map(np.testing.assert_array_equal, theta(tmp_path / "a", 2), theta(tmp_path / "b"))


def test_the_run_is_written_and_read():
    options = {"optimizer": "adam", "bounds": ("b1=0.5:0.99",), "measure": "error"}
    run = Run(problem("b1", **options), Method(PES(ConstantHorizon(20), 5)))
    assert run_from_json(run_to_json(run)) == run


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bowl --tune learning_rat", "lopt-tune: unknown hyperparameter 'learning_rat'"),
        ("bowll --tune learning_rate", "unknown task 'bowll'"),
        ("bowl --tune learning_rate --measure error --estimator bptt", "BPTT needs derivatives"),
    ],
)
def test_the_command_tells_what_is_wrong(tmp_path, capsys, line, told):
    assert run_here(tune.main, *line.split(), "--run-dir", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_help_names_what_to_type(capsys):
    assert tune.main([]) == 2
    assert tune.main(["--help"]) == 0
    assert "--tune NAME,NAME" in capsys.readouterr().out
