"""Episode lengths are whole windows within their bounds, and follow their law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import ConstantHorizon, CurriculumHorizon, LogUniformHorizon

SAMPLES = 20_000
KEYS = jax.random.split(jax.random.key(0), SAMPLES)


def sample(horizon, window, meta_step=0):
    return np.asarray(jax.vmap(lambda key: horizon.sample(key, window, jnp.asarray(meta_step)))(KEYS))


def chi_square_z(lengths, low, high, window):
    """How far counts are from log-uniform lengths rounded to windows, in standard deviations."""
    windows = np.arange(low // window, high // window + 1)
    edges = np.clip((np.arange(len(windows) + 1) + windows[0] - 0.5) * window, low, high)
    expected = SAMPLES * np.diff(np.log(edges)) / np.log(high / low)
    counts = np.array([np.sum(lengths == window * w) for w in windows])
    assert counts.sum() == SAMPLES  # nothing outside the bounds, or between windows
    freedom = len(windows) - 1
    return (np.sum((counts - expected) ** 2 / expected) - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize(("low", "high", "window"), [(20, 200, 20), (100, 1000, 50), (30, 60, 30)])
def test_lengths_are_log_uniform_whole_windows_within_bounds(low, high, window):
    lengths = sample(LogUniformHorizon(low, high), window)
    assert (lengths.min(), lengths.max()) == (low, high)
    assert np.all(lengths % window == 0)
    assert abs(chi_square_z(lengths, low, high, window)) < 4


def test_the_law_would_not_pass_for_uniform_lengths():
    uniform = np.random.default_rng(0).integers(1, 11, SAMPLES) * 20
    assert chi_square_z(uniform, 20, 200, 20) > 100


def test_equal_bounds_leave_one_length():
    assert set(sample(LogUniformHorizon(40, 40), 20).tolist()) == {40}


def test_a_curriculum_grows_geometrically_from_its_shortest_to_its_longest_length():
    curriculum = CurriculumHorizon(100, 1600, meta_steps=50)
    assert set(sample(curriculum, 20, meta_step=0).tolist()) == {100}
    assert sample(curriculum, 20, meta_step=25).max() == 400
    for late in (50, 51, 10**6):
        np.testing.assert_array_equal(sample(curriculum, 20, late), sample(LogUniformHorizon(100, 1600), 20))


def test_a_curriculum_keeps_to_whole_windows_within_its_bounds_on_the_way():
    for meta_step in (1, 13, 37):
        lengths = sample(CurriculumHorizon(40, 1000, meta_steps=50), 40, meta_step)
        assert np.all(lengths % 40 == 0)
        assert lengths.min() >= 40
        assert lengths.max() <= 1000


def test_a_constant_horizon_is_constant():
    assert set(sample(ConstantHorizon(60), 20).tolist()) == {60}
    assert ConstantHorizon(60).bounds() == (60, 60)


@pytest.mark.parametrize(
    ("horizon", "choices"),
    [
        (ConstantHorizon(110), "100 or 120"),
        (ConstantHorizon(0), "20 or 40"),
        (LogUniformHorizon(110, 200), "100 or 120"),
        (LogUniformHorizon(100, 210), "200 or 220"),
        (CurriculumHorizon(100, 210, 5), "200 or 220"),
    ],
)
def test_bounds_that_are_no_whole_windows_are_refused_with_the_next_that_are(horizon, choices):
    with pytest.raises(ValueError, match=f"take a horizon of {choices}"):
        horizon.check(20)


def test_laws_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="200 is above 100"):
        LogUniformHorizon(200, 100)
    with pytest.raises(ValueError, match="200 is above 100"):
        CurriculumHorizon(200, 100, 5)
    with pytest.raises(ValueError, match="at least 1 meta-step, not 0"):
        CurriculumHorizon(100, 200, 0)
