"""A narrow and shallow residual network or autoencoder is one of that size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks

KEYS = jax.random.split(jax.random.key(2), 5)
LOSS = jax.jit(lambda task, instance, params, batch: task.loss(instance, params, batch, KEYS[4]))


def fixed(instance, **entries):
    return instance._replace(**{name: jnp.asarray(value) for name, value in entries.items()})


def resnet(groups, blocks, **options):
    return tasks.ImageResNet(tasks.load_dataset("digits"), blocks, groups, 2, batch_sizes=(4, 4), **options)


def first(params, small):
    """Cut every tensor to the shape of the smaller network's."""
    return {
        layer: {name: params[layer][name][tuple(map(slice, leaf.shape))] for name, leaf in tensors.items()}
        for layer, tensors in small.items()
    }


def test_a_narrow_and_shallow_residual_network_is_one_of_that_size():
    family, small = resnet((1, 3), (1, 2)), resnet((2, 2), (1, 1))
    instance = fixed(family.sample(KEYS[0]), groups=2, blocks=1)
    member = small.sample(KEYS[0])
    batch = small.batch(member, KEYS[1], "train")
    params = family.init(instance, KEYS[2])
    spoiled = jax.tree.map(lambda p: p + 0.1, params)
    cut = first(spoiled, small.init(member, KEYS[2]))
    expected = LOSS(small, member, cut, batch)
    # What is idle gets weights that it never has, and must not be heard.
    np.testing.assert_allclose(LOSS(family, instance, spoiled, batch), expected, rtol=1e-4)
    assert abs(LOSS(family, fixed(instance, groups=3), spoiled, batch) - expected) > 1e-3
    assert abs(LOSS(family, fixed(instance, blocks=2), spoiled, batch) - expected) > 1e-3


def test_the_kernels_of_a_narrow_residual_network_have_its_scale():
    family = resnet((2, 16), (1, 1), initial_scales=(3.0, 3.0))
    params = family.init(fixed(family.sample(KEYS[0]), groups=2), KEYS[2])
    kernel = np.asarray(params["conv_0"]["kernel"])
    truncated = 0.88  # standard deviation of a normal number that is truncated at 2
    np.testing.assert_allclose(kernel[:, :, :4, :4].std() * np.sqrt(9 * 4), 3 * truncated, rtol=0.15)
    assert not kernel[:, :, 4:].any()
    assert not kernel[..., 4:].any()


def test_blocks_that_start_at_zero_do_nothing():
    losses = []
    for blocks in (1, 2):
        task = resnet((2, 2), (2, 2), branch_scales=(0.0,))
        instance = fixed(task.sample(KEYS[0]), blocks=blocks)
        losses.append(
            LOSS(task, instance, task.init(instance, KEYS[2]), task.batch(instance, KEYS[1], "train"))
        )
    assert losses[0] == losses[1]
    task = resnet((2, 2), (2, 2))
    instance = task.sample(KEYS[0])
    other = LOSS(task, instance, task.init(instance, KEYS[2]), task.batch(instance, KEYS[1], "train"))
    assert abs(other - losses[0]) > 1e-3


@pytest.mark.parametrize("kind", [tasks.Autoencoder, tasks.VAE])
def test_a_narrow_autoencoder_is_one_of_that_size(kind):
    digits = tasks.load_dataset("digits")
    family = kind(digits, (4, 12), (2, 6), batch_sizes=(8, 8))
    small = kind(digits, (6, 6), (3, 3), batch_sizes=(8, 8))
    instance = fixed(family.sample(KEYS[0]), width=6, latents=3)
    member = small.sample(KEYS[0])
    batch = small.batch(member, KEYS[1], "train")
    # What is idle gets weights that it never has, and must not be heard.
    params = jax.tree.map(lambda p: p + 0.3, family.init(instance, KEYS[2]))
    if kind is tasks.VAE:
        # The numbers that are drawn differ with their shape: make them all but irrelevant.
        params["log_variance"] = jax.tree.map(lambda p: jnp.zeros_like(p) - 2.0, params["log_variance"])
        params["decoder"]["kernel"] = params["decoder"]["kernel"] * 1e-6
    cut = first(params, small.init(member, KEYS[2]))
    expected = LOSS(small, member, cut, batch)
    np.testing.assert_allclose(LOSS(family, instance, params, batch), expected, rtol=1e-4)
    assert abs(LOSS(family, fixed(instance, width=9), params, batch) - expected) > 1e-3


def test_beta_weighs_the_rate():
    task = tasks.VAE(tasks.load_dataset("digits"), batch_sizes=(8, 8))
    instance = task.sample(KEYS[0])
    params, batch = task.init(instance, KEYS[2]), task.batch(instance, KEYS[1], "train")
    losses = [float(LOSS(task, fixed(instance, beta=np.float32(beta)), params, batch)) for beta in (0, 1, 3)]
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-3)
