"""What is frozen has no noise, no gradient and no motion; the rest is trained as if it were all of theta."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from meta_train import (
    ESTIMATORS,
    ConstantHorizon,
    Devices,
    Dynamics,
    Mixture,
    RunDirectory,
    Trainer,
    build,
    create_estimator,
    export_run,
    init_run,
    load_run_optimizer,
    make_meta_step,
)
from meta_train.config.differences import differences
from meta_train.population.part import Part

from .dynamics import VectorLinear
from .small_runs import SMALL_RUN

STEPS, WINDOW, PARTICLES = 6, 2, 3
USUAL = ("pes", "tbptt", "rtrl")
"""Estimators of the three kinds; they all see the same dynamics, and the others compile for a minute."""
THETA = VectorLinear.theta()
SYSTEM = VectorLinear.draw(STEPS)


class OnlyThePair(Dynamics):
    """The same system, with a scalar that is a constant and no meta-parameter."""

    def init(self, theta, horizon, key):
        return SYSTEM.init({"pair": theta[0], "scalar": THETA["scalar"]}, horizon, key)

    def step(self, theta, state, key):
        return SYSTEM.step({"pair": theta[0], "scalar": THETA["scalar"]}, state, key)


def trained(estimator, dynamics, theta, part):
    """Theta and the metrics after two episodes."""
    outer, mixture = optax.adam(0.1), Mixture.of(PARTICLES, devices=Devices(1))
    (name,) = (member.name for member in mixture.members)
    # The meta-step donates its state.
    theta = jax.tree.map(jnp.copy, theta)
    state, particles = init_run({name: dynamics}, estimator, outer, mixture, theta, jax.random.key(0), part)
    step = make_meta_step(estimator, outer, mixture, part=part)
    count = jnp.asarray(2 * STEPS // WINDOW, jnp.int32)
    state, _, metrics = step(state, particles, ({name: dynamics}, count))
    return jax.device_get((state.theta, state.outer, metrics))


SPECIAL = {"implicit", "kf-rtrl", "ok"}
"""These take only dynamics of a certain form, which those of a part don't have; they say so."""
ROUNDED = {"pes-analytic": 1e-5, "russian-roulette": 1e-3}
"""XLA rounds some numbers of these differently in the two programs: by how much, at most."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in USUAL else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(set(ESTIMATORS) - SPECIAL)
    ],
)
def test_training_a_part_is_training_it_beside_constants(name):
    estimator = create_estimator(name, horizon=ConstantHorizon(STEPS), window=WINDOW, phase="lockstep")
    part = Part.like({"pair": True, "scalar": False})
    theta, outer, metrics = trained(estimator, SYSTEM, THETA, part)
    alone, alone_outer, alone_metrics = trained(estimator, OnlyThePair(), (THETA["pair"],), Part())
    close = functools.partial(np.testing.assert_allclose, rtol=ROUNDED.get(name, 0))
    np.testing.assert_array_equal(theta["scalar"], THETA["scalar"])
    close(theta["pair"], alone[0])
    assert np.all(theta["pair"] != THETA["pair"])
    jax.tree.map(close, outer, alone_outer)
    # The norm of theta is that of all of it; the variance and all others are those of the part.
    same = functools.partial(np.allclose, rtol=ROUNDED.get(name, 0), atol=0, equal_nan=True)
    assert {k for k in metrics if not same(metrics[k], alone_metrics[k])} == {"theta_norm"}


@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_estimators_for_special_dynamics_refuse_a_part(name):
    estimator = create_estimator(name, horizon=ConstantHorizon(STEPS), window=WINDOW, phase="lockstep")
    with pytest.raises(lopt.UsageError, match="needs .*, and _PartlyFrozen has none: take "):
        trained(estimator, SYSTEM, THETA, Part.like({"pair": True, "scalar": False}))


def test_nothing_frozen_is_no_part():
    assert Part.like({"pair": True, "scalar": True}) == Part.like(None) == Part()
    assert Part().of(THETA) is THETA
    assert Part().dynamics(SYSTEM, THETA) is SYSTEM


def test_frozen_leaves_keep_the_sign_of_zero_and_even_nan():
    """Nothing is added to them, not even zero."""
    theta = {"pair": jnp.asarray([-0.0, jnp.nan]), "scalar": jnp.asarray(1.0)}
    part = Part.like({"pair": False, "scalar": True})
    joined = part.joined(optax.apply_updates(part.of(theta), (jnp.asarray(1.0),)), theta)
    assert joined["pair"] is theta["pair"]
    assert joined["scalar"] == 2


# --- as an option of a run -------------------------------------------------------------------------------

FROZEN = SMALL_RUN.replace(freeze=("log_learning_rate",), hysteresis_particles=2)


def drive(path, options, stop_at=None):
    directory = RunDirectory(path)
    directory.open(options.run(), "lopt-train")
    trainer = Trainer(options.run(), directory)
    for _ in trainer.records(lambda: trainer.meta_step == stop_at):
        pass
    trainer.close()
    return jax.device_get((trainer.theta, trainer._particles))


def test_a_run_keeps_what_is_frozen_and_resumes_to_the_bit(tmp_path):
    start = build(FROZEN.run()).theta
    theta, particles = drive(tmp_path / "whole", FROZEN)
    np.testing.assert_array_equal(theta.log_learning_rate, start.log_learning_rate)
    assert theta.log_one_minus_b1 != start.log_one_minus_b1
    drive(tmp_path / "halved", FROZEN, stop_at=6)
    resumed = drive(tmp_path / "halved", FROZEN)
    jax.tree.map(np.testing.assert_array_equal, resumed, (theta, particles))
    jax.tree.map(np.testing.assert_array_equal, load_run_optimizer(tmp_path / "halved"), theta)
    said = json.loads((tmp_path / "whole" / "config.json").read_text())["problem"]
    assert (said["freeze"], said["train_only"]) == (["log_learning_rate"], [])


PHASE_ONE = SMALL_RUN.replace(
    optimizer="celo",
    optimizer_options=("lstm_size=2", "hidden_layers=1", "step_scale=100.0", "scheduled=False"),
    freeze=("scheduler",),
    steps=2,
    steps_per_call=1,
    particles=1,
    reference_rates=0,
    hysteresis_particles=0,
)
PHASE_TWO = PHASE_ONE.replace(optimizer_options=("scheduled=True",), freeze=(), train_only=("scheduler",))


def test_the_second_phase_of_celo_begins_with_the_theta_of_the_first(tmp_path):
    one = build(PHASE_ONE.run())
    lopt.save(one.theta, tmp_path / "exported", {})
    two = build(PHASE_TWO.replace(init_from=str(tmp_path / "exported")).run())
    assert isinstance(two.theta, lopt.Celo)
    assert two.theta.scheduled
    assert two.theta.lstm_size == 2
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(two.theta), jax.tree.leaves(one.theta))
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(parts.part.of(parts.theta))) for parts in (one, two)]
    assert sum(sizes) == lopt.theta_size(two.theta)
    assert sizes[0] == sum(leaf.size for leaf in jax.tree.leaves(two.theta.mlp))


@pytest.mark.slow
def test_the_phases_of_celo(tmp_path):
    """First the MLP without a scheduler; then the scheduler alone, from what the first phase exported."""
    one, _ = drive(tmp_path / "one", PHASE_ONE)
    start = build(PHASE_ONE.run()).theta
    assert not one.scheduled
    assert np.any(one.mlp[0]["kernel"] != start.mlp[0]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, one.scheduler, start.scheduler)
    exported = export_run(tmp_path / "one", tmp_path / "exported")
    assert lopt.read_config(exported)["provenance"]["freeze"] == ["scheduler"]
    two, _ = drive(tmp_path / "two", PHASE_TWO.replace(init_from=str(exported)))
    assert isinstance(two, lopt.Celo)
    assert two.scheduled
    jax.tree.map(np.testing.assert_array_equal, two.mlp, one.mlp)
    assert np.any(two.scheduler.rate["kernel"] != one.scheduler.rate["kernel"])
    assert jax.tree.structure(load_run_optimizer(tmp_path / "two")) == jax.tree.structure(two)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"freeze": ("log_learning_rat",)}, "called 'log_learning_rat'; did you mean log_learning_rate"),
        ({"train_only": ("zzz",)}, "called 'zzz'; did you mean log_learning_rate or "),
        ({"freeze": ("*",)}, "is left to train"),
        ({"freeze": ("log_eps",), "train_only": ("log_eps",)}, "give one of them"),
        (
            {"init_from": "small-2", "optimizer_options": ("hidden_size=3",)},
            "fit muon-star with hidden_size=3",
        ),
        ({"init_from": "small-2", "optimizer_options": ("lstm_size=3",)}, "can set hidden_size"),
        ({"init_from": "small-2", "optimizer_options": ("hidden_size=x",)}, "muon-star"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(options, complaint):
    with pytest.raises(lopt.UsageError, match=complaint):
        build(SMALL_RUN.replace(**options).run())


def test_what_is_frozen_must_not_change_on_resuming():
    old, new = FROZEN.run(), FROZEN.replace(freeze=("log_eps", "log_one_minus_b1")).run()
    assert differences(old, new) == ["--freeze was log_learning_rate, now log_eps log_one_minus_b1"]
    assert differences(old, FROZEN.replace(freeze=()).run()) == ["--freeze was log_learning_rate, now none"]
