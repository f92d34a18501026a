"""A small member of a family is the small network: masks change shapes and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.images.image_conv import convolve
from tasks.perceptron import PerceptronInstance

KEYS = jax.random.split(jax.random.key(5), 4)


def member(width, depth=1, activation=0, scale=1.0):
    return PerceptronInstance(
        jnp.asarray(width), jnp.asarray(depth), jnp.asarray(activation), jnp.asarray(scale, jnp.float32)
    )


def test_a_narrow_and_shallow_perceptron_is_one_of_that_size():
    family = tasks.Perceptron(3, 2, widths=(4, 8), depths=(1, 3), activations=("relu", "tanh"))
    small = tasks.Perceptron(3, 2, widths=(4, 4), depths=(2, 2), activations=("tanh",))
    params = family.init(member(4, 2, 1), KEYS[0])
    sliced = {
        "layer_0": {"kernel": params["layer_0"]["kernel"][:, :4], "bias": params["layer_0"]["bias"][:4]},
        "layer_1": {"kernel": params["layer_1"]["kernel"][:4, :4], "bias": params["layer_1"]["bias"][:4]},
        "layer_2": {"kernel": params["layer_3"]["kernel"][:4], "bias": params["layer_3"]["bias"]},
    }
    x = jax.random.normal(KEYS[1], (5, 3))
    outputs = family.apply(member(4, 2, 1), params, x)
    np.testing.assert_allclose(outputs, small.apply(member(4, 2), sliced, x), rtol=1e-5)
    assert np.abs(outputs).max() > 0.01
    gradient = jax.grad(lambda p: jnp.sum(jnp.square(family.apply(member(4, 2, 1), p, x))))(params)
    assert not gradient["layer_0"]["kernel"][:, 4:].any()  # the masked units
    assert not gradient["layer_2"]["kernel"].any()  # the skipped layer
    assert gradient["layer_0"]["kernel"][:, :4].all()


@pytest.mark.parametrize("width", [8, 64])
def test_kernels_have_the_scale_of_the_members_own_fan_in(width):
    family = tasks.Perceptron(16, 10, widths=(8, 64), depths=(2, 2))
    kernel = family.init(member(width, 2, scale=3.0), KEYS[0])["layer_1"]["kernel"][:width, :width]
    truncated = 0.88  # standard deviation of a normal number that is truncated at 2
    np.testing.assert_allclose(np.std(kernel) * np.sqrt(width), 3 * truncated, rtol=0.2)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_product_of_patches_is_a_convolution(stride):
    kernel, bias = jax.random.normal(KEYS[0], (3, 3, 2, 5)), jnp.arange(5.0)
    x = jax.random.normal(KEYS[1], (4, 8, 8, 2))
    # lax pads on the outside only where it must; ours pads by one on every side.
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        convolve({"kernel": kernel, "bias": bias}, x, stride),
        expected + bias[None, None, None],
        rtol=1e-4,
        atol=1e-4,
    )


def losses_of(task, instance, params):
    batch = task.batch(instance, KEYS[1], "train")
    return jax.jit(jax.value_and_grad(task.loss, argnums=1))(instance, params, batch, KEYS[2])


def test_masked_units_of_a_recurrent_network_play_no_part():
    task = tasks.CharGRU(tasks.load_text(), units=(4, 8), length=5, batch_size=3)
    instance = task.sample(KEYS[0])._replace(units=jnp.asarray(4))
    params = task.init(instance, KEYS[1])
    loss, gradient = losses_of(task, instance, params)
    spoiled = jax.tree.map(lambda p: p, params)
    spoiled["output"]["kernel"] = spoiled["output"]["kernel"].at[4:].set(7.0)
    spoiled["recurrence"]["kernel"] = spoiled["recurrence"]["kernel"].at[4:].set(7.0)
    np.testing.assert_array_equal(losses_of(task, instance, spoiled)[0], loss)
    assert not gradient["output"]["kernel"][4:].any()
    assert gradient["output"]["kernel"][:4].any()
    live = jnp.asarray([1, 1, 1, 1, 0, 0, 0, 0] * 3, bool)
    assert not params["recurrence"]["kernel"][:, ~live].any()
    assert params["recurrence"]["kernel"][:4, live].all()


def test_masked_channels_of_a_convolution_play_no_part():
    task = tasks.ImageConv(tasks.load_dataset("digits"), channels=(2, 4), batch_size=8)
    instance = task.sample(KEYS[0])._replace(channels=jnp.asarray(2))
    params = task.init(instance, KEYS[1])
    _, gradient = losses_of(task, instance, params)
    rows = np.arange(params["output"]["kernel"].shape[0]) % 4 < 2  # channels are the last axis before
    assert not params["output"]["kernel"][~rows].any()
    assert not gradient["output"]["kernel"][~rows].any()
    assert params["output"]["kernel"][rows].all()
    assert not gradient["conv_0"]["kernel"][..., 2:].any()
    assert gradient["conv_0"]["kernel"][..., :2].any()


def test_a_transformer_sees_the_past_only():
    task = tasks.CharTransformer(tasks.load_text(), length=6, batch_size=2)
    params = task.init(task.sample(KEYS[0]), KEYS[1])
    x = jax.random.normal(KEYS[2], (2, 6, 32))
    attend = jax.jit(lambda x: task._attend(params, 0, x))
    before, after = attend(x), attend(x.at[:, 4].add(1.0))
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (after[:, 4:] != before[:, 4:]).any(axis=-1).all()
