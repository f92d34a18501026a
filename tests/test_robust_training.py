"""Whatever inner runs and gradients do, theta stays finite, the run goes on, and it is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from meta_train import (
    PES,
    ConstantHorizon,
    Devices,
    DivergedError,
    Dynamics,
    Mixture,
    init_run,
    make_meta_step,
)
from meta_train.host.robustness import Watch

PARTICLES = 8


class Trouble(Dynamics):
    """Loss theta^2 / 2, or what `kind` says, in every episode or in a part of them."""

    kind: str = struct.field(pytree_node=False, default="none")
    share: float = 1.0

    def init(self, theta, horizon, key):
        return jax.random.bernoulli(key, self.share)

    def step(self, theta, state, key):
        loss = jnp.sum(theta**2) / 2
        bad = {
            "none": loss,
            "nan": jnp.nan,
            "inf": jnp.inf,
            "loud": 1e4 * jnp.sum(theta),
            "huge": 1e30 * loss,
        }
        return state, jnp.where(state, bad[self.kind], loss)

    @property
    def ceiling(self):
        return 1e3 if self.kind in ("nan", "inf") else 3e38


def train(
    dynamics,
    meta_steps=6,
    *,
    outer=None,
    particle_clip=None,
    gradient_clip=None,
    theta=(1.0, -1.0),
    phase="staggered",
):
    """Do some meta-steps; return theta, the outer state before and after, and the last call's metrics."""
    estimator = PES(ConstantHorizon(4), window=2, sigma=0.1, phase=phase)
    outer, mixture = outer or optax.adam(0.1), Mixture.of(PARTICLES, Devices(backend="vmap"))
    start, dynamics = jnp.asarray(theta), {"only": dynamics}
    state, particles = init_run(dynamics, estimator, outer, mixture, start, jax.random.key(0))
    step = make_meta_step(estimator, outer, mixture, particle_clip, gradient_clip)
    before = jax.device_get(state.outer)
    state, particles, metrics = step(state, particles, (dynamics, jnp.asarray(meta_steps, jnp.int32)))
    assert int(state.meta_step) == meta_steps
    return jax.device_get((state.theta, before, state.outer, metrics))


def test_an_undisturbed_run_skips_and_clips_nothing():
    theta, _, _, metrics = train(Trouble())
    assert np.all(np.abs(theta) < 1)
    assert metrics["skipped"] == metrics["clipped"] == metrics["dropped"] == metrics["diverged"] == 0
    assert metrics["update_norm"] > 0


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_a_task_that_is_broken_from_the_start_leaves_theta_finite_and_is_counted(kind):
    theta, _, _, metrics = train(Trouble(kind))
    assert np.all(np.isfinite(theta))
    assert metrics["diverged"] == 1


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_a_share_of_broken_episodes_does_not_stop_the_others_from_teaching(kind):
    theta, _, _, metrics = train(Trouble(kind, share=0.3), meta_steps=20)
    assert np.all(np.abs(theta) < 1)
    assert 0 < metrics["diverged"] < 1


def test_a_loud_particle_is_clipped_and_counted():
    _, _, _, metrics = train(Trouble("loud", share=0.3), particle_clip=10.0)
    assert 0 < metrics["clipped"] < 1
    assert metrics["gradient_norm"] <= 10


def test_a_large_mean_gradient_is_clipped_and_counted():
    free, _, _, loose = train(Trouble("loud"), meta_steps=1, outer=optax.sgd(1.0))
    bound, _, _, tight = train(Trouble("loud"), meta_steps=1, outer=optax.sgd(1.0), gradient_clip=0.5)
    assert loose["gradient_clipped"] == 0
    assert tight["gradient_clipped"] == 1
    np.testing.assert_allclose(tight["update_norm"], 0.5, rtol=1e-5)
    assert loose["update_norm"] > 100
    # The direction is the same.
    start = np.array([1.0, -1.0])
    np.testing.assert_allclose((bound - start) / 0.5, (free - start) / loose["update_norm"], rtol=1e-4)


def test_meta_steps_without_a_finite_estimate_are_skipped_and_move_nothing():
    """Adam's momentum would go on moving theta otherwise, and its moments would decay."""
    theta, before, after, metrics = train(Trouble("huge"))
    assert metrics["dropped"] == metrics["skipped"] == 1
    np.testing.assert_array_equal(theta, np.float32([1.0, -1.0]))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert metrics["update_norm"] == 0


def test_a_meta_step_that_would_leave_theta_infinite_is_skipped():
    theta, _, _, metrics = train(Trouble(), outer=optax.sgd(1e38))
    assert np.all(np.isfinite(theta))
    assert metrics["skipped"] > 0.5
    assert np.isfinite(metrics["theta_norm"])


def test_silent_meta_steps_leave_theta_and_the_outer_optimizer_as_they_are():
    """No information is no gradient of zero: Adam's moments would shrink, and its warm-up run down."""
    theta, before, after, metrics = train(Trouble(), meta_steps=2, phase="random")
    np.testing.assert_array_equal(theta, np.float32([1.0, -1.0]))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert (metrics["silent"], metrics["skipped"], metrics["update_norm"]) == (1, 0, 0)


def test_after_the_silence_the_outer_optimizer_takes_its_first_step():
    """That of Adam is its learning rate, whatever the gradient; after two zeros it would be half as large."""
    theta, _, after, metrics = train(Trouble(), meta_steps=3, phase="random")
    np.testing.assert_allclose(np.abs(theta - [1, -1]), 0.1, rtol=1e-4)
    assert after[0].count == 1
    np.testing.assert_allclose(metrics["silent"], 2 / 3)


def test_a_silent_meta_step_without_a_finite_estimate_is_skipped_as_any_other():
    _, _, _, metrics = train(Trouble("huge"), meta_steps=3, phase="random")
    assert metrics["silent"] + metrics["skipped"] == 1
    assert metrics["skipped"] >= 1 / 3


# --- the watch -------------------------------------------------------------------------------------------


def see(watch, *, diverged=0.0, skipped=0.0, calls=1, first=0):
    for call in range(first, first + calls):
        watch.see(10 * (call + 1), 10, {"diverged": diverged, "skipped": skipped})


def test_most_particles_diverging_for_long_is_told_once_with_what_to_try():
    warnings = []
    watch = Watch(warnings.append)
    see(watch, diverged=0.9, calls=9)
    see(watch, diverged=0.1)  # a pause: it starts to count anew
    see(watch, diverged=0.9, calls=9)
    assert not warnings
    see(watch, diverged=0.9, calls=30)
    (warning,) = warnings
    assert "--sigma" in warning
    assert "\n" not in warning


def test_half_of_the_particles_diverging_is_no_reason_to_warn():
    warnings = []
    see(Watch(warnings.append), diverged=0.5, calls=100)
    assert not warnings


def test_a_theta_that_can_not_move_ends_the_run_and_the_meta_step_is_named():
    watch = Watch(lambda message: None)
    see(watch, skipped=0.9, calls=50)
    with pytest.raises(DivergedError, match=r"every meta-step since 500 was skipped.*--learning-rate"):
        see(watch, skipped=1.0, calls=20, first=50)
