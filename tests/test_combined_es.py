"""Combined ES: any weights from the past keep the expectation, and chaos turns them towards ES."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import (
    CombinedES,
    ConstantHorizon,
    PairState,
    SumLoss,
    TruncatedES,
    expected_gradients,
    sample_estimates,
    window_gradients,
    window_losses,
)

from .dynamics import ScalarTanh, VectorLinear

STEPS, WINDOW, SIGMA, THETA = 4, 2, 0.3, 0.4
META_STEP = jnp.zeros((), jnp.int32)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def make(kind=CombinedES, window=STEPS, **options):
    return kind(ConstantHorizon(STEPS), window, SumLoss(), "lockstep", sigma=SIGMA, **options)


def known(system, theta, evolution, pathwise, samples=5):
    """A particle that believes in these variances."""
    state = make().init(system, theta)
    filled = lambda value: jax.tree.map(lambda t: jnp.full_like(t, value), theta)  # noqa: E731
    counts = jax.tree.map(lambda t: jnp.full(t.shape, samples, jnp.float32), theta)
    return state.replace(
        evolution=state.evolution.replace(variance=filled(evolution), samples=counts),
        pathwise=state.pathwise.replace(variance=filled(pathwise), samples=counts),
    )


@functools.partial(jax.jit, static_argnames="estimator")
def under(estimator, system, theta, state, noises):
    step = lambda noise: estimator.step_with(system, theta, state, noise, KEY, META_STEP)  # noqa: E731
    after, estimates = jax.vmap(step)(noises)
    return estimates.gradient, after


def nodes(count, dimensions):
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
    products = functools.reduce(np.multiply.outer, [weights / weights.sum()] * dimensions).reshape(-1)
    return jnp.asarray(SIGMA * grid), products


MOMENTS = [(1.0, 3.0), (3.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, np.inf)]


@pytest.mark.parametrize(("evolution", "pathwise"), MOMENTS)
def test_on_quadratics_the_expectation_is_the_gradient_whatever_the_moments(evolution, pathwise):
    system, theta = VectorLinear.draw(STEPS), VectorLinear.theta()
    points, weights = nodes(2, 3)
    noises = {"pair": points[:, :2], "scalar": points[:, 2]}
    state = known(system, theta, evolution, pathwise)
    found, _ = under(make(), system, theta, state, noises)
    exact = window_gradients(system, theta, 1, STEPS)
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(np.tensordot(weights, f, axes=1), e[0], rtol=1e-10),
        found,
        exact,
    )


@pytest.mark.parametrize(("evolution", "pathwise"), MOMENTS)
def test_off_quadratics_it_is_the_smoothed_gradient_whatever_the_moments(evolution, pathwise):
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
    points, weights = nodes(40, 1)
    found, _ = under(make(), system, theta, known(system, theta, evolution, pathwise), points[:, 0])
    smoothed = expected_gradients(make(TruncatedES), system, theta, KEY, nodes=40)[0]
    np.testing.assert_allclose(weights @ found, smoothed, atol=1e-8)
    assert abs(smoothed - window_gradients(system, theta, 1, STEPS)[0]) > 0.005


NOISES = SIGMA * np.random.default_rng(1).normal(size=30)


def losses(theta):
    return window_losses(ScalarTanh.draw(STEPS), [theta], STEPS)[0]


@functools.cache
def ends():
    """What either estimate alone says under each noise, from a plain loop."""
    noises = jnp.asarray(NOISES)
    members = [THETA + noises, THETA - noises]
    plus, minus = (jax.jit(jax.vmap(jax.value_and_grad(losses)))(member) for member in members)
    return np.asarray(noises * (plus[0] - minus[0]) / (2 * SIGMA**2)), np.asarray((plus[1] + minus[1]) / 2)


def combined(evolution, pathwise, samples=5):
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
    state = known(system, theta, evolution, pathwise, samples)
    return under(make(), system, theta, state, jnp.asarray(NOISES))


@pytest.mark.parametrize(
    ("evolution", "pathwise", "share"), [(1, 3, 0.25), (3, 1, 0.75), (2, 2, 0.5), (1, 1e18, 0), (1e18, 1, 1)]
)
def test_weights_are_inverse_variances_of_the_past_never_of_the_sample(evolution, pathwise, share):
    """One share for all samples; and the noisier estimate is ignored, whichever it is."""
    by_losses, by_paths = ends()
    found, _ = combined(float(evolution), float(pathwise))
    np.testing.assert_allclose(found, share * by_paths + (1 - share) * by_losses, rtol=1e-9)
    assert np.all(np.abs(by_paths - by_losses) > 1e-4)


@pytest.mark.parametrize("samples", [0, 1])
def test_until_there_is_a_variance_it_is_es(samples):
    np.testing.assert_allclose(combined(9.0, 1.0, samples)[0], ends()[0], rtol=1e-10)


def test_as_es_it_is_truncated_es():
    """The same noise and randomness, over several windows and a second episode."""
    system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
    keys = jax.random.split(jax.random.key(6), 4)
    truncated, states = sample_estimates(make(TruncatedES, WINDOW), system, theta, keys, 3)
    _, mixed = sample_estimates(make(window=WINDOW), system, theta, keys, 3)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14),
        (mixed.particle.pair.objective, mixed.particle.noise, mixed.particle.score, mixed.particle.pair.age),
        (states.pair.objective, states.noise, states.score, states.pair.age),
    )
    assert isinstance(mixed.particle, PairState)
    np.testing.assert_allclose(mixed.evolution.mean[:, 0], truncated[:, 0], rtol=1e-12)


class Kinked(ScalarTanh):
    """The loss is finite, and its gradient not a number."""

    def loss(self, theta, s):
        return ScalarTanh.loss(self, theta, s) + jnp.sqrt(0 * theta**2)


def test_a_pathwise_gradient_that_is_not_finite_leaves_the_es_estimate_and_the_moments():
    system, theta = Kinked(*jax.tree.leaves(ScalarTanh.draw(STEPS))[:2]), jnp.asarray(THETA)
    state = known(system, theta, 1e6, 1.0)
    found, after = under(make(), system, theta, state, jnp.asarray(NOISES))
    np.testing.assert_allclose(found, ends()[0], rtol=1e-10)
    np.testing.assert_array_equal(after.pathwise.variance, np.ones(len(NOISES)))
    assert np.all(after.evolution.variance != 1e6)


def test_one_coordinate_that_is_not_finite_does_not_take_the_others_along():
    """They are combined as before, and their moments go on."""

    class Broken(VectorLinear):
        def step(self, theta, state, key):
            state, loss = VectorLinear.step(self, theta, state, key)
            return state, loss + jnp.sqrt(0 * theta["pair"][0] ** 2)

    theta, noise = VectorLinear.theta(), {"pair": jnp.asarray([[0.1, -0.2]]), "scalar": jnp.asarray([0.3])}
    found = {}
    for kind in (VectorLinear, Broken):
        system = kind(*jax.tree.leaves(VectorLinear.draw(STEPS)))
        found[kind] = under(make(), system, theta, known(system, theta, 3.0, 1.0), noise)
    (gradient, after), (whole, whole_after) = found[Broken], found[VectorLinear]
    np.testing.assert_allclose(gradient["scalar"], whole["scalar"], rtol=1e-12)
    np.testing.assert_allclose(gradient["pair"][:, 1], whole["pair"][:, 1], rtol=1e-12)
    assert np.isfinite(gradient["pair"][0, 0])
    assert gradient["pair"][0, 0] != whole["pair"][0, 0]
    moments, whole_moments = after.pathwise, whole_after.pathwise
    np.testing.assert_array_equal(moments.samples["pair"], [[5, 6]])
    np.testing.assert_array_equal(moments.samples["scalar"], [6])
    np.testing.assert_allclose(moments.variance["scalar"], whole_moments.variance["scalar"], rtol=1e-12)
    assert moments.variance["pair"][0, 0] == 1.0


def test_gradients_that_never_were_finite_are_not_believed_in():
    """Their variance is unknown, however many windows went by."""
    system, theta = Kinked(*jax.tree.leaves(ScalarTanh.draw(STEPS))[:2]), jnp.asarray(THETA)
    keys = jax.random.split(jax.random.key(6), 2)
    _, states = sample_estimates(make(), system, theta, keys, 4)
    assert np.all(states.pathwise.samples == 0)
    assert np.all(states.evolution.samples[:, -1] == 4)
    last = jax.tree.map(lambda x: x[0, -1], states)
    tame, _ = under(make(), ScalarTanh.draw(STEPS), theta, last, jnp.asarray(NOISES))
    np.testing.assert_allclose(tame, ends()[0], rtol=1e-10)


def test_a_huge_sample_is_forgotten():
    """Its square is infinite in float32; an infinite variance would stay."""
    with jax.enable_x64(False):
        moments = make().init(ScalarTanh.draw(STEPS), jnp.asarray(THETA)).pathwise
        for sample in (1.0, 1e20, *[1.0, 2.0] * 150):
            moments = moments.fold(jnp.asarray(sample, jnp.float32), 0.5)
        assert np.isfinite(moments.variance)
        assert moments.variance < 1


# --- the running moments ---------------------------------------------------------------------------------


@functools.cache
def running(decay, windows=8):
    """States after each window of one particle, and its two estimates of each."""
    with jax.enable_x64(True):
        system, theta = ScalarTanh.draw(STEPS), jnp.asarray(THETA)
        keys = jax.random.split(jax.random.key(6), 1)
        _, states = sample_estimates(make(decay=decay), system, theta, keys, windows)
        states = jax.tree.map(lambda x: x[0], states)
        noises = states.particle.noise
        plus, minus = (jax.vmap(jax.value_and_grad(losses))(THETA + s * noises) for s in (1, -1))
        by_losses = noises * (plus[0] - minus[0]) / (2 * SIGMA**2)
        return states, np.asarray(by_losses), np.asarray((plus[1] + minus[1]) / 2)


def test_at_first_the_moments_are_those_of_all_samples():
    states, *estimates = running(0.999)
    for moments, samples in zip((states.evolution, states.pathwise), estimates, strict=True):
        counts = range(1, len(samples) + 1)
        np.testing.assert_allclose(moments.mean, [samples[:n].mean() for n in counts], rtol=1e-6)
        variances = [samples[:n].var() for n in counts]
        np.testing.assert_allclose(moments.variance, variances, rtol=1e-5, atol=1e-12)
        np.testing.assert_array_equal(moments.samples, np.arange(1, 9))


def test_later_old_samples_are_forgotten_exponentially():
    states, samples, _ = running(0.5)
    for n in range(2, len(samples) + 1):
        weights = 0.5 ** np.minimum(np.arange(n)[::-1] + 1, n - 1)
        mean = weights @ samples[:n]
        np.testing.assert_allclose(weights.sum(), 1)
        np.testing.assert_allclose(states.evolution.mean[n - 1], mean, rtol=1e-6)
        variance = weights @ (samples[:n] - mean) ** 2
        np.testing.assert_allclose(states.evolution.variance[n - 1], variance, rtol=1e-5)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_no_share_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        make(decay=decay)
