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


@pytest.mark.parametrize("kind", [tasks.CharGRU, tasks.CharLSTM])
def test_masked_units_of_a_recurrent_network_play_no_part(kind):
    task = kind(tasks.load_text(), units=(4, 8), length=5, batch_size=3)
    instance = task.sample(KEYS[0])._replace(units=jnp.asarray(4))
    params = task.init(instance, KEYS[1])
    loss, gradient = losses_of(task, instance, params)
    spoiled = jax.tree.map(lambda p: p, params)
    spoiled["output"]["kernel"] = spoiled["output"]["kernel"].at[4:].set(7.0)
    spoiled["recurrence"]["kernel"] = spoiled["recurrence"]["kernel"].at[4:].set(7.0)
    np.testing.assert_array_equal(losses_of(task, instance, spoiled)[0], loss)
    assert not gradient["output"]["kernel"][4:].any()
    assert gradient["output"]["kernel"][:4].any()
    live = np.arange(params["recurrence"]["kernel"].shape[1]) % 8 < 4  # gates are the first axis before
    assert not params["recurrence"]["kernel"][:, ~live].any()
    assert params["recurrence"]["kernel"][:4, live].all()


def test_an_lstm_is_the_one_of_the_textbook():
    task = tasks.CharLSTM(tasks.load_text(), units=(4, 4), length=3, batch_size=2, forget_biases=(1.5,))
    instance = task.sample(KEYS[0])
    params, batch = task.init(instance, KEYS[1]), task.batch(instance, KEYS[2], "train")
    assert (params["inputs"]["bias"] == np.repeat([0, 1.5, 0, 0], 4)).all()
    table, w = np.asarray(params["symbols"]["embedding"]), jax.tree.map(np.asarray, params)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    h = c = np.zeros((2, 4))
    logits = []
    for place in range(3):
        gates = table[batch.inputs[:, place]] @ w["inputs"]["kernel"] + w["inputs"]["bias"]
        i, f, o, g = np.split(gates + h @ w["recurrence"]["kernel"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits.append(h @ w["output"]["kernel"])
    np.testing.assert_allclose(task.logits(instance, params, batch), np.stack(logits), atol=1e-5)


def make_adapters(rank, **options):
    model = tasks.CharTransformer(tasks.load_text(), features=8, length=5, batch_size=3)
    task = tasks.CharLoRA(model, **options)
    instance = task.sample(KEYS[0])._replace(rank=jnp.asarray(rank, jnp.int32))
    return task, instance, task.init(instance, KEYS[1])


def test_adapters_start_at_the_frozen_network_and_only_half_of_them_move_at_first():
    task, instance, params = make_adapters(2, ranks=(2, 2))
    batch = task.batch(instance, KEYS[1], "train")
    loss, gradient = losses_of(task, instance, params)
    frozen = jax.jit(task.model.loss)(instance.transformer, instance.base, batch, KEYS[2])
    np.testing.assert_array_equal(loss, frozen)
    adapters = [name for name in params if name != "output"]
    assert adapters == ["attention_0", "attention_output_0", "hidden_0", "hidden_output_0"]
    assert all(not gradient[name]["lora_a"].any() for name in adapters)
    assert all(gradient[name]["lora_b"].any() for name in adapters)
    moved = jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient)
    merged = task.merge(instance, moved)
    assert losses_of(task, instance, moved)[0] < loss
    change = np.asarray(merged["hidden_0"]["kernel"] - instance.base["hidden_0"]["kernel"])
    expected = 4 * np.asarray(moved["hidden_0"]["lora_a"] @ moved["hidden_0"]["lora_b"])  # alpha / rank
    np.testing.assert_allclose(change, expected, atol=1e-6)
    assert np.linalg.matrix_rank(change, tol=1e-5) == 2
    np.testing.assert_array_equal(merged["symbols"]["embedding"], instance.base["symbols"]["embedding"])


def test_masked_ranks_of_adapters_play_no_part():
    task, instance, params = make_adapters(1, ranks=(1, 3))
    spoiled = jax.tree.map(lambda p: p, params)
    spoiled["hidden_0"]["lora_a"] = spoiled["hidden_0"]["lora_a"].at[:, 1:].set(7.0)
    spoiled["hidden_0"]["lora_b"] = spoiled["hidden_0"]["lora_b"].at[1:].set(7.0)
    loss, gradient = losses_of(task, instance, spoiled)
    np.testing.assert_array_equal(loss, losses_of(task, instance, params)[0])
    assert not params["hidden_0"]["lora_a"][:, 1:].any()
    assert not gradient["hidden_0"]["lora_b"][1:].any()
    assert gradient["hidden_0"]["lora_b"][:1].all()


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
    attend = jax.jit(lambda x: task.blocks().attend(params, 0, x))
    before, after = attend(x), attend(x.at[:, 4].add(1.0))
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (after[:, 4:] != before[:, 4:]).any(axis=-1).all()
