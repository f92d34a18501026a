"""The evolution-strategies family keeps the identities that its definition implies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    GPES,
    NRES,
    PES,
    ConstantHorizon,
    FullES,
    PairState,
    SumLoss,
    TruncatedES,
    sample_estimates,
    window_losses,
)

from .dynamics import ScalarLinear, ScalarTanh

STEPS, WINDOW, SIGMA = 6, 2, 0.3
WINDOWS = STEPS // WINDOW
THETA = 0.4
META_STEP = jnp.zeros((), jnp.int32)


def family(window=WINDOW, phase="lockstep"):
    shared = {"horizon": ConstantHorizon(STEPS), "window": window, "sigma": SIGMA, "phase": phase}
    shared["objective"] = SumLoss()
    members = {
        "truncated-es": TruncatedES(**shared),
        "pes": PES(**shared),
        "gpes-2": GPES(**shared, noise_windows=2),
        "nres": NRES(**shared),
    }
    return members | ({"full-es": FullES(**shared)} if window == STEPS else {})


FAMILY = family()


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def under(estimator, system, noises):
    """Run a particle under chosen noise; return its gradients [windows] and its states after each."""
    return _under(estimator, system, jnp.asarray(THETA), jnp.asarray(noises))


@functools.partial(jax.jit, static_argnames="estimator")
def _under(estimator, system, theta, noises):
    def window(state, now):
        noise, key = now
        state, estimate = estimator.step_with(system, theta, state, noise, key, META_STEP)
        return state, (estimate.gradient, state)

    keys = jax.random.split(jax.random.key(0), len(noises))
    return jax.lax.scan(window, estimator.init(system, theta), (noises, keys))[1]


def draws(windows, seed=3):
    return SIGMA * np.random.default_rng(seed).normal(size=windows)


@pytest.mark.parametrize("name", FAMILY)
def test_swapping_the_pair_leaves_the_estimate(name):
    system, noise = ScalarTanh.draw(STEPS), draws(5)
    estimates, mirrored = under(FAMILY[name], system, noise)[0], under(FAMILY[name], system, -noise)[0]
    np.testing.assert_allclose(estimates, mirrored, rtol=1e-12)
    assert np.all(np.abs(estimates) > 1e-3)


@pytest.mark.parametrize("name", FAMILY)
def test_a_constant_added_to_the_loss_leaves_the_estimate(name):
    system = ScalarTanh.draw(STEPS)
    estimates = under(FAMILY[name], system, draws(5))[0]
    raised = under(FAMILY[name], system.replace(offset=1000.0), draws(5))[0]
    np.testing.assert_allclose(estimates, raised, atol=1e-9)
    assert np.all(np.abs(estimates) > 1e-3)


class Even(ScalarTanh):
    """A loss that is even in theta's distance from where the tests have it, and no state."""

    def next(self, s, drive):
        return s

    def loss(self, theta, s):
        return jnp.abs(theta - THETA) + jnp.cos(theta - THETA)


@pytest.mark.parametrize("name", FAMILY)
def test_a_loss_even_in_the_noise_has_gradient_zero(name):
    estimates = under(FAMILY[name], Even.draw(STEPS), draws(WINDOWS))[0]
    np.testing.assert_allclose(estimates, np.zeros(WINDOWS), atol=1e-12)


@pytest.mark.parametrize("name", family(window=STEPS))
def test_with_one_window_per_episode_all_are_full_es(name):
    system, noise = ScalarTanh.draw(STEPS), draws(4)
    estimates = under(family(window=STEPS)[name], system, noise)[0]
    losses = lambda eps: window_losses(system, [THETA + eps], STEPS)[0]  # noqa: E731
    full_es = [eps * (losses(eps) - losses(-eps)) / (2 * SIGMA**2) for eps in jnp.asarray(noise)]
    np.testing.assert_allclose(estimates, full_es, rtol=1e-11)


def drawn(estimator, system, windows):
    """Let a particle draw its own noise; not compiled, since two programs may be rounded differently."""
    with jax.disable_jit():
        state, theta = estimator.init(system, jnp.asarray(THETA)), jnp.asarray(THETA)
        gradients = []
        for key in jax.random.split(jax.random.key(1), windows):
            state, estimate = estimator.step(system, theta, state, key, META_STEP)
            gradients.append(estimate.gradient)
    return gradients, state


def test_with_one_window_per_episode_all_are_the_same_to_the_bit():
    system = ScalarTanh.draw(STEPS)
    first, *others = (drawn(estimator, system, 2)[0] for estimator in family(window=STEPS).values())
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize(
    ("noise_windows", "twin"), [(1, "pes"), (WINDOWS, "nres"), (WINDOWS + 1, "nres"), (100, "nres")]
)
def test_gpes_runs_from_pes_to_nres_to_the_bit(noise_windows, twin):
    """Over an episode and a bit, so that the second one's beginning is compared too."""
    system = ScalarTanh.draw(STEPS)
    gpes = dataclasses.replace(FAMILY["gpes-2"], noise_windows=noise_windows)
    one, other = (drawn(estimator, system, WINDOWS + 1) for estimator in (gpes, FAMILY[twin]))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("truncated-es", [[0], [1], [2], [3], [4]]),
        ("pes", [[0], [0, 1], [0, 1, 2], [3], [3, 4]]),
        ("gpes-2", [[0], [0], [0, 2], [3], [3]]),
        ("nres", [[0], [0], [0], [3], [3]]),
    ],
)
def test_the_score_counts_the_episodes_own_draws(name, counted):
    """In particular, a new episode begins with its first draw alone: the old ones are forgotten."""
    noise = draws(5)
    states = under(FAMILY[name], ScalarTanh.draw(STEPS), noise)[1]
    np.testing.assert_allclose(states.score, [noise[c].sum() / SIGMA**2 for c in counted], rtol=1e-12)
    np.testing.assert_allclose(states.noise, [noise[c[-1]] for c in counted])
    np.testing.assert_array_equal(states.episodes, [1, 1, 1, 2, 2])


def test_each_draw_is_weighed_by_the_sigma_it_was_drawn_with():
    """A sigma that changes within an episode: the loss of window 2 is theta_1 + theta_2, its gradient 2."""
    system = Additive(jnp.ones(2), jnp.zeros(2))
    first = PES(ConstantHorizon(2), window=1, sigma=0.5, objective=SumLoss(), phase="lockstep")
    second = dataclasses.replace(first, sigma=0.1)
    theta, key = jnp.asarray(THETA), jax.random.key(0)

    @jax.jit
    @jax.vmap
    def last_estimate(signs):
        state = first.init(system, theta)
        state, _ = first.step_with(system, theta, state, 0.5 * signs[0], key, META_STEP)
        return second.step_with(system, theta, state, 0.1 * signs[1], key, META_STEP)[1].gradient

    # A two-point rule is exact for the product of two linear terms.
    nodes = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    np.testing.assert_allclose(np.mean(last_estimate(nodes)), 2.0, rtol=1e-12)


class Additive(ScalarLinear):
    """The state sums theta up, and is the loss."""

    def next(self, s, drive):
        return s + drive

    def loss(self, theta, s):
        return s


def test_both_members_share_every_random_draw():
    """With noise zero, they are the same to the bit, whatever the dynamics draw."""
    states = under(FAMILY["pes"], Random.draw(STEPS), np.zeros(5))[1]
    plus, minus = (jax.tree.map(lambda x, m=member: x[:, m], states.pair.state) for member in (0, 1))
    np.testing.assert_array_equal(plus[0], minus[0])
    assert len(np.unique(plus[0])) == 5  # and they do draw, anew in each window and episode


class Random(ScalarLinear):
    """Each step adds a random number."""

    def step(self, theta, state, key):
        (s, t), loss = super().step(theta, state, key)
        return (s + jax.random.normal(key, (), s.dtype), t), loss


# --- episodes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [PES, NRES, GPES, TruncatedES])
def test_a_horizon_that_is_no_multiple_of_the_window_is_refused(estimator):
    with pytest.raises(ValueError, match="20 inner steps does not divide a horizon of 110.* 100 or 120"):
        estimator(ConstantHorizon(110), window=20)
    with pytest.raises(ValueError, match="horizon of 20 or 40"):
        estimator(ConstantHorizon(10), window=20)
    assert estimator(ConstantHorizon(100), window=20).window == 20


@pytest.mark.parametrize(("name", "value"), [("sigma", 0.0), ("sigma", -0.1), ("window", 0)])
def test_numbers_that_must_be_positive_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PES(**{"horizon": ConstantHorizon(6), "window": 2, name: value})


def test_first_episodes_are_cut_uniformly_and_later_ones_not_at_all():
    particles = 4000
    keys = jax.random.split(jax.random.key(5), particles)
    estimator = family(phase="staggered")["pes"]
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(THETA)
    states: PairState = sample_estimates(estimator, system, theta, keys, 2 * WINDOWS)[1]
    ends, episode = np.asarray(states.pair.ends[..., 0]), np.asarray(states.episodes)
    first = ends[:, 0]
    counts = np.array([np.sum(first == WINDOW * (w + 1)) for w in range(WINDOWS)])
    assert counts.sum() == particles  # multiples of the window, none longer than the horizon
    expected = particles / WINDOWS
    assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected * (1 - 1 / WINDOWS)))
    assert np.all(ends[episode > 1] == STEPS)
    assert np.all(states.pair.horizon == STEPS)  # which is what they are judged by
    assert episode.max() >= 2


def test_without_stagger_every_episode_is_whole():
    keys = jax.random.split(jax.random.key(5), 50)
    system, theta = ScalarLinear.draw(STEPS), jnp.asarray(THETA)
    states = sample_estimates(FAMILY["pes"], system, theta, keys, 2 * WINDOWS)[1]
    assert np.all(states.pair.horizon == STEPS)
