"""Numbers for the eye stay short, and a trend is more than noise."""

import itertools
import random

import pytest

from meta_train.trackers import figures


def test_a_trend_is_a_change_beyond_noise():
    rng = random.Random(0)
    noise = [1 + rng.gauss(0, 0.1) for _ in range(64)]
    assert figures.trend(noise) == 0
    assert figures.trend([x - 0.01 * i for i, x in enumerate(noise)]) == pytest.approx(-0.32 / 0.84, rel=0.2)
    assert figures.trend([-x - 0.01 * i for i, x in enumerate(noise)]) == pytest.approx(-0.32 / 1.16, rel=0.2)
    assert figures.trend([1.0] * 4 + [2.0] * 3) is None
    assert figures.trend([0.0] * 4 + [1.0] * 4) is None
    assert figures.trend([1e308] * 64) is None
    assert figures.trend([1.0] * 4 + [2.0] * 4) == 1.0


def test_a_sparkline_is_logarithmic_and_scrolls_without_flicker():
    assert figures.sparkline([2.0**-i for i in range(8)], 8, 8, 8) == "█▇▆▅▄▃▂▁"
    assert figures.sparkline([-float(i) for i in range(8)], 8, 8, 8) == "█▇▆▅▄▃▂▁"
    assert figures.sparkline([1.0] * 5, 8, 5, 8) == "▄▄▄▄▄"
    rng = random.Random(0)
    losses = [loss for _ in range(50) for loss in 4 * [rng.choice([1.0, 2.0, 4.0, 8.0])]]
    drawn = [figures.sparkline(losses[end - 64 : end], 16, end, 64) for end in range(64, 201)]
    assert all(len(line) == 16 for line in drawn)
    for end, (old, new) in enumerate(itertools.pairwise(drawn), 64):
        # four values share a block: it moves once they are four, and stays the same
        assert new[:-1] == (old[1:] if end % 4 == 0 else old[:-1])


@pytest.mark.parametrize("value", [*(s * 10.0**e for e in range(-30, 31) for s in (1, -1, 9.99996)), 0.0])
def test_figures_stay_in_their_columns(value):
    assert len(figures.figure(value)) <= 8
    assert float(figures.figure(value)) == pytest.approx(value, rel=0.06)
    if 0 <= value < 9.9e11:
        assert len(figures.count(value)) <= 6
    if 0 <= value <= 1:
        assert len(figures.share(value)) <= 4
