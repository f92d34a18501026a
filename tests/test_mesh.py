"""How a population is spread over devices does not change its result, and costs one all-reduce."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import PES, ConstantHorizon, Devices, InnerTraining, Mixture, init_run, make_meta_step

PARTICLES = 8
ESTIMATOR = PES(ConstantHorizon(6), window=2, sigma=0.1)
DYNAMICS = InnerTraining(tasks.Quadratic(dimension=3))
OUTER = optax.sgd(0.1)


def theta():
    return lopt.LearnableAdam.create(jax.random.key(0), learning_rate=0.1)


def prepare(devices, particles=PARTICLES, dynamics=DYNAMICS, meta_steps=4):
    """Return the compiled meta-step and its arguments for some meta-steps."""
    mixture, dynamics = Mixture.of(particles, devices), {"only": dynamics}
    state, particles = init_run(dynamics, ESTIMATOR, OUTER, mixture, theta(), jax.random.key(1))
    step = make_meta_step(ESTIMATOR, OUTER, mixture, particle_clip=100.0)
    return step, (state, particles, (dynamics, jnp.asarray(meta_steps, jnp.int32)))


@functools.cache
def run(meta_steps=4, **options):
    """Do some meta-steps; return all that came out, on the host."""
    step, arguments = prepare(Devices(**options), meta_steps=meta_steps)
    state, particles, metrics = step(*arguments)
    pairs = particles["only"]
    return jax.device_get((state.theta, pairs.score, pairs.pair.age, metrics))


@pytest.mark.parametrize(
    "options",
    [
        {"count": 1},
        {"count": 8},
        {"count": 2, "chunk": 2},
        {"backend": "pmap", "count": 2},
        {"backend": "vmap", "chunk": 2},
        {"count": 2, "reduction": "ordered"},
    ],
    ids=str,
)
def test_devices_backends_and_chunks_give_the_same_result_to_rounding(options):
    reference, found = run(backend="vmap"), run(**options)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5), found, reference)
    start = jax.device_get(theta())
    moves = jax.tree.map(lambda x, y: abs(x - y), reference[0], start)
    assert float(moves.log_learning_rate) > 1e-3  # something happened that could have differed


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_theta_agrees_to_rounding_after_a_hundred_meta_steps(devices):
    one, several = (run(100, count=n)[0] for n in (1, devices))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), several, one)
    assert abs(float(one.log_learning_rate - theta().log_learning_rate)) > 0.1


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_ordered_reduction_of_single_particles_is_bitwise_the_same_on_any_number_of_devices(devices):
    one, several = (run(count=n, reduction="ordered", chunk=1) for n in (1, devices))
    jax.tree.map(np.testing.assert_array_equal, one[:-1], several[:-1])
    # Metrics decide nothing: a compiler may fuse the squares in a diagnostic as it likes.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), one[-1], several[-1])


def test_particles_differ_from_each_other():
    """Each has randomness of its own, so a sum over them can't hide a population of clones."""
    scores = run(backend="vmap")[1].log_learning_rate
    assert len(np.unique(scores)) == PARTICLES


@functools.cache
def collectives(**options):
    step, arguments = prepare(Devices(**options))
    text = step.lower(*arguments).compile().as_text()
    names = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    return {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in names}


def test_a_meta_step_needs_one_all_reduce_and_nothing_else():
    assert collectives(count=8) == {
        "all-reduce": 1,
        "all-gather": 0,
        "all-to-all": 0,
        "collective-permute": 0,
        "reduce-scatter": 0,
    }
    assert collectives(count=8, reduction="ordered")["all-gather"] > 0  # so the count sees them


def image_training(images):
    """Inner training on a data set of random images of 16 x 16."""
    draws = np.random.default_rng(0)
    sizes = {"train": images, "inner_valid": 1, "outer_valid": 1, "test": 1}
    dataset = tasks.Dataset(
        images={s: jnp.asarray(draws.integers(0, 256, (n, 16, 16, 1), np.uint8)) for s, n in sizes.items()},
        labels={s: jnp.asarray(draws.integers(0, 10, n, np.int32)) for s, n in sizes.items()},
        name="random",
        num_classes=10,
        mean=0.5,
        std=0.3,
    )
    return InnerTraining(tasks.ImageMLP(dataset, widths=(8, 8), batch_sizes=(8, 8)))


@pytest.mark.usefixtures("optimised")
def test_memory_grows_linearly_in_particles_and_the_data_set_is_not_copied():
    images = 2**15
    dynamics = image_training(images)
    memory = {}
    for particles in (4, 8, 16):
        step, arguments = prepare(Devices(backend="vmap"), particles, dynamics)
        memory[particles] = step.lower(*arguments).compile().memory_analysis()
    temporaries = {n: m.temp_size_in_bytes for n, m in memory.items()}
    data = images * 16 * 16
    assert temporaries[16] < data / 2  # not one copy, let alone one for each particle
    assert data < memory[16].argument_size_in_bytes < 1.5 * data  # because it is an argument, once
    assert memory[16].generated_code_size_in_bytes < data  # and not baked into the program
    assert temporaries[16] - temporaries[8] <= 2.1 * (temporaries[8] - temporaries[4])
    assert temporaries[16] > temporaries[4]


@pytest.mark.parametrize(
    ("particles", "options", "message"),
    [
        (10, {"count": 8}, "10 particles do not divide over 8 devices: take 8 or 16 "),
        (3, {"count": 8}, "3 particles do not divide over 8 devices: take 8 or 16 "),
        (8, {"count": 9}, "9 devices were requested, but there are 8"),
        (8, {"count": 0}, "0 devices were requested"),
        (8, {"count": 2, "chunk": 3}, "chunks of 3 do not divide the 4 particles of a device"),
        (8, {"count": 2, "chunk": 0}, "chunks of 0 do not divide"),
        (8, {"count": 2, "chunk": -1}, "chunks of -1 do not divide"),
        (0, {}, "at least 1 particle, not 0"),
    ],
)
def test_particles_that_do_not_fit_are_refused_with_numbers_that_do(particles, options, message):
    with pytest.raises(ValueError, match=message):
        Mixture.of(particles, Devices(**options))


def test_all_devices_are_used_by_default_and_one_by_vmap():
    assert Devices().in_use == 8
    assert Devices().share(16) == 2
    assert Devices(backend="vmap").in_use == 1


def test_what_a_caller_handed_over_survives():
    """The compiled step donates its arguments; what the caller keeps must not be among them."""
    mixture, key, kept = Mixture.of(PARTICLES, Devices(backend="vmap")), jax.random.key(1), theta()
    dynamics = {"only": DYNAMICS}
    state, particles = init_run(dynamics, ESTIMATOR, OUTER, mixture, kept, key)
    step = make_meta_step(ESTIMATOR, OUTER, mixture, particle_clip=100.0)
    step(state, particles, (dynamics, jnp.asarray(4, jnp.int32)))
    assert not key.is_deleted()
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((kept, DYNAMICS)))
