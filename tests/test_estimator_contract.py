"""What every registered estimator promises to the meta-step, checked on a small inner training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
import tasks
from meta_train import (
    ESTIMATORS,
    ConstantHorizon,
    HyperparameterTuning,
    InnerTraining,
    create_estimator,
    register,
)

from .dynamics import Elman

STEPS, WINDOW = 6, 2
DYNAMICS = InnerTraining(tasks.Quadratic(dimension=3))
THETA = lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.1)
META_STEP = jnp.zeros((), jnp.int32)
TUNING = HyperparameterTuning(task=("quadratic",), tune=("l2",))
# Estimators that work on dynamics of one kind only.
SPECIAL = {
    "hypergradient-descent": (InnerTraining(tasks.Quadratic(dimension=3), "inner_valid"), THETA),
    "implicit": (TUNING.members()["quadratic"].dynamics, TUNING.theta(jax.random.key(0))),
    "kf-rtrl": (Elman(fixed=False), Elman().theta()),
    "ok": (Elman(fixed=False), Elman().theta()),
}


def make(name):
    return create_estimator(name, horizon=ConstantHorizon(STEPS), window=WINDOW, phase="lockstep")


@pytest.fixture(scope="module", params=sorted(ESTIMATORS))
def ran(request):
    """An estimator, its initial state, and the states and estimates of an episode and a bit."""
    estimator, (dynamics, theta) = make(request.param), SPECIAL.get(request.param, (DYNAMICS, THETA))
    step = jax.jit(lambda *arguments: estimator.step(dynamics, theta, *arguments))
    states, estimates = [estimator.init(dynamics, theta)], []
    for key in jax.random.split(jax.random.key(1), STEPS // WINDOW + 1):
        state, estimate = step(states[-1], key, META_STEP)
        states.append(state)
        estimates.append(estimate)
    return estimator, step, states, estimates


def test_a_particle_begins_with_zeros(ran):
    _, _, states, _ = ran
    assert jax.tree.leaves(states[0])
    for leaf in jax.tree.leaves(states[0]):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_one_compilation_serves_all_steps(ran):
    """So a state comes back with the structure, shapes and dtypes that it was given with."""
    _, step, states, _ = ran
    assert step._cache_size() == 1
    assert len({str(jax.tree.map(jax.typeof, state)) for state in states}) == 1


def test_gradients_are_shaped_like_theta_and_finite(ran):
    estimator, _, _, estimates = ran
    theta = SPECIAL.get(ESTIMATORS.name_of(estimator), (DYNAMICS, THETA))[1]
    for estimate in estimates:
        assert jax.tree.structure(estimate.gradient) == jax.tree.structure(theta)
        for gradient, leaf in zip(jax.tree.leaves(estimate.gradient), jax.tree.leaves(theta), strict=True):
            assert (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)
            assert np.all(np.isfinite(gradient))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves([e.gradient for e in estimates]))


def test_metrics_are_float_scalars_with_the_names_that_others_rely_on(ran):
    _, _, _, estimates = ran
    for estimate in estimates:
        assert {"loss", "objective", "finished", "diverged", "age"} <= estimate.metrics.keys()
        for value in estimate.metrics.values():
            assert value.shape == ()
            assert value.dtype == jnp.float32
    assert all(0 < e.metrics["loss"] < DYNAMICS.ceiling for e in estimates)
    assert all(e.metrics["diverged"] == 0 for e in estimates)


def test_an_objective_is_reported_when_an_episode_ends_and_only_then(ran):
    estimator, _, _, estimates = ran
    ended = [float(e.metrics["finished"]) for e in estimates]
    assert set(ended) == ({1.0} if estimator.whole_episodes else {0.0, 1.0})
    for estimate, over in zip(estimates, ended, strict=True):
        assert (float(estimate.metrics["objective"]) != 0) == bool(over)


def test_the_same_key_gives_the_same_estimate_and_another_key_another(ran):
    _, step, states, estimates = ran
    key, other = jax.random.split(jax.random.key(1), STEPS // WINDOW + 1)[:2]
    again, different = (step(states[0], k, META_STEP)[1] for k in (key, other))
    jax.tree.map(np.testing.assert_array_equal, again, estimates[0])
    assert again.metrics["loss"] != different.metrics["loss"]


def test_an_estimator_is_its_own_configuration(ran):
    estimator = ran[0]
    twin = dataclasses.replace(estimator)
    assert (twin, hash(twin), repr(twin)) == (estimator, hash(estimator), repr(estimator))
    assert dataclasses.replace(estimator, window=3) != estimator


def test_inner_steps_are_counted_per_window(ran):
    estimator = ran[0]
    members = estimator.steps_per_window / estimator.unrolled
    assert members in (1, 2, 3)
    for window in (WINDOW, 3):
        unrolled = STEPS if estimator.whole_episodes else window
        assert dataclasses.replace(estimator, window=window).steps_per_window == members * unrolled


def test_a_state_tells_its_episode_and_its_age(ran):
    estimator, _, states, estimates = ran
    assert [int(state.episodes) for state in (states[0], states[1])] == [0, 1]
    assert int(states[-1].episodes) == (len(estimates) if estimator.whole_episodes else 2)
    for state, estimate in zip(states[1:], estimates, strict=True):
        assert int(state.age) == estimate.metrics["age"]
        assert state.age > 0
        assert state.age % WINDOW == 0


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_an_estimator_cites_its_paper(name):
    assert "References:" in (ESTIMATORS[name].__doc__ or "")


OURS = {name: kind for name, kind in ESTIMATORS.items() if kind.__module__.startswith("meta_train.")}


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS.keys())
def test_an_estimator_of_lopt_is_final_and_replaces_no_method_that_is_there(kind):
    """What a name does is read off one class and the abstract ones above it. A user's own may inherit."""
    above = kind.__mro__[1:]
    assert not set(above) & set(ESTIMATORS.values())
    for name, member in vars(kind).items():
        if name.startswith("__") or not (callable(member) or isinstance(member, property)):
            continue
        for base in above:
            assert getattr(vars(base).get(name), "__isabstractmethod__", name not in vars(base)), name


def test_unknown_names_and_options_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="unknown estimator 'pess'; did you mean pes"):
        create_estimator("pess")
    with pytest.raises(ValueError, match="estimator pes has no colour: it takes"):
        create_estimator("pes", horizon=ConstantHorizon(STEPS), window=WINDOW, colour="red")


def test_a_class_that_forgot_to_be_a_dataclass_is_told():
    """Its fields would be no options, without a word."""

    class Forgetful(ESTIMATORS["pes"]):
        boldness: float = 1.0

    with pytest.raises(ValueError, match=r"Forgetful needs @dataclasses.dataclass\(frozen=True\)"):
        register("forgetful")(Forgetful)
    assert "forgetful" not in ESTIMATORS


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="'pes' is registered already"):
        register("pes")(ESTIMATORS["nres"])
    assert ESTIMATORS["pes"] is not ESTIMATORS["nres"]
