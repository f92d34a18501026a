"""The family's variances obey their formulas: of windows, of episodes, and in N (T6, T7, T8).

Each formula is exact for losses that are linear in the windows' thetas, L_j = sum_{i<=j} g_ji . theta_i.
"""

import dataclasses
import functools

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
    Dynamics,
    FullES,
    Mixture,
    PESAnalytic,
    SumLoss,
    init_run,
    make_meta_step,
)

META_STEP = jnp.zeros((), jnp.int32)
SIGMA = 0.1


class Applied(Dynamics):
    """Step j's loss is the sum of g_ji . theta_i over the thetas applied until then."""

    g: jax.Array

    def init(self, theta, horizon, key):
        return jnp.zeros(self.g.shape[1:], theta.dtype), jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        applied, t = state
        applied = applied.at[t].set(theta)
        return (applied, t + 1), jnp.sum(self.g[t] * applied)


def triangular(g):
    """Zero what no window can depend on."""
    return g * np.tri(len(g))[:, :, None]


DRAWN = triangular(np.random.default_rng(0).normal(size=(5, 5, 3)))


def make(name, windows):
    shared = {"horizon": ConstantHorizon(windows), "window": 1, "objective": SumLoss(), "sigma": SIGMA}
    return {
        "pes": lambda: PES(**shared, phase="lockstep"),
        "gpes-2": lambda: GPES(**shared, phase="lockstep", noise_windows=2),
        "nres": lambda: NRES(**shared, phase="lockstep"),
        "pes-analytic": lambda: PESAnalytic(**shared, phase="lockstep"),
        "full-es": lambda: FullES(**shared, phase="lockstep"),
    }[name]()


# --- the formulas ----------------------------------------------------------------------------------------


def blocks(name, g):
    """Gradients of each window by each draw [windows, draws, P], and how many draws are credited in each.

    PES+Analytic credits the draws before the window's own.
    """
    width = {"pes": 1, "pes-analytic": 1, "gpes-2": 2, "nres": len(g)}[name]
    by_draw = np.stack([g[:, i : i + width].sum(1) for i in range(0, len(g), width)], axis=1)
    credited = np.arange(len(g)) // width + (0 if name == "pes-analytic" else 1)
    return by_draw, credited


def covariances(name, g):
    """Sum over coordinates of the covariance of the estimates of windows t and s [windows, windows]."""
    h, credited = blocks(name, g)
    common = np.minimum.outer(credited, credited)
    # Up to each number of common draws, none first: sum_i h_ti . h_si, and (sum_i h_ti) . (sum_i h_si).
    own = np.einsum("tip,sip->its", h, h).cumsum(0)
    totals = h.cumsum(1)
    crossed = np.einsum("tip,sip->its", totals, totals)
    both = np.concatenate([np.zeros((1, *common.shape)), g.shape[-1] * own * common + crossed])
    return np.take_along_axis(both, common[None], axis=0)[0]


def episode_variance(name, g):
    return covariances(name, g).sum()


def second_moments(name, g):
    """Mean squared norm of each window's estimate."""
    return np.diag(covariances(name, g)) + np.sum(g.sum(1) ** 2, -1)


# --- samples ---------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("estimator", "steps"))
def _squares(estimator, system, keys, steps):
    theta = jnp.zeros(system.g.shape[-1])

    def particle(key):
        def step(state, key):
            state, estimate = estimator.step(system, theta, state, key, META_STEP)
            return state, estimate.gradient

        return jax.lax.scan(step, estimator.init(system, theta), jax.random.split(key, steps))[1]

    estimates = jax.vmap(particle)(keys)
    total = jnp.sum(system.g, axis=(0, 1))
    return jnp.sum((estimates.sum(1) - total[None]) ** 2, -1), jnp.sum(estimates**2, -1)


def squares(name, g, samples, seed=0):
    """Squared deviation of an episode's sum [samples], and squared norms of its estimates [., windows]."""
    system, steps = Applied(jnp.asarray(g, jnp.float32)), 1 if name == "full-es" else len(g)
    pieces = [
        _squares(make(name, len(g)), system, jax.random.split(key, samples // 8), steps)
        for key in jax.random.split(jax.random.key(seed), 8)
    ]
    return [np.concatenate([np.asarray(x, np.float64) for x in piece]) for piece in zip(*pieces, strict=True)]


def deviation(samples, expected):
    """Standard errors between the samples' mean and what is expected."""
    return (samples.mean(0) - expected) / (samples.std(0) / np.sqrt(len(samples)))


@functools.cache
def drawn_squares(name):
    return squares(name, DRAWN, 200_000)


@pytest.mark.parametrize("name", ["pes", "gpes-2", "nres", "pes-analytic"])
def test_the_variance_of_an_episode_is_that_of_its_formula(name):
    expected, found = episode_variance(name, DRAWN), drawn_squares(name)[0]
    assert abs(deviation(found, expected)) < 4
    assert abs(deviation(found, 1.05 * expected)) > 4  # it would notice a twentieth


@pytest.mark.parametrize("name", ["pes", "gpes-2", "nres", "pes-analytic"])
def test_the_second_moment_of_each_window_is_that_of_its_formula(name):
    expected, found = second_moments(name, DRAWN), drawn_squares(name)[1]
    certain = 1 if name == "pes-analytic" else 0  # of its first window, the gradient itself
    np.testing.assert_allclose(found[:, :certain], np.tile(expected[:certain], (len(found), 1)), rtol=1e-5)
    assert np.all(np.abs(deviation(found[:, certain:], expected[certain:])) < 4)
    np.testing.assert_allclose(found.mean(0), expected, rtol=0.03)


def test_the_published_forms_are_special_cases():
    gradient, window_gradients, parameters = DRAWN.sum((0, 1)), DRAWN.sum(1), DRAWN.shape[-1]
    np.testing.assert_allclose(episode_variance("nres", DRAWN), (parameters + 1) * gradient @ gradient)
    nres = (parameters + 2) * np.sum(window_gradients**2, -1)
    np.testing.assert_allclose(second_moments("nres", DRAWN), nres)
    pes = parameters * np.arange(1, 6) * np.sum(DRAWN**2, (1, 2)) + 2 * np.sum(window_gradients**2, -1)
    np.testing.assert_allclose(second_moments("pes", DRAWN), pes)


def test_full_es_has_the_variance_of_nres():
    expected, (found, _) = episode_variance("nres", DRAWN), squares("full-es", DRAWN, 200_000)
    assert abs(deviation(found, expected)) < 4
    assert abs(deviation(found, 1.05 * expected)) > 4


def test_noise_reuse_has_the_least_second_moment_in_every_window_and_pes_the_most_at_block_ends():
    """NRES <= GPES and NRES <= PES always; GPES <= PES where a block is complete (windows 2 and 4)."""
    pes, gpes, nres = (drawn_squares(name)[1].mean(0) for name in ("pes", "gpes-2", "nres"))
    assert np.all(nres[1:] < 0.99 * pes[1:])
    assert np.all(nres[2:] < 0.99 * gpes[2:])
    assert np.all(gpes[[1, 3]] < 0.99 * pes[[1, 3]])


def test_a_block_just_begun_may_cost_more_than_fresh_noise_in_every_window():
    """The third window depends on the first two alone: blocks of 2 give 2 P 4 + 8, fresh noise 3 P 2 + 8."""
    g = np.zeros((3, 3, 5))
    g[2, :2, 0] = 1
    pes, gpes, nres = (squares(name, g, 80_000)[1][:, 2] for name in ("pes", "gpes-2", "nres"))
    for found, expected in ((pes, 38), (gpes, 48), (nres, 28)):
        assert abs(deviation(found, expected)) < 4
    assert nres.mean() < pes.mean() < gpes.mean()


# --- structured gradients (T7) ---------------------------------------------------------------------------


def identical(windows, parameters=50):
    return triangular(np.full((windows, windows, parameters), 0.3))


def own_window_only(windows, parameters=50):
    return np.eye(windows)[:, :, None] * np.full(parameters, 0.3)


def own_window_only_drawn(windows, parameters=50):
    draws = np.random.default_rng(windows).normal(size=(windows, parameters))
    return np.eye(windows)[:, :, None] * draws


def normalised(g):
    return episode_variance("pes", g) / np.sum(g.sum((0, 1)) ** 2)


@pytest.mark.parametrize(
    ("structure", "oracle"),
    [(identical, [51, 39.667, 35.133, 34.309, 34.003]), (own_window_only, [51, 38.0, 30.2, 27.6, 25.26])],
)
def test_aligned_gradients_make_pes_better_with_more_windows(structure, oracle):
    lengths = (1, 2, 5, 10, 100)
    np.testing.assert_allclose([normalised(structure(windows)) for windows in lengths], oracle, atol=5e-3)
    means = []
    for windows, expected in zip(lengths[:3], oracle, strict=False):
        found = squares("pes", structure(windows), 20_000)[0]
        found /= np.sum(structure(windows).sum((0, 1)) ** 2)
        assert abs(deviation(found, expected)) < 4
        means.append(found.mean())
    assert means[0] > means[1] > means[2]


def test_unrelated_gradients_make_pes_worse_in_proportion_to_the_windows():
    """At a slope of P / 2, where noise reuse stays at P + 1."""
    lengths = np.array([10, 20, 40, 80])
    drawn = [own_window_only_drawn(windows) for windows in lengths]
    # For unrelated gradients the sum of squares is the expected square of the sum.
    pes = [episode_variance("pes", g) / np.sum(g**2) for g in drawn]
    np.testing.assert_allclose(np.polyfit(lengths, pes, 1)[0], 25, rtol=0.1)
    g = own_window_only_drawn(5)
    found, reused = (squares(name, g, 20_000)[0] for name in ("pes", "nres"))
    assert abs(deviation(found, episode_variance("pes", g))) < 4
    assert abs(deviation(reused, 51 * np.sum(g.sum((0, 1)) ** 2))) < 4
    assert found.mean() > 2 * reused.mean()


# --- the number of particles, and sigma (T8) -------------------------------------------------------------


@pytest.mark.parametrize("particles", [2, 16])
def test_the_meta_steps_mean_has_the_variance_of_one_particle_over_their_number(particles):
    """The losses are linear, so it does not matter that theta moves."""
    g, calls = jnp.asarray(DRAWN[:2, :2], jnp.float32), 1500
    outer, mixture = optax.sgd(1.0), Mixture.of(particles, Devices(backend="vmap"))
    estimator = FullES(ConstantHorizon(2), 2, SumLoss(), sigma=SIGMA)
    dynamics = {"only": Applied(g)}
    state, states = init_run(dynamics, estimator, outer, mixture, jnp.zeros(3), jax.random.key(4))
    step = make_meta_step(estimator, outer, mixture)
    thetas = [np.zeros(3)]
    for _ in range(calls):
        state, states, _ = step(state, states, (dynamics, jnp.asarray(1, jnp.int32)))
        thetas.append(np.asarray(state.theta, np.float64))
    gradient = np.asarray(g).sum((0, 1))
    scaled = particles * np.sum((-np.diff(thetas, axis=0) - gradient) ** 2, -1)
    assert abs(deviation(scaled, 4 * gradient @ gradient)) < 4
    assert abs(deviation(scaled, 4 * gradient @ gradient * 1.5)) > 4


@pytest.mark.parametrize("name", ["pes", "gpes-2", "nres", "pes-analytic", "full-es"])
def test_on_linear_losses_estimates_do_not_depend_on_sigma(name):
    with jax.enable_x64(True):
        estimator, system = make(name, 5), Applied(jnp.asarray(DRAWN))
        theta = jnp.zeros(3)

        @functools.partial(jax.jit, static_argnames="sigma")
        def run(sigma):
            scaled = dataclasses.replace(estimator, sigma=sigma)
            state, gradients = scaled.init(system, theta), []
            for key in jax.random.split(jax.random.key(2), 3):
                state, estimate = scaled.step(system, theta, state, key, META_STEP)
                gradients.append(estimate.gradient)
            return jnp.stack(gradients)

        small, large = run(sigma=0.01), run(sigma=2.0)
        np.testing.assert_allclose(small, large, rtol=1e-9, atol=1e-9)
        assert np.std(small) > 0.1
