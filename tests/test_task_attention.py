"""Transformers, a vision transformer and a mixer are what they say: norms, tied heads, zeros, patches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.attention import TransformerBlocks, layer_norm
from tasks.data.text import ALPHABET
from tasks.images.patches import cut_patches
from tasks.layers import draw_layers
from tasks.sequences.char_transformer import waves

KEYS = jax.random.split(jax.random.key(3), 6)
X = jax.random.normal(KEYS[0], (2, 5, 8)) + 1
LOGITS = jax.jit(lambda task, instance, params, batch: task.logits(instance, params, batch))
LOSS = jax.jit(lambda task, instance, params, batch: task.loss(instance, params, batch, KEYS[0]))
GRADIENT = jax.jit(jax.grad(lambda p, task, instance, batch: task.loss(instance, p, batch, KEYS[0])))
SMALL = {"features": 8, "heads": 2, "length": 6, "batch_size": 3}


def run_blocks(**options):
    """Apply blocks to X; return the output, the blocks, the member and the layers."""
    blocks = TransformerBlocks(features=8, **options)
    member, layers = blocks.sample(KEYS[1]), draw_layers(KEYS[2], blocks.shapes())
    blocks.scale(member, layers)
    return blocks.apply(member, layers, X), blocks, member, layers


def feed(layers, x):
    hidden = jax.nn.gelu(x @ layers["hidden_0"]["kernel"])
    return hidden @ layers["hidden_output_0"]["kernel"]  # biases start at zero


def test_norms_come_before_or_after():
    pre, blocks, _, layers = run_blocks()
    ln = lambda x: layer_norm({"scale": jnp.ones(8), "bias": jnp.zeros(8)}, x)  # noqa: E731
    new = X + blocks.attend(layers, 0, ln(X))
    np.testing.assert_allclose(pre, ln(new + feed(layers, ln(new))), atol=1e-5)
    post, blocks, _, layers = run_blocks(norms=("post",))
    new = ln(X + blocks.attend(layers, 0, X))
    np.testing.assert_allclose(post, ln(new + feed(layers, new)), atol=1e-5)
    assert np.abs(pre - post).max() > 0.1
    assert "norm" not in layers  # it would do nothing after another one


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_drawn_norm_is_that_norm(norm):
    alone = run_blocks(norms=(norm,), depths=(2, 2))[0]
    _, blocks, member, _ = run_blocks(norms=("post", "pre"), depths=(2, 2))
    layers = draw_layers(KEYS[2], TransformerBlocks(features=8, depths=(2, 2)).shapes())
    member = member._replace(norm=jnp.asarray(("post", "pre").index(norm)))
    np.testing.assert_allclose(blocks.apply(member, layers, X), alone, atol=1e-5)


def test_branches_that_start_at_zero_leave_their_input():
    output, _, _, layers = run_blocks(branch_scales=(0.0,), depths=(2, 2))
    np.testing.assert_allclose(output, layer_norm(layers["norm"], X), atol=1e-6)
    assert np.abs(output - run_blocks(depths=(2, 2))[0]).max() > 0.1


def make(task):
    instance = task.sample(KEYS[3])
    return instance, task.init(instance, KEYS[4]), task.batch(instance, KEYS[5], "train")


def test_a_tied_head_is_the_embeddings_and_another_head_is_not():
    for tied in (True, False):
        task = tasks.CharTransformer(tasks.load_text(), tied=tied, **SMALL)
        instance, params, batch = make(task)
        unseen = int(np.setdiff1d(np.arange(64), np.ravel(batch.inputs))[0])
        moved = jax.tree.map(lambda leaf: leaf, params)
        moved["symbols"]["embedding"] = moved["symbols"]["embedding"].at[unseen, 0].add(1.0)
        before, after = (LOGITS(task, instance, p, batch) for p in (params, moved))
        others = np.arange(64) != unseen
        np.testing.assert_array_equal(before[..., others], after[..., others])
        # In the logits of a symbol that is nowhere in the batch, only the head's part can move.
        assert (np.abs(before - after)[..., unseen].max() > 0.1) == tied
        assert ("kernel" in params["output"]) != tied


def test_a_head_that_starts_at_zero_guesses():
    task = tasks.CharTransformer(tasks.load_text(), head_scales=(0.0, 0.0), **SMALL)
    instance, params, batch = make(task)
    assert float(LOSS(task, instance, params, batch)) == pytest.approx(math.log(len(ALPHABET)))


def test_waves_tell_distances():
    products = np.asarray(waves(9, 8) @ waves(9, 8).T)
    for distance in range(9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    assert products[0].argmax() == 0
    assert "places" not in make(tasks.build("char-transformer-post"))[1]


def test_patches_are_squares_of_the_image_row_by_row():
    image = np.arange(48, dtype=np.float32).reshape(1, 4, 6, 2)
    patches = cut_patches(jnp.asarray(image), 2)
    expected = [image[0, r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2, 4)]
    np.testing.assert_array_equal(patches[0], np.stack(expected))


def shuffled(batch):
    """The same images with their patches in another order, and that order."""
    order = np.random.default_rng(0).permutation(16)
    patches = cut_patches(batch.inputs.reshape(-1, 8, 8, 1), 2)[:, order].reshape(-1, 4, 4, 2, 2)
    return batch._replace(inputs=patches.transpose(0, 1, 3, 2, 4).reshape(-1, 64)), order


def test_a_vision_transformer_knows_places_by_their_embeddings_alone():
    task = tasks.ImageViT(tasks.load_dataset("digits"), features=8, depths=(1, 1), batch_sizes=(4, 4))
    instance, params, batch = make(task)
    other, order = shuffled(batch)
    before = LOGITS(task, instance, params, batch)
    assert np.abs(before - LOGITS(task, instance, params, other)).max() > 0.01
    params["places"]["embedding"] = params["places"]["embedding"][order]
    np.testing.assert_allclose(LOGITS(task, instance, params, other), before, atol=1e-5)


def mixer(**options):
    return tasks.ImageMixer(
        tasks.load_dataset("digits"), features=8, depths=(1, 1), batch_sizes=(4, 4), **options
    )


def test_a_mixer_knows_places_by_its_kernels_along_patches_alone():
    task = mixer(widths=(8, 8))
    instance, params, batch = make(task)
    other, order = shuffled(batch)
    before = LOGITS(task, instance, params, batch)
    assert np.abs(before - LOGITS(task, instance, params, other)).max() > 0.01
    params["patch_hidden_0"]["kernel"] = params["patch_hidden_0"]["kernel"][order]
    params["patch_output_0"]["kernel"] = params["patch_output_0"]["kernel"][:, order]
    np.testing.assert_allclose(LOGITS(task, instance, params, other), before, atol=1e-5)


def test_masked_units_of_a_mixer_play_no_part():
    task = mixer(widths=(4, 8))
    instance, _, batch = make(task)
    instance = instance._replace(blocks=instance.blocks._replace(width=jnp.asarray(4)))
    params = task.init(instance, KEYS[4])
    gradient = GRADIENT(params, task, instance, batch)
    for side in ("patch", "feature"):
        assert not gradient[f"{side}_hidden_0"]["kernel"][:, 4:].any()
        assert gradient[f"{side}_hidden_0"]["kernel"][:, :4].any()
        assert not gradient[f"{side}_output_0"]["kernel"][4:].any()
        assert not params[f"{side}_output_0"]["kernel"][4:].any()


@pytest.mark.parametrize("rows", [2, 3])
def test_a_batch_has_as_many_rows_as_the_member(rows):
    task = mixer().replace(batch_sizes=(2, 4))
    instance, params, batch = make(task)
    instance = instance._replace(batch_size=jnp.asarray(rows))
    batch = task.batch(instance, KEYS[5], "train")
    rows_alone = [batch._replace(weights=jax.nn.one_hot(row, 4)) for row in range(rows)]
    losses = [LOSS(task, instance, params, one) for one in rows_alone]
    assert float(LOSS(task, instance, params, batch)) == pytest.approx(np.mean(losses), rel=1e-5)


def digits(make_task, **options):
    return lambda: make_task(tasks.load_dataset("digits"), **options)


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        (lambda: TransformerBlocks(norms=("middle",)), "norms ['middle'] are unknown; there are pre, post"),
        (lambda: TransformerBlocks(branch_scales=()), "branch_scales is empty"),
        (lambda: TransformerBlocks(branch_scales=(-1.0,)), "give numbers from 0 up"),
        (lambda: TransformerBlocks(features=8, heads=3), "3 heads do not divide 8 features"),
        (digits(tasks.ImageViT, patch=3), "patches of 3 do not tile images of 8 x 8"),
        (digits(tasks.ImageViT, heads=5), "5 heads do not divide"),
        (digits(tasks.ImageMixer, widths=(4, 2)), "widths=(4, 2) is not a range"),
        (
            lambda: tasks.CharTransformer(tasks.load_text(), tied=True, head_scales=(0.1, 1.0)),
            "leave head_scales at (1, 1)",
        ),
        (lambda: tasks.CharTransformer(tasks.load_text(), positions="none"), "positions ['none'] are"),
    ],
)
def test_what_does_not_fit_is_refused(attempt, complaint):
    with pytest.raises(tasks.UsageError) as caught:
        attempt()
    assert complaint in str(caught.value)
