"""Metrics have the values that closed forms give, and Adam against itself is exactly 1."""

import numpy as np
import pytest

from eval import curve_metrics as metrics

RAMP = np.arange(100.0, 0.0, -1.0)  # 100, 99, ..., 1


def test_mean_and_final_loss_of_a_ramp():
    assert metrics.mean_loss(RAMP) == 50.5
    assert metrics.final_loss(RAMP) == np.mean([5, 4, 3, 2, 1])
    assert metrics.final_loss(RAMP[:19]) == RAMP[18]  # 5 % of 19 is less than one step: one.
    np.testing.assert_array_equal(metrics.mean_loss(np.stack([RAMP, 2 * RAMP])), [50.5, 101.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_infinitely_bad(bad):
    curve = RAMP.copy()
    curve[3] = bad
    assert metrics.mean_loss(curve) == np.inf
    assert metrics.final_loss(curve) == metrics.final_loss(RAMP)
    assert np.isinf(metrics.smoothed(curve)[3:]).all()
    assert np.isfinite(metrics.smoothed(curve)[:3]).all()


def test_smoothing_of_a_constant_is_that_constant_from_the_first_step():
    np.testing.assert_allclose(metrics.smoothed(np.full(50, 3.0)), 3.0, rtol=1e-12)


def test_smoothing_of_a_geometric_series_has_its_closed_form():
    decay, ratio, steps = 0.9, 0.5, np.arange(1, 31)
    # sum_i decay^(t-i) ratio^i / sum_i decay^(t-i), both geometric sums.
    weighted = ratio * (decay**steps - ratio**steps) / (decay - ratio)
    weights = (1 - decay**steps) / (1 - decay)
    np.testing.assert_allclose(metrics.smoothed(ratio**steps, decay), weighted / weights, rtol=1e-12)


def test_smoothing_is_causal():
    changed = RAMP.copy()
    changed[60:] = 0
    np.testing.assert_array_equal(metrics.smoothed(changed)[:60], metrics.smoothed(RAMP)[:60])


def test_steps_count_from_one_and_never_is_nan():
    np.testing.assert_array_equal(
        metrics.steps_to_target(np.stack([RAMP] * 3), np.array([100.0, 1e9, 0.5])), [1, 1, np.nan]
    )
    step_down = np.array([1.0] * 7 + [-100.0])
    assert metrics.steps_to_target(step_down, np.array(0.0)) == 8


def test_the_speed_up_of_a_curve_that_is_k_times_as_fast_is_k():
    # Steps of a stair: smoothing a constant changes nothing, so the targets are reached at the stairs.
    slow = np.repeat([5.0, 4.0], [39, 1])
    fast = np.repeat([5.0, -1e3], [9, 31])
    assert metrics.speed_up(fast, slow) == 40 / 10


def test_a_reference_is_exactly_as_fast_as_itself_where_its_curve_is_noisy_too():
    noise = np.random.default_rng(0).uniform(0, 30, (5, 100))
    np.testing.assert_array_equal(metrics.speed_up(RAMP + noise, RAMP + noise), np.ones(5))
    first = metrics.steps_to_target(RAMP + noise, metrics.target_of(RAMP + noise))
    assert (first <= 100).all()


def test_no_speed_up_against_a_reference_that_diverged_or_for_a_run_that_never_arrives():
    diverged = np.where(np.arange(100) > 50, np.inf, RAMP)
    assert np.isnan(metrics.speed_up(RAMP, diverged))
    assert np.isnan(metrics.speed_up(RAMP + 10, RAMP))
    assert np.isnan(metrics.speed_up(diverged, RAMP))


@pytest.mark.parametrize(
    ("speed_ups", "median"),
    [
        ([1, 2, 4], 2),
        ([1, 2, 4, 8], 2),  # the lower of two
        ([np.nan, 2, 4], 2),  # never is the slowest
        ([np.nan, np.nan, 4], np.nan),
        ([np.nan, 4], np.nan),
    ],
)
def test_the_typical_speed_up_is_the_lower_median_with_never_as_slowest(speed_ups, median):
    np.testing.assert_equal(metrics.typical_speed_up(speed_ups), float(median))


def test_ties_and_infinities_are_not_won():
    assert metrics.seeds_won([1, 2, 3, np.inf, 1], [2, 2, 1, np.inf, np.inf]) == 2


def test_diverged_is_not_finite_or_at_the_ceiling_at_the_end():
    spike = np.where(np.arange(100) == 50, 1e6, 1.0)
    hole = np.where(np.arange(100) == 50, np.inf, 1.0)
    late = np.where(np.arange(100) > 94, 5.0, 1.0)
    curves, held_out = np.stack([spike, hole, late, np.ones(100)]), np.ones((4, 3))
    np.testing.assert_array_equal(metrics.diverged(curves, held_out, 5.0), [False, True, True, False])
    held_out[3, 2] = np.nan
    assert metrics.diverged(curves, held_out, 5.0)[3]
