"""Rates are spaced evenly in their logarithm, and what diverges is never chosen."""

import math

import numpy as np
import pytest

from eval import BASELINES
from lopt import ADAM_RATES, log_grid, lowest


def test_rates_are_a_geometric_sequence_to_three_digits():
    assert log_grid(1e-4, 1, 5) == (1e-4, 1e-3, 1e-2, 0.1, 1.0)
    rates = log_grid(*ADAM_RATES, 15)
    assert rates[1] == 0.000193
    np.testing.assert_allclose(np.diff(np.log(rates)), math.log(1e4) / 14, rtol=1e-2)
    assert BASELINES["adam"].rates == rates


@pytest.mark.parametrize(
    ("scores", "at"),
    [
        ([3.0, 1.0, 2.0], 1),
        ([math.nan, 2.0, math.inf], 1),
        ([math.inf, math.nan], 0),
        ([-math.inf, 5.0], 1),
        (np.array([2.0, 1.0, 1.0], np.float32), 1),
    ],
)
def test_the_lowest_finite_score_is_chosen(scores, at):
    assert lowest(scores) == at
