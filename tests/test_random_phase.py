"""Particles at uniformly random phases of their episodes give the whole gradient at every meta-step (T17)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    NRES,
    PES,
    ConstantHorizon,
    Dynamics,
    FullES,
    Horizon,
    LogUniformHorizon,
    MeanLoss,
    SumLoss,
    TruncatedBPTT,
    blank,
    build,
    get_preset,
    renew,
)

WINDOWS, PARAMETERS, PARTICLES = 8, 5, 40_000
SHARED = {"horizon": ConstantHorizon(WINDOWS), "window": 1, "objective": SumLoss()}


class Windows(Dynamics):
    """Step j's loss is gradient_j . (the mean of the thetas applied until then)."""

    gradients: jax.Array

    def init(self, theta, horizon, key):
        return jnp.zeros_like(theta), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        applied, t = state
        applied = applied + theta
        return (applied, t + 1), self.gradients[t] @ applied / (t + 1).astype(applied.dtype)


DRAWN = np.random.default_rng(3).normal(size=(WINDOWS, PARAMETERS))


@functools.partial(jax.jit, static_argnames=("estimator", "steps"))
def run(estimator, gradients, keys, steps):
    """Estimates and ages after each meta-step [particles, steps]."""
    system, theta = Windows(gradients), jnp.zeros(PARAMETERS)

    def particle(key):
        def step(state, now):
            key, meta_step = now
            state, estimate = estimator.step(system, theta, state, key, meta_step)
            return state, (estimate.gradient, state.age)

        steps_and_keys = (jax.random.split(key, steps), jnp.arange(steps))
        return jax.lax.scan(step, estimator.init(system, theta), steps_and_keys)[1]

    return jax.vmap(particle)(keys)


@functools.cache
def drawn(estimator, gradients=None, steps=WINDOWS + 3):
    keys = jax.random.split(jax.random.key(11), PARTICLES)
    gradients = jnp.asarray(DRAWN if gradients is None else gradients)
    found = run(estimator, gradients, keys, steps)
    return [np.asarray(x, np.float64 if x.dtype == jnp.float32 else x.dtype) for x in found]


def z_scores(samples, expected):
    return (samples.mean(0) - expected) / (samples.std(0) / np.sqrt(len(samples)))


@pytest.mark.parametrize("kind", [PES, NRES])
def test_after_the_burn_in_every_meta_step_estimates_the_gradient(kind):
    estimates, _ = drawn(kind(**SHARED, phase="random"))
    np.testing.assert_array_equal(estimates[:, :WINDOWS], 0)
    assert np.all(np.any(estimates[:, WINDOWS:] != 0, axis=(0, 2)))
    scores = z_scores(WINDOWS * estimates[:, WINDOWS:], DRAWN.sum(0))
    assert np.all(np.abs(scores) < 4)
    # It would notice a single window that is left out, or counted twice.
    assert np.abs(z_scores(WINDOWS * estimates[:, WINDOWS], DRAWN[1:].sum(0))).max() > 6


def test_after_the_burn_in_phases_are_uniform():
    _, ages = drawn(NRES(**SHARED, phase="random"))
    for now in ages[:, WINDOWS - 1 :].T:
        counts = np.bincount(now, minlength=WINDOWS + 1)
        assert counts[0] == 0
        expected = PARTICLES / WINDOWS
        assert np.all(np.abs(counts[1:] - expected) < 4 * np.sqrt(expected * (1 - 1 / WINDOWS)))


def test_without_burn_in_the_first_episode_is_biased():
    """Staggered particles all begin at the beginning: at first, early windows count too often."""
    staggered, _ = drawn(NRES(**SHARED, phase="staggered"))
    for meta_step in (0, 1, 3):
        scores = z_scores(WINDOWS * staggered[:, meta_step], DRAWN.sum(0))
        assert np.abs(scores).max() > 10
    np.testing.assert_allclose(staggered[:, 0].mean(0), DRAWN[0], atol=0.05)
    random, _ = drawn(NRES(**SHARED, phase="random"))
    np.testing.assert_array_equal(staggered[:, WINDOWS:], random[:, WINDOWS:])  # and the same later


def test_the_learning_rate_begins_after_the_silence_and_ends_with_the_run():
    options = get_preset("tiny").replace(
        task=("quadratic",),
        steps=50,
        warmup=4,
        phase="random",
        window=20,
        horizon_high=200,
    )
    parts, method = build(options.run()), options.method
    outer, moves = parts.outer.init(parts.theta), []
    ones = jax.tree.map(jnp.ones_like, parts.theta)
    assert parts.estimator.silence == 10
    for _ in range(50 - 10 + 1):
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
            updates, outer = parts.outer.update(ones, outer)
        moves.append(float(jnp.abs(jax.tree.leaves(updates)[0]).max()))
    assert moves[0] == 0
    np.testing.assert_allclose(max(moves), method.learning_rate, rtol=1e-4)
    np.testing.assert_allclose(moves[-1], method.learning_rate * method.final_rate, rtol=1e-3)


def test_lockstep_particles_see_one_window_at_a_time():
    estimates, ages = drawn(NRES(**SHARED, phase="lockstep"))
    np.testing.assert_array_equal(ages, np.tile(np.arange(WINDOWS + 3) % WINDOWS + 1, (PARTICLES, 1)))
    assert np.all(np.abs(z_scores(estimates, DRAWN[np.arange(WINDOWS + 3) % WINDOWS])) < 4.5)


def test_the_burn_in_lasts_as_long_as_the_longest_episode():
    horizon = LogUniformHorizon(2, WINDOWS)
    estimator = TruncatedBPTT(horizon, 2, SumLoss(), "random")
    estimates, _ = run(estimator, jnp.asarray(DRAWN), jax.random.split(jax.random.key(1), 50), 6)
    np.testing.assert_array_equal(np.any(estimates != 0, axis=(0, 2)), [False] * 4 + [True] * 2)


def test_estimators_of_whole_episodes_have_no_phase_and_no_burn_in():
    keys = jax.random.split(jax.random.key(1), 20)
    one, other = (
        run(FullES(**SHARED, phase=phase), jnp.asarray(DRAWN), keys, 2)[0] for phase in ("lockstep", "random")
    )
    np.testing.assert_array_equal(one, other)
    assert np.all(np.any(one != 0, axis=(0, 2)))


def test_a_phase_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="phase must be lockstep, staggered or random, not 'breakstep'"):
        PES(**SHARED, phase="breakstep")


# --- episodes of different lengths -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Uniform(Horizon):
    """Any length from 1 to `steps`, with the same probability."""

    steps: int = WINDOWS

    def sample(self, key, window, meta_step):
        return jax.random.randint(key, (), 1, self.steps + 1)

    def bounds(self):
        return 1, self.steps


class Plain(Uniform):
    """As if a particle's first length were drawn from the law itself."""

    def sample_in_progress(self, key, window, meta_step, wanted):
        return self.sample(key, window, meta_step)


class Still(Dynamics):
    """Nothing happens."""

    def init(self, theta, horizon, key):
        return ()

    def step(self, theta, state, key):
        return (), jnp.zeros(())


@functools.cache
def deviation(law, meta_step):
    """How far the counts of (length, age) are from equal ones, in standard deviations of chi-square."""
    estimator = TruncatedBPTT(law(), 1, SumLoss(), "random")

    def particle(key):
        def step(episode, now):
            key, meta_step = now
            length = estimator.draw_length(key, meta_step == 0, meta_step)
            episode = renew(Still(), (), episode, length, key)
            return episode.replace(age=episode.age + 1), None

        steps = (jax.random.split(key, meta_step + 1), jnp.arange(meta_step + 1))
        episode, _ = jax.lax.scan(step, blank(Still(), ()), steps)
        return episode.horizon, episode.age

    keys = jax.random.split(jax.random.key(3), PARTICLES)
    lengths, ages = map(np.asarray, jax.jit(jax.vmap(particle))(keys))
    pairs = [(length, age) for length in range(1, WINDOWS + 1) for age in range(1, length + 1)]
    counts = np.array([np.sum((lengths == length) & (ages == age)) for length, age in pairs])
    assert counts.sum() == PARTICLES
    expected, freedom = PARTICLES / len(pairs), len(pairs) - 1
    return (np.sum((counts - expected) ** 2) / expected - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("meta_step", [WINDOWS, WINDOWS + 1, 2 * WINDOWS + 2])
def test_after_the_burn_in_every_window_of_every_length_is_as_frequent_as_in_the_long_run(meta_step):
    """Renewal theory: length L at age a with probability law(L) / mean length, for a = 1 to L."""
    assert abs(deviation(Uniform, meta_step)) < 4
    assert deviation(Plain, WINDOWS) > 20


def test_the_first_estimates_are_the_gradient_where_lengths_are_drawn():
    """The mean over episodes of their windows' gradients, over their mean length."""
    windows = DRAWN / np.arange(1, WINDOWS + 1)[:, None]  # what truncated backpropagation gives of each
    expected = np.mean(np.cumsum(windows, 0), 0) / ((WINDOWS + 1) / 2)
    for law, holds in ((Uniform, True), (Plain, False)):
        estimates, _ = drawn(TruncatedBPTT(law(), 1, SumLoss(), "random"), steps=WINDOWS + 1)
        np.testing.assert_array_equal(estimates[:, :WINDOWS], 0)
        assert (np.abs(z_scores(estimates[:, WINDOWS], expected)).max() < 4) == holds


@pytest.mark.parametrize("phase", ["staggered", "random"])
def test_a_first_episode_that_is_cut_short_is_judged_as_a_part_of_a_whole_one(phase):
    """Not c of J windows as an episode of c: its mean loss would be J / c times as loud."""
    estimator = TruncatedBPTT(ConstantHorizon(WINDOWS), 1, MeanLoss(), phase)
    keys = jax.random.split(jax.random.key(2), 64)
    system, theta = Windows(jnp.ones((WINDOWS, PARAMETERS))), jnp.zeros(PARAMETERS)
    meta_step = jnp.asarray(0 if phase == "staggered" else WINDOWS)
    start = estimator.init(system, theta)
    state, estimate = jax.vmap(lambda key: estimator.step(system, theta, start, key, meta_step))(keys)
    assert len(np.unique(state.episode.ends)) > 4
    np.testing.assert_allclose(estimate.gradient, np.full((64, PARAMETERS), 1 / WINDOWS), rtol=1e-6)


# --- noise reuse at random phases, against full ES at equal cost ------------------------------------------

ALIGNED = np.ones((WINDOWS, PARAMETERS))
ALTERNATING = (-1.0) ** np.arange(WINDOWS)[:, None] * ALIGNED + 0.05


@pytest.mark.parametrize(
    ("gradients", "reused_is_better"), [(ALIGNED, True), (DRAWN, None), (ALTERNATING, False)]
)
def test_one_window_each_of_as_many_workers_as_windows_has_the_variance_of_its_formula(
    gradients, reused_is_better
):
    """(P + 2) sum |G_j|^2 - |grad|^2 / J, where a whole pair of full ES has (P + 1) |grad|^2."""
    whole = gradients.sum(0)
    formula = (PARAMETERS + 2) * np.sum(gradients**2) - whole @ whole / WINDOWS
    full_formula = (PARAMETERS + 1) * whole @ whole
    if gradients is ALIGNED:
        assert (formula, full_formula) == (240, 1920)
    frozen = tuple(map(tuple, gradients))
    estimates, _ = drawn(NRES(**SHARED, phase="random"), frozen)
    # J times the mean of J workers is the sum of their estimates.
    workers = estimates[:, -1].reshape(-1, WINDOWS, PARAMETERS).sum(1)
    full, _ = drawn(FullES(**SHARED), frozen, 1)
    for found, expected in ((workers, formula), (full[:, 0], full_formula)):
        squared = np.sum((found - whole) ** 2, -1)
        assert abs(z_scores(squared, expected)) < 4
        assert abs(z_scores(squared, 1.25 * expected)) > 4
    if reused_is_better is not None:
        assert (formula < full_formula / 5) == reused_is_better
        assert (formula > full_formula * 5) != reused_is_better
