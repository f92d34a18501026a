"""Several tasks train one theta: each counts by its weight, however large its losses are, on any devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import (
    PES,
    ConstantHorizon,
    Devices,
    Dynamics,
    Member,
    Mixture,
    Scale,
    SumLoss,
    init_run,
    make_meta_step,
)

ESTIMATOR = PES(ConstantHorizon(6), window=2, objective=SumLoss(), sigma=0.1)
THETA = jnp.asarray([0.3, -0.2, 0.5])
RATE, CLIP = 0.05, 1.5
OUTER = optax.inject_hyperparams(optax.sgd)(learning_rate=RATE)


class Hill(Dynamics):
    """Loss size x |theta - target|^2 / 2 at each step, with a target of each episode's own."""

    size: float = 1.0
    target: float = 0.0

    def init(self, theta, horizon, key):
        return self.target + 0.3 * jax.random.normal(key, theta.shape)

    def step(self, theta, state, key):
        return state, self.size * jnp.sum((theta - state) ** 2) / 2

    @property
    def ceiling(self):
        return 3e38


def hills(**sizes):
    """Two tasks that pull theta to different places."""
    sizes = {"up": 1.0, "down": 1.0} | sizes
    return {name: Hill(*jnp.float32([sizes[name], at])) for name, at in (("up", 2), ("down", -1))}


@functools.cache
def compiled(**where):
    """Return a mixture of `up` and `down`, and its meta-step."""
    mixture = Mixture((Member("up", 8, 3.0), Member("down", 4, 1.0)), Devices(**where))
    return mixture, make_meta_step(ESTIMATOR, OUTER, mixture, CLIP)


class Run:
    """A run of a mixture; calls do meta-steps and return their metrics."""

    def __init__(self, dynamics=None, scales=None, rate=RATE, **where):
        self.dynamics = dynamics or hills()
        self.mixture, self.step = compiled(**(where or {"backend": "vmap"}))
        self.state, self.particles = init_run(
            self.dynamics, ESTIMATOR, OUTER, self.mixture, THETA, jax.random.key(1)
        )
        self.state.outer.hyperparams["learning_rate"] = jnp.asarray(rate, jnp.float32)
        if scales is not None:
            self.state = self.state.replace(scales=settled(scales))

    def __call__(self, count=1):
        constants = (self.dynamics, jnp.asarray(count, jnp.int32))
        self.state, self.particles, metrics = self.step(self.state, self.particles, constants)
        return jax.device_get(metrics)

    @property
    def theta(self):
        return np.asarray(self.state.theta)

    @property
    def scales(self):
        return {name: float(scale.value) for name, scale in self.state.scales.items()}

    @property
    def outcome(self):
        return jax.device_get((self.state.theta, self.state.scales, self.particles))


def settled(scales):
    """Return scales that hardly move any more."""
    return {
        name: Scale(jnp.asarray(s, jnp.float32), jnp.asarray(10**6, jnp.int32)) for name, s in scales.items()
    }


@jax.jit
def _estimates(state, particles, dynamics, first):
    def one(index, particle):
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.meta_step), index)
        return ESTIMATOR.step(dynamics, state.theta, particle, key, state.meta_step)[1].gradient

    return jax.vmap(one)(first + jnp.arange(len(particles.score)), particles)


def estimates(run, name):
    """Compute each particle's estimate at the present meta-step, apart from any mixture."""
    first = {"up": 0, "down": 8}[name]
    return np.asarray(_estimates(run.state, run.particles[name], run.dynamics[name], first))


# --- the gradient ----------------------------------------------------------------------------------------


def test_a_mixture_of_one_task_is_the_task_to_the_bit():
    """Its name and weight change nothing, and it has no scale: theta moves by the mean of its estimates."""
    devices, outer, found = Devices(backend="vmap"), optax.sgd(RATE), []
    for mixture in (Mixture.of(8, devices), Mixture((Member("up", 8, 7.0),), devices)):
        (name,) = mixture.names
        dynamics = {name: hills()["up"]}
        state, particles = init_run(dynamics, ESTIMATOR, outer, mixture, THETA, jax.random.key(1))
        own = np.asarray(_estimates(state, particles[name], dynamics[name], 0))
        step = make_meta_step(ESTIMATOR, outer, mixture)
        state, particles, _ = step(state, particles, (dynamics, jnp.asarray(1, jnp.int32)))
        np.testing.assert_allclose(state.theta, np.asarray(THETA) - RATE * own.mean(0), rtol=1e-5)
        state, particles, metrics = step(state, particles, (dynamics, jnp.asarray(4, jnp.int32)))
        assert not state.scales
        assert not [metric for metric in metrics if metric.startswith("tasks/")]
        found.append(jax.device_get((state.theta, particles[name], metrics)))
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert np.any(found[0][0] != np.asarray(THETA))


def test_the_gradient_is_the_weighted_sum_of_the_tasks_means_over_their_scales():
    """Each particle's estimate is clipped in units of its task's scale."""
    scales, weights = {"up": 2.0, "down": 0.1}, {"up": 0.75, "down": 0.25}
    run, clipped = Run(hills(down=0.1), scales, rate=1.0), set()
    for _ in range(4):
        before, expected = run.theta, 0.0
        run.state = run.state.replace(scales=settled(scales))
        for name, weight in weights.items():
            own = estimates(run, name) / scales[name]
            norms = np.linalg.norm(own, axis=1, keepdims=True)
            clipped |= set((norms > CLIP).flat)
            expected += weight * np.mean(own * np.minimum(1, CLIP / norms), axis=0)
        run()
        np.testing.assert_allclose(before - run.theta, expected, rtol=1e-4, atol=1e-6)
    assert clipped == {True, False}


def test_the_first_meta_step_measures_the_scales_and_leaves_theta_alone():
    run = Run(hills(up=10.0))
    norms = {name: np.mean(np.linalg.norm(estimates(run, name), axis=1)) for name in ("up", "down")}
    metrics = run()
    np.testing.assert_array_equal(run.theta, np.asarray(THETA))
    assert (metrics["silent"], metrics["skipped"], int(run.state.outer.count)) == (1, 0, 0)
    assert run.scales == pytest.approx(norms, rel=1e-5)
    for name in ("scale", "particle_norm"):
        assert metrics[f"tasks/down/{name}"] == pytest.approx(norms["down"], rel=1e-5)
    assert run()["silent"] == 0
    assert np.all(run.theta != np.asarray(THETA))
    assert int(run.state.outer.count) == 1


# --- no task drowns the others ---------------------------------------------------------------------------


def test_a_task_with_losses_a_thousand_times_as_large_trains_theta_in_the_same_way():
    plain, loud = Run(), Run(hills(up=1000.0))
    plain(60), loud(60)
    assert loud.scales["up"] == pytest.approx(1000 * plain.scales["up"], rel=1e-3)
    np.testing.assert_allclose(loud.theta, plain.theta, rtol=1e-3)
    assert np.linalg.norm(plain.theta - THETA) > 0.3


def test_a_task_that_grows_in_the_course_of_a_run_is_bounded_at_once_and_has_its_share_again():
    # From the same state on; theta stands still, so that there is something to compare.
    plain, loud = Run(rate=0.0), Run(rate=0.0)
    plain(50), loud(50)
    loud.dynamics = hills(up=1000.0)
    assert loud(1)["gradient_norm"] <= CLIP
    plain(1), plain(800), loud(800)
    assert loud.scales["up"] == pytest.approx(1000 * plain.scales["up"], rel=0.1)
    assert loud.scales["down"] == plain.scales["down"]
    assert loud(30)["gradient_norm"] == pytest.approx(plain(30)["gradient_norm"], rel=0.1)


def test_one_outlier_does_not_blow_a_scale_up():
    run = Run(rate=0.0)
    run(300)
    settled = run.scales["up"]
    run.dynamics = hills(up=1e6)
    run()
    assert run.scales["up"] < 1.2 * settled


class Mostly(Hill):
    """A hill that most episodes can't see: their estimates are zero."""

    alive: float = 0.15

    def init(self, theta, horizon, key):
        return jax.random.bernoulli(key, self.alive), super().init(theta, horizon, key)

    def step(self, theta, state, key):
        alive, hill = state
        return state, jnp.where(alive, super().step(theta, hill, key)[1], 0.0)


@pytest.mark.parametrize("particles", [1, 8])
def test_a_scale_is_the_true_mean_norm_where_few_estimates_are_not_zero(particles):
    """A bound on each particle's norm, which is 6.7 times the mean, would shrink it by 1 % a meta-step."""

    @jax.jit
    def scale_after(norms):
        step = lambda scale, norm: (scale.updated(jnp.mean(norm), jnp.ones(())), scale.value)  # noqa: E731
        return jax.lax.scan(step, Scale.unknown(), norms)[1]

    alive_key, norm_key = jax.random.split(jax.random.key(5))
    norms = 0.5 + jax.random.uniform(norm_key, (20_000, particles))
    norms = jnp.where(jax.random.bernoulli(alive_key, 0.15, norms.shape), norms, 0)
    values = np.asarray(scale_after(norms))[2_000:]
    np.testing.assert_allclose(values.mean(), np.mean(norms), rtol=0.05)


def test_a_task_with_few_episodes_alive_keeps_its_scale_in_a_run():
    """Adding the norms of 300 meta-steps up by hand."""
    run, norms = Run({"up": Mostly(1.0, 2.0), "down": hills()["down"]}, rate=0.0), []
    for _ in range(300):
        norms.append(float(run()["tasks/up/particle_norm"]))
    weights = 0.99 ** np.arange(200)[::-1]
    expected = weights @ norms[-200:] / weights.sum()
    assert np.mean(np.equal(norms, 0)) > 0.1
    np.testing.assert_allclose(run.scales["up"], expected, rtol=0.2)


def test_a_task_without_finite_estimates_leaves_the_others_as_they_are():
    """Its scale stays too; the meta-step is skipped only where no task has one."""
    scales = {"up": 2.0, "down": 0.5}
    run = Run(hills(up=1e30), scales, rate=1.0)
    own = estimates(run, "down") / 0.5
    own *= np.minimum(1, CLIP / np.linalg.norm(own, axis=1, keepdims=True))
    expected = 0.25 * np.mean(own, axis=0)
    metrics = run()
    assert metrics["dropped"] == 0.75  # its weight
    assert metrics["skipped"] == 0
    np.testing.assert_allclose(np.asarray(THETA) - run.theta, expected, rtol=1e-4)
    assert run.scales["up"] == 2.0
    run.dynamics = hills(up=1e30, down=1e30)
    before = run.theta
    assert run()["skipped"] == 1
    np.testing.assert_array_equal(run.theta, before)


# --- devices ---------------------------------------------------------------------------------------------


@functools.cache
def after(meta_steps, **where):
    run = Run(**where)
    metrics = run(meta_steps)
    return run.outcome, metrics


@pytest.mark.parametrize("where", [{"count": 4}, {"count": 2, "backend": "pmap"}], ids=str)
def test_devices_do_not_change_the_result_beyond_rounding(where):
    one, several = after(12, backend="vmap"), after(12, **where)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), several, one)
    assert np.linalg.norm(one[0][0] - THETA) > 0.05


@pytest.mark.parametrize("devices", [2, 4])
def test_the_ordered_reduction_is_bitwise_the_same_on_any_number_of_devices(devices):
    one, several = (after(12, count=n, reduction="ordered", chunk=1)[0] for n in (1, devices))
    jax.tree.map(np.testing.assert_array_equal, one, several)


def test_particles_of_all_tasks_differ_from_each_other():
    run = Run(hills() | {"down": hills()["up"]})
    run(2)
    scores = np.concatenate([run.particles[name].score for name in ("up", "down")])
    assert len(np.unique(scores[:, 0])) == 8 + 4


def test_a_meta_step_needs_one_all_reduce_of_theta_and_the_metrics():
    """Not of a theta for each task: the members' windows have none."""
    run, sums = Run(count=4), {}
    run()
    for member in run.mixture.members:
        window = run.step.windows[member.name]
        arguments = run.step.arguments(member, run.state, run.particles, run.dynamics)
        assert "all-reduce" not in window.lower(*arguments).compile().as_text()
        _, (_, sums[member.name]), _ = window(*arguments)
    text = run.step.update.lower(run.state, sums, ()).compile().as_text()
    reduced = re.findall(r"= f32\[(\d+)\]\S* all-reduce(?:-start)?\(", text)
    metrics = 5 + 4 + 3  # of the episode, of the estimate, and for the diagnostics
    assert reduced == [str(THETA.size + 2 * metrics)]
    assert len(re.findall(r" all-reduce(?:-start)?\(", text)) == 1


def test_members_of_one_shape_share_a_program_and_others_have_their_own():
    dynamics = hills() | {"few": hills()["up"], "odd": Mostly(1.0, 2.0)}
    members = tuple(Member(name, 2 if name == "few" else 4) for name in dynamics)
    mixture = Mixture(members, Devices(backend="vmap"))
    state, particles = init_run(dynamics, ESTIMATOR, OUTER, mixture, THETA, jax.random.key(1))
    step = make_meta_step(ESTIMATOR, OUTER, mixture)
    step(state, particles, (dynamics, jnp.asarray(1, jnp.int32)))
    four, few = step.windows["up"], step.windows["few"]
    assert four is step.windows["down"] is step.windows["odd"]
    assert (four._cache_size(), few._cache_size()) == (2, 1)


def test_nothing_is_compiled_twice():
    """What is compiled ahead, a core each, is what a call runs."""
    mixture, compiled = Mixture((Member("up", 3), Member("down", 5)), Devices(count=1)), []
    listen = lambda event, seconds, **_: compiled.append(event)  # noqa: E731
    state, particles = init_run(hills(), ESTIMATOR, OUTER, mixture, THETA, jax.random.key(1))
    step, constants = make_meta_step(ESTIMATOR, OUTER, mixture), (hills(), jnp.asarray(2, jnp.int32))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state, particles, _ = step(state, particles, constants)
        first = compiled.count("/jax/core/compile/backend_compile_duration")
        step(state, particles, constants)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert first <= 2 + 3  # two windows; the update, the sum and the means of the tallies
    assert compiled.count("/jax/core/compile/backend_compile_duration") == first


# --- metrics ---------------------------------------------------------------------------------------------


def test_metrics_are_weighted_means_and_each_tasks_own():
    run = Run(hills(up=10.0))
    run(20)
    metrics = run(3)
    for name in ("loss", "diverged"):
        up, down = metrics[f"tasks/up/{name}"], metrics[f"tasks/down/{name}"]
        assert metrics[name] == pytest.approx(0.75 * up + 0.25 * down, rel=1e-5)
    assert metrics["tasks/up/loss"] > 5 * metrics["tasks/down/loss"] > 0
    assert 0.3 < metrics["particle_norm"] < 3  # in units of the scales
    assert metrics["tasks/up/particle_norm"] > 3 * metrics["tasks/down/particle_norm"]
    assert not [name for name in metrics if name.startswith("_")]


def test_an_objective_is_the_mean_of_the_episodes_that_ended():
    """Here of 6 equal losses each; a task without any has none."""
    run = Run()
    metrics = run(60)
    for name in ("up", "down"):
        task = {key: float(metrics[f"tasks/{name}/{key}"]) for key in ("loss", "objective")}
        # First episodes are cut short.
        assert 4.5 * task["loss"] < task["objective"] < 6.5 * task["loss"]


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "one task or more"),
        ((("a", 1.0), ("a", 1.0)), "each once, not a, a"),
        ((("a", 0.0),), "positive"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(members, message):
    with pytest.raises(ValueError, match=message):
        Mixture(tuple(Member(name, 4, weight) for name, weight in members), Devices(backend="vmap"))


def test_the_task_whose_particles_do_not_divide_is_named():
    with pytest.raises(ValueError, match="^task b: 3 particles do not divide over 2 devices: take 2 or 4 "):
        Mixture((Member("a", 4), Member("b", 3)), Devices(2))
