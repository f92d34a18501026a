"""Episodes add up: windows, objectives, ages; and a loss that is not usable counts as the ceiling."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt import UsageError
from meta_train import OBJECTIVES, Dynamics, MeanLogLoss, SumLoss, advance, finished, run_episode, start

from .dynamics import ScalarTanh

KEY = jax.random.key(0)


class Script(Dynamics):
    """Plays given losses."""

    losses: jax.Array
    top: float = struct.field(pytree_node=False, default=math.inf)

    def init(self, theta, horizon, key):
        return jnp.zeros((), jnp.int32)

    def step(self, theta, state, key):
        return state + 1, self.losses[state]

    @property
    def ceiling(self):
        return self.top


def play(losses, objective, window=None, top=math.inf):
    """Play losses window by window; return the episode and the windows."""
    dynamics = Script(jnp.asarray(losses, jnp.float32), top)
    episode, windows = start(dynamics, (), jnp.asarray(len(losses)), KEY), []
    for _ in range(0, len(losses), window or len(losses)):
        episode, window_ = advance(dynamics, objective, (), episode, window or len(losses), KEY)
        windows.append(window_)
    return episode, windows


@pytest.mark.parametrize("bad", [3.0, 3.5, 1e30, math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_usable_counts_as_the_ceiling_and_marks_the_episode(bad):
    episode, windows = play([1.0, bad, 2.0, 0.5], SumLoss(), window=2, top=3.0)
    assert [float(w.objective) for w in windows] == [4.0, 2.5]
    assert [float(w.loss) for w in windows] == [2.0, 1.25]
    assert float(episode.objective) == 6.5
    assert bool(episode.diverged)


def test_losses_below_the_ceiling_are_left_alone():
    episode, windows = play([1.0, 2.999, -7.0, 0.5], SumLoss(), top=3.0)
    assert not bool(episode.diverged)
    np.testing.assert_allclose(windows[0].objective, 1.0 + 2.999 - 7.0 + 0.5, rtol=1e-6)


def test_a_new_episode_is_not_marked():
    assert not bool(start(Script(jnp.zeros(2)), (), jnp.asarray(2), KEY).diverged)


LOSSES = [2.0, 1.5, 3.0, 0.25, 1e-5, 0.75]
DEFINITIONS = {
    "mean": np.mean(LOSSES),
    "sum": np.sum(LOSSES),
    "mean-log": np.mean(np.log(np.maximum(LOSSES, MeanLogLoss().floor))),
    "last": LOSSES[-1],
    "minimum": min(LOSSES),
    "time-weighted": np.average(LOSSES, weights=range(1, len(LOSSES) + 1)),
}


@pytest.mark.parametrize("late", [0.25, 1.0])
def test_late_steps_count_more(late):
    weights = 1 - late + late * np.arange(1, 7) / np.mean(np.arange(1, 7))
    expected = np.average(np.log(np.maximum(LOSSES, 0.3)), weights=weights)
    episode, _ = play(LOSSES, MeanLogLoss(floor=0.3, late=late), 2)
    np.testing.assert_allclose(episode.objective, expected, atol=1e-6)


@pytest.mark.parametrize("early", [0.4, 1.0])
def test_early_steps_take_a_share_spread_over_the_logarithm_of_time(early):
    edges = np.log(np.arange(1, 8))
    weights = (1 - early) * np.arange(1, 7) / 21 + early * np.diff(edges) / edges[-1]
    expected = np.sum(weights * np.log(np.maximum(LOSSES, 0.3)))
    episode, _ = play(LOSSES, MeanLogLoss(floor=0.3, late=1.0, early=early), 2)
    np.testing.assert_allclose(episode.objective, expected, atol=1e-6)


@pytest.mark.parametrize("late", [-0.1, 1.1])
def test_late_is_a_share(late):
    with pytest.raises(UsageError, match="between 0, all steps alike, and 1"):
        MeanLogLoss(late=late)


@pytest.mark.parametrize("early", [-0.1, 1.1])
def test_early_is_a_share(early):
    with pytest.raises(UsageError, match="early is a share of the weight: it must be between 0 and 1"):
        MeanLogLoss(early=early)


@pytest.mark.parametrize("window", [1, 2, 6])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_increments_of_every_objective_sum_to_it(name, window):
    episode, windows = play(LOSSES, OBJECTIVES[name](), window)
    np.testing.assert_allclose(episode.objective, DEFINITIONS[name], atol=1e-6)
    np.testing.assert_allclose(sum(w.objective for w in windows), DEFINITIONS[name], atol=1e-6)


@pytest.mark.parametrize("name", ["last", "minimum"])
def test_telescoping_objectives_hold_at_every_window(name):
    """The sum so far is the objective of the steps so far: nothing is added ahead of time."""
    episode = start(dynamics := Script(jnp.asarray(LOSSES)), (), jnp.asarray(6), KEY)
    for done in (2, 4, 6):
        episode, _ = advance(dynamics, OBJECTIVES[name](), (), episode, 2, KEY)
        np.testing.assert_allclose(
            episode.objective, {"last": LOSSES[done - 1], "minimum": min(LOSSES[:done])}[name], atol=1e-6
        )


def test_age_and_end_are_kept():
    dynamics = Script(jnp.ones(6))
    episode = start(dynamics, (), jnp.asarray(6), KEY)
    seen = []
    for _ in range(3):
        seen.append((int(episode.age), int(episode.horizon), bool(finished(episode))))
        episode, _ = advance(dynamics, SumLoss(), (), episode, 2, KEY)
    assert seen == [(0, 6, False), (2, 6, False), (4, 6, False)]
    assert (int(episode.age), bool(finished(episode))) == (6, True)


def test_windows_join_to_one_long_advance():
    dynamics, theta = ScalarTanh(jnp.linspace(-1, 1, 6), jnp.linspace(1, 0, 6)), jnp.asarray(0.4)
    begun = start(dynamics, theta, jnp.asarray(6), KEY)
    whole, window = advance(dynamics, SumLoss(), theta, begun, 6, KEY)
    joined, parts = begun, []
    for _ in range(3):
        joined, part = advance(dynamics, SumLoss(), theta, joined, 2, KEY)
        parts.append(part)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), joined, whole)
    np.testing.assert_allclose(sum(p.objective for p in parts), window.objective, rtol=1e-6)
    np.testing.assert_allclose(np.mean([p.loss for p in parts]), window.loss, rtol=1e-6)


def test_an_episode_is_its_start_and_its_windows():
    dynamics, theta = ScalarTanh(jnp.linspace(-1, 1, 6), jnp.linspace(1, 0, 6)), jnp.asarray(0.4)
    begun = start(dynamics, theta, jnp.asarray(6), KEY)
    expected, whole = advance(dynamics, SumLoss(), theta, begun, 6, KEY)
    for window, count in ((None, 1), (2, 3)):
        ended, windows = run_episode(dynamics, SumLoss(), theta, 6, KEY, window)
        assert windows.objective.shape == windows.loss.shape == (count,)
        assert bool(finished(ended))
        np.testing.assert_allclose(ended.objective, expected.objective, rtol=1e-6)
        np.testing.assert_allclose(jnp.sum(windows.objective), whole.objective, rtol=1e-6)
        np.testing.assert_allclose(jnp.mean(windows.loss), whole.loss, rtol=1e-6)


def test_an_episode_is_the_same_for_every_theta():
    """What is drawn comes from the key: judging two thetas is a paired comparison."""

    class Drawing(Script):
        def init(self, theta, horizon, key):
            return jax.random.uniform(key)

        def step(self, theta, state, key):
            return state, theta + state + jax.random.uniform(key)

    losses = [
        run_episode(Drawing(jnp.zeros(1)), SumLoss(), jnp.asarray(theta), 6, KEY, 2)[1].loss
        for theta in (0.0, 1.0)
    ]
    np.testing.assert_allclose(losses[1] - losses[0], 1, rtol=1e-5)
    assert len(np.unique(losses[0])) == 3


def test_each_step_has_a_key_of_its_own():
    class Keys(Script):
        def step(self, theta, state, key):
            return state, jax.random.uniform(key)

    dynamics = Keys(jnp.zeros(1))
    begun = start(dynamics, (), jnp.asarray(4), KEY)
    losses = [float(advance(dynamics, SumLoss(), (), begun, n, KEY)[1].objective) for n in (1, 2, 3)]
    steps = np.diff([0.0, *losses])
    assert len(np.unique(np.round(steps, 4))) == 3
