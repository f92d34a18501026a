"""The meta-step compiles once, reports finite scalars, survives broken particles, and trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import (
    PES,
    ConstantHorizon,
    Devices,
    Dynamics,
    InnerTraining,
    MeanLoss,
    Mixture,
    SumLoss,
    init_run,
    make_meta_step,
    run_episode,
)

PARTICLES = 8
METRICS = {
    *("loss", "objective", "finished", "diverged"),
    *("particle_norm", "clipped", "dropped", "gradient_norm", "theta_norm", "age"),
    *("update_norm", "gradient_clipped", "skipped", "silent"),
    *("particle_variance", "signal_to_noise", "particle_cosine", "variance_growth"),
}


class Run:
    """A compiled meta-step and its state."""

    def __init__(self, dynamics, theta, *, outer=None, clip=None, particles=PARTICLES, **options):
        estimator = PES(**({"horizon": ConstantHorizon(6), "window": 2, "sigma": 0.1} | options))
        outer, mixture = outer or optax.sgd(0.1), Mixture.of(particles, Devices(backend="vmap"))
        self.dynamics = dynamics
        self.state, self._members = init_run(
            {"only": dynamics}, estimator, outer, mixture, theta, jax.random.key(1)
        )
        self.step = make_meta_step(estimator, outer, mixture, clip)
        self._start = jax.device_get((self.state.replace(key=None), self._members))

    def __call__(self, count=1):
        constants = ({"only": self.dynamics}, jnp.asarray(count, jnp.int32))
        self.state, self._members, metrics = self.step(self.state, self._members, constants)
        return jax.device_get(metrics)

    def restart(self):
        """Go back to meta-step 0 without compiling anew."""
        state, self._members = jax.tree.map(jnp.asarray, self._start)
        self.state = state.replace(key=jax.random.key(1))
        return self

    @property
    def particles(self):
        return self._members["only"]

    @property
    def outcome(self):
        return jax.device_get((self.state.theta, self.particles.pair.state, self.particles.score))


# --- compilation and bookkeeping, on inner training ------------------------------------------------------


@pytest.fixture(scope="module")
def training():
    theta = lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.1)
    return Run(InnerTraining(tasks.Quadratic(dimension=3)), theta, outer=optax.adam(0.1))


def test_nothing_is_compiled_after_the_first_call(training):
    training.restart()()
    assert training.step._cache_size() == 1
    for count in (1, 3, 2):
        training(count)
    assert training.step._cache_size() == 1


def test_several_meta_steps_in_a_call_are_that_many_calls_to_the_bit(training):
    training.restart()(5)
    at_once, meta_step = training.outcome, int(training.state.meta_step)
    training.restart()
    for _ in range(5):
        training()
    jax.tree.map(np.testing.assert_array_equal, at_once, training.outcome)
    assert meta_step == int(training.state.meta_step) == 5


def test_metrics_are_finite_scalars_of_the_documented_names(training):
    training.restart()
    for count in (9, 4, 1):
        metrics = training(count)
        assert metrics.keys() == METRICS
        for name, value in metrics.items():
            assert np.shape(value) == ()
            assert np.isfinite(value), name
    assert metrics["dropped"] == metrics["clipped"] == metrics["diverged"] == 0
    assert 0 < metrics["gradient_norm"] <= metrics["particle_norm"]  # a mean is no longer than its parts
    theta_norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(training.outcome[0])))
    np.testing.assert_allclose(metrics["theta_norm"], theta_norm, rtol=1e-5)


def test_metrics_of_a_call_are_means_over_its_meta_steps(training):
    training.restart()
    single = [training() for _ in range(4)]
    together = training.restart()(4)
    ratios = {"objective", "particle_cosine", "signal_to_noise", "variance_growth"}
    for name in METRICS - ratios:
        np.testing.assert_allclose(together[name], np.mean([m[name] for m in single]), rtol=1e-5)
    ended = np.array([m["finished"] for m in single])
    values = np.array([m["objective"] for m in single])
    weighted = np.sum(np.where(ended > 0, ended * values, 0)) / ended.sum()
    np.testing.assert_allclose(together["objective"], weighted, rtol=1e-5)


def test_no_episode_that_ended_means_no_objective():
    run = Run(Pull(), jnp.ones(2), horizon=ConstantHorizon(6), phase="lockstep")
    assert np.isnan(run(2)["objective"])
    assert np.isfinite(run(1)["objective"])


# --- broken and loud particles ---------------------------------------------------------------------------


class Pull(Dynamics):
    """Loss |theta|^2 / 2 at each step; NaN in the episodes that are drawn to be broken."""

    broken: float = 0.0

    def init(self, theta, horizon, key):
        return jax.random.uniform(key) < self.broken

    def step(self, theta, state, key):
        return state, jnp.where(state, jnp.nan, jnp.sum(jnp.square(theta)) / 2)


@pytest.fixture(scope="module")
def pull():
    return Run(Pull(), jnp.ones(2), objective=SumLoss(), horizon=ConstantHorizon(2))


def test_a_particle_without_a_finite_gradient_is_dropped_and_counted(pull):
    pull.dynamics = Pull(broken=0.5)
    metrics = pull.restart()()
    broken = np.mean(jax.device_get(pull.particles.pair.state)[:, 0])
    assert 0 < broken < 1
    assert metrics["dropped"] == broken
    theta = jax.device_get(pull.state.theta)
    assert np.all(np.isfinite(theta))
    assert np.any(theta != 1)


def gradients_of(particles):
    """Each particle's estimate: half the difference of the pair's two-step sums is 2 theta . noise."""
    score, noise = jax.device_get((particles.score, particles.noise))
    return score * 2 * (noise @ np.ones(2))[:, None]


def test_the_others_move_theta_as_they_would_have(pull):
    """A dropped particle counts as a zero in the mean: the rest is not scaled up."""
    pull.dynamics = Pull(broken=0.5)
    pull.restart()()
    usable = ~jax.device_get(pull.particles.pair.state)[:, :1]
    moved = jax.device_get(pull.state.theta)
    expected = 1 - 0.1 * np.mean(gradients_of(pull.particles) * usable, axis=0)
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_a_population_that_is_broken_altogether_leaves_theta_alone(pull):
    pull.dynamics = Pull(broken=1.0)
    metrics = pull.restart()(3)
    assert metrics["dropped"] == 1
    assert metrics["gradient_norm"] == 0
    np.testing.assert_array_equal(jax.device_get(pull.state.theta), np.ones(2))


def test_a_particle_clip_bounds_each_particle_and_counts_it():
    run, bound = Run(Pull(), jnp.ones(2), objective=SumLoss(), horizon=ConstantHorizon(2), clip=2.0), 2.0
    metrics = run()
    gradients = gradients_of(run.particles)
    norms = np.linalg.norm(gradients, axis=1)
    assert metrics["clipped"] == np.mean(norms > bound)
    assert 0 < metrics["clipped"] < 1
    np.testing.assert_allclose(metrics["particle_norm"], norms.mean(), rtol=1e-4)  # before the clip
    clipped = gradients * np.minimum(1, bound / norms)[:, None]
    np.testing.assert_allclose(jax.device_get(run.state.theta), 1 - 0.1 * clipped.mean(0), rtol=1e-4)


# --- it trains -------------------------------------------------------------------------------------------


def test_pes_meta_trains_adam_on_quadratics():
    """From a learning rate that is too small, judged on fixed episodes before and after."""
    dynamics = InnerTraining(tasks.Quadratic(dimension=3))
    theta = lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.01)
    run = Run(dynamics, theta, outer=optax.adam(0.1), particles=16, horizon=ConstantHorizon(20), window=5)

    @jax.jit
    def meta_loss(theta):
        def episode(key):
            return run_episode(dynamics, MeanLoss(), theta, 20, key)[0].objective

        return jnp.mean(jax.vmap(episode)(jax.random.split(jax.random.key(2), 64)))

    before = float(meta_loss(theta))
    run(60)
    after = float(meta_loss(run.state.theta))
    assert after < 0.3 * before
