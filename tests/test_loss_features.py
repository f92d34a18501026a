"""What rules are told about the loss: exact identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.loss_features import follow_loss, standardise_loss, start_averages, start_moments

LOSSES = 2 * np.exp(-np.arange(30) / 8) + 0.1 * np.cos(np.arange(30) ** 2)


def features(losses, horizon=50, follow=follow_loss, start=start_averages):
    def step(averages, loss):
        told, averages = follow(averages, loss)
        return averages, told

    first = start(jnp.asarray(horizon, jnp.int32)) if start is start_averages else start()
    return jax.lax.scan(step, first, jnp.asarray(losses, jnp.float32))[1]


def test_of_the_first_two_losses_nothing_is_said():
    told = features(LOSSES)
    assert not told[:2].any()
    assert told[2:].any(axis=1).all()
    assert np.abs(told).max() <= 1


@pytest.mark.parametrize("scale", [4.0, 0.25, 1024.0])
def test_the_unit_of_the_loss_does_not_matter(scale):
    np.testing.assert_array_equal(features(LOSSES), features(scale * LOSSES))


def test_a_falling_loss_is_at_its_lowest():
    """An average that is the lowest it has been is told as -1."""
    np.testing.assert_array_equal(features(LOSSES[0] - np.arange(30) / 100)[5:], -1.0)


def test_a_loss_that_shoots_up_counts_as_at_most_twice_the_highest_average():
    spike = np.ones(10)
    spike[5] = 1e30
    cut = np.ones(10)
    cut[5] = 2.0
    np.testing.assert_allclose(features(spike), features(cut), atol=1e-3)


@pytest.mark.parametrize(
    "losses", [np.full(20, 1.5), 1.5 + 1e-6 * LOSSES], ids=["constant", "nearly constant"]
)
def test_rounding_is_the_same_whether_the_horizon_is_traced_or_not(losses):
    traced = jax.jit(lambda horizon: features(losses, horizon))(40)
    known = jax.jit(lambda: features(losses, 40))()
    np.testing.assert_array_equal(traced, known)


@pytest.mark.parametrize("horizon", [1, 2, 10, 10**5, 2**31 - 1])
def test_any_horizon_has_finite_features(horizon):
    told = features(np.concatenate([LOSSES, [0, 0, -1, 1e38, -1e38, np.inf, 1]]), horizon)
    assert np.isfinite(told).all()


@pytest.mark.parametrize(
    ("follow", "start"),
    [(follow_loss, lambda: start_averages(jnp.int32(9))), (standardise_loss, start_moments)],
    ids=["averages", "moments"],
)
def test_without_a_loss_nothing_is_said_and_nothing_forgotten(follow, start):
    _, after = follow(start(), jnp.float32(2.0))
    told, same = follow(after, None)
    assert not told.any()
    jax.tree.map(np.testing.assert_array_equal, after, same)


def test_a_standardised_loss_has_no_unit():
    told = features(LOSSES, follow=standardise_loss, start=start_moments)
    scaled = features(1024 * LOSSES, follow=standardise_loss, start=start_moments)
    np.testing.assert_allclose(told, scaled, atol=1e-5)
    assert np.abs(told).max() <= 5
