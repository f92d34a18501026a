"""Diagnostics say what they claim: variance, signal, agreement and growth, from known populations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import (
    GPES,
    NRES,
    PES,
    ConstantHorizon,
    Devices,
    Estimator,
    Mixture,
    RunDirectory,
    SumLoss,
    Trainer,
    get_preset,
    init_run,
    make_hysteresis_probe,
    make_meta_step,
)

from .dynamics import ScalarLinear, ScalarTanh

PARTICLES = 64


@dataclasses.dataclass(frozen=True)
class Scripted(Estimator):
    """Estimates that are known: mean + noise, whose scale grows with the episode's age to a power."""

    power: float = 0.0
    scale: float = 1.0

    @property
    def steps_per_window(self):
        return self.window

    def init(self, dynamics, theta):
        return PES(self.horizon, self.window).init(dynamics, theta)

    def step(self, dynamics, theta, state, key, meta_step):
        state, _ = PES(self.horizon, self.window, phase=self.phase).step(
            dynamics, theta, state, key, meta_step
        )
        noise = self.scale * jax.random.normal(jax.random.fold_in(key, 5), theta.shape)
        gradient = 0.5 + noise * state.age.astype(noise.dtype) ** self.power
        window = jax.tree.map(lambda x: x[0], state.pair)
        return state, self.report(gradient, window, _Window(), meta_step)


@dataclasses.dataclass
class _Window:
    loss: float = 0.0


def metrics_of(estimator, calls=1, particles=PARTICLES, size=20):
    dynamics, outer = Still(jnp.ones(12), jnp.ones(12)), optax.sgd(0.0)
    _, _, metrics = train(dynamics, estimator, outer, jnp.zeros(size), calls, particles)
    return {name: float(value) for name, value in metrics.items()}


def train(dynamics, estimator, outer, theta, meta_steps, particles):
    """Do some meta-steps; return the run's state, the particles and the metrics."""
    mixture, dynamics = Mixture.of(particles, Devices(backend="vmap")), {"only": dynamics}
    state, members = init_run(dynamics, estimator, outer, mixture, theta, KEY)
    step = make_meta_step(estimator, outer, mixture)
    state, members, metrics = step(state, members, (dynamics, jnp.asarray(meta_steps, jnp.int32)))
    return state, members["only"], metrics


class Still(ScalarLinear):
    """Nothing happens."""

    def step(self, theta, state, key):
        return state, jnp.zeros(())


KEY = jax.random.key(3)
HORIZON = ConstantHorizon(12)


def test_variance_and_signal_are_those_of_the_population():
    """20 coordinates of mean 0.5 and variance 1: |mean|^2 = 5, trace 20, 64 particles."""
    metrics = metrics_of(Scripted(HORIZON, window=1), calls=200)
    np.testing.assert_allclose(metrics["particle_variance"], 20, rtol=0.02)
    np.testing.assert_allclose(metrics["signal_to_noise"], 64 * 5 / 20, rtol=0.03)
    np.testing.assert_allclose(metrics["particle_cosine"], 5 / 25, rtol=0.03)


def test_pure_noise_has_no_signal_on_average():
    """Without the correction for the noise's share, the ratio would be 1."""
    metrics = metrics_of(_NoMean(HORIZON, window=1), calls=200)
    assert abs(metrics["signal_to_noise"]) < 0.1
    assert abs(metrics["particle_cosine"]) < 0.01


class _NoMean(Scripted):
    def step(self, dynamics, theta, state, key, meta_step):
        state, estimate = super().step(dynamics, theta, state, key, meta_step)
        return state, estimate._replace(gradient=estimate.gradient - 0.5)


def test_identical_particles_agree():
    metrics = metrics_of(Scripted(HORIZON, window=1, scale=0.0))
    np.testing.assert_allclose(metrics["particle_cosine"], 1, rtol=1e-5)
    np.testing.assert_allclose(metrics["particle_variance"], 0, atol=1e-5)


def test_one_particle_has_a_norm_but_no_variance():
    metrics = metrics_of(Scripted(HORIZON, window=1), particles=1)
    assert np.isnan(metrics["particle_variance"])
    assert metrics["particle_norm"] > 0


def test_growth_of_variance_with_age_is_its_power():
    """Mean square 20 age^(2 power) + 5, ages uniform over 1..12, so the regression's value is known."""
    ages = np.arange(1, 13)
    for power in (0.0, 0.5, 1.0):
        squares = 5 + 20 * ages ** (2 * power)
        slope = np.polyfit(ages, squares, 1)[0]
        expected = slope * ages.mean() / squares.mean()
        growth = metrics_of(Scripted(HORIZON, window=1, power=power, phase="random"), calls=240)
        assert abs(growth["variance_growth"] - expected) < 0.06, (power, growth["variance_growth"], expected)


def test_growth_is_not_told_where_all_ages_are_the_same():
    metrics = metrics_of(Scripted(HORIZON, window=1, phase="lockstep"))
    assert np.isnan(metrics["variance_growth"])


# --- hysteresis ------------------------------------------------------------------------------------------


def hysteresis(estimator, learning_rate, meta_steps=9, dynamics=None):
    dynamics = ScalarTanh.draw(12) if dynamics is None else dynamics
    outer = optax.sgd(learning_rate)
    run, members, _ = train(dynamics, estimator, outer, jnp.asarray(0.4), meta_steps, particles=4)
    return float(make_hysteresis_probe(estimator, 4)(run, members, dynamics)), run.theta


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


FAMILY = [
    PES(HORIZON, 2, SumLoss(), sigma=0.1),
    NRES(HORIZON, 2, SumLoss(), sigma=0.1),
    GPES(HORIZON, 2, SumLoss(), sigma=0.1, noise_windows=2),
]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("estimator", FAMILY, ids=lambda e: type(e).__name__)
def test_a_replay_under_a_theta_that_stood_still_gives_the_estimate_again(estimator):
    """So the replay has the run's own keys, noise, horizons and data."""
    assert hysteresis(estimator, learning_rate=0.0)[0] < 1e-12


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("estimator", FAMILY, ids=lambda e: type(e).__name__)
def test_hysteresis_grows_with_the_speed_of_theta(estimator):
    slow, fast = (hysteresis(estimator, learning_rate=rate)[0] for rate in (1e-4, 1e-3))
    assert 0 < slow < fast
    np.testing.assert_allclose(fast / slow, 10, rtol=0.3)


@pytest.mark.usefixtures("double_precision")
def test_hysteresis_is_the_difference_of_an_estimate_computed_by_hand():
    """A lockstep particle pair in its second episode, replayed with a loop."""
    estimator = dataclasses.replace(FAMILY[0], phase="lockstep")
    dynamics, outer = ScalarTanh.draw(12), optax.sgd(0.02)
    run, members, _ = train(dynamics, estimator, outer, jnp.asarray(0.4), 9, particles=1)
    measured = make_hysteresis_probe(estimator, 1)(run, members, dynamics)

    def at(meta_step, state):
        key = jax.random.fold_in(jax.random.fold_in(run.key, meta_step), 0)
        return estimator.step(dynamics, run.theta, state, key, jnp.asarray(meta_step))

    actual = at(9, jax.tree.map(lambda x: x[0], members))[1].gradient
    state = estimator.init(dynamics, run.theta)
    for meta_step in (6, 7, 8):  # an episode has 6 windows
        state, _ = at(meta_step, state)
    replayed = at(9, state)[1].gradient
    np.testing.assert_allclose(measured, abs(actual - replayed) / abs(actual), rtol=1e-9)
    assert measured > 1e-5


def test_first_episodes_are_left_out():
    assert np.isnan(hysteresis(FAMILY[0], learning_rate=0.01, meta_steps=1)[0])


def test_a_run_records_all_of_them(tmp_path):
    config = get_preset("tiny").replace(
        steps=12, particles=4, validate_every=12, hysteresis_particles=2, devices=1
    )
    directory = RunDirectory(tmp_path / "run")
    directory.open(config.run(), "lopt-train tiny")
    trainer = Trainer(config.run(), directory)
    records = list(trainer.records())
    trainer.close()
    last = records[-1].values
    for name in ("particle_variance", "signal_to_noise", "particle_cosine", "variance_growth"):
        assert np.isfinite(last[f"estimator/{name}"]), name
    assert 0 < last["estimator/hysteresis"] < 1
    assert "estimator/hysteresis" not in records[1].values
