"""What sampled tasks are drawn from: networks on images and texts, of sizes drawn at random."""

from __future__ import annotations

from collections.abc import Callable

from .base import Task
from .data.datasets import load_dataset
from .data.text import ALPHABET, load_text
from .draw import Draw
from .images.autoencoder import VAE, Autoencoder
from .images.image_conv import ImageConv
from .images.image_mixer import ImageMixer
from .images.image_mlp import ImageMLP
from .images.image_resnet import ImageResNet
from .images.image_vit import ImageViT
from .images.made import MADE
from .images.metric import ContrastiveEmbedding, TripletEmbedding
from .sequences.char_gru import CharGRU
from .sequences.char_lora import CharLoRA
from .sequences.char_lstm import CharLSTM
from .sequences.char_mlp import CharMLP
from .sequences.char_transformer import CharTransformer


def _image_mlp(draw: Draw) -> Task:
    one = draw.perceptron(1, 1)
    sizes = draw.batch_sizes()
    return ImageMLP(
        load_dataset("digits"), one.widths, one.depths, one.activations, one.initial_scales, sizes
    )


def _image_conv(draw: Draw) -> Task:
    channels, scales = draw.whole(4, 12), draw.span(0.5, 2.0)
    activations = draw.some_of("relu", "gelu", "tanh")
    return ImageConv(
        load_dataset("digits"), (channels, channels), activations, scales, draw.one_of(16, 32, 64)
    )


def _reconstruction(draw: Draw) -> Task:
    make = draw.one_of(Autoencoder, VAE)
    width, latents, rows = draw.whole(16, 64), draw.whole(4, 16), draw.batch_size()
    return make(load_dataset("digits"), (width, width), (latents, latents), batch_sizes=(rows, rows))


def _transformer(draw: Draw) -> CharTransformer:
    tied = draw.chance(0.25)
    # Tied embeddings above 0.12 (a scale of 0.8) start at a loss far above that of guessing.
    kernels, embeddings = draw.span(0.7, 1.4), draw.span(0.13, 0.8 if tied else 6.5)
    head = draw.one_of((0.0, 0.0), draw.span(0.1, 1.0), draw.span(0.1, 1.0))
    depth, heads = draw.whole(1, 2), draw.one_of(1, 2, 4)
    features, length = draw.one_of(16, 32), draw.one_of(12, 24)
    return CharTransformer(
        load_text(),
        depths=(depth, depth),
        initial_scales=kernels,
        embedding_scales=embeddings,
        head_scales=(1.0, 1.0) if tied else head,
        features=features,
        heads=heads,
        length=length,
        batch_size=draw.one_of(8, 16),
        norms=draw.some_of("pre", "post"),
        branch_scales=draw.some_of(1.0, 0.0),
        tied=tied,
        positions=draw.one_of("learned", "waves"),
    )


def _gru(draw: Draw) -> Task:
    units, scales = draw.whole(12, 48), draw.span(0.7, 1.4)
    features, length = draw.whole(8, 24), draw.one_of(12, 24)
    return CharGRU(load_text(), (units, units), scales, features, length, draw.one_of(16, 32))


def _char_mlp(draw: Draw) -> Task:
    family = CharMLP(load_text())
    one = draw.perceptron(family.perceptron.inputs, len(ALPHABET))
    return family.replace(perceptron=one, batch_size=draw.batch_size())


def _patches(draw: Draw) -> Task:
    depth, scales, embeddings = draw.whole(1, 2), draw.span(0.7, 1.4), draw.span(0.3, 3.0)
    make, features = draw.one_of(ImageViT, ImageMixer), draw.one_of(16, 32)
    return make(
        load_dataset("digits"),
        depths=(depth, depth),
        activations=draw.some_of("gelu", "relu"),
        initial_scales=scales,
        embedding_scales=embeddings,
        batch_sizes=draw.batch_sizes(),
        features=features,
        patch=draw.one_of(2, 4),
        branch_scales=draw.some_of(1.0, 0.0),
    )


def _image_resnet(draw: Draw) -> Task:
    blocks, groups, scales = draw.whole(1, 3), draw.whole(1, 3), draw.span(0.7, 1.4)
    activations, branches = draw.some_of("relu", "silu"), draw.some_of(1.0, 0.0)
    rows = draw.one_of(16, 32)
    return ImageResNet(
        load_dataset("digits"),
        (blocks, blocks),
        (groups, groups),
        activations=activations,
        initial_scales=scales,
        branch_scales=branches,
        batch_sizes=(rows, rows),
    )


def _image_density(draw: Draw) -> Task:
    width, scales, rows = draw.whole(16, 96), draw.span(0.7, 1.4), draw.batch_sizes()
    activations = draw.some_of("relu", "tanh", "gelu")
    return MADE(
        load_dataset("digits"), (width, width), activations, scales, rows, conditional=draw.chance(0.5)
    )


def _image_embedding(draw: Draw) -> Task:
    make, width, depth = (
        draw.one_of(TripletEmbedding, ContrastiveEmbedding),
        draw.whole(16, 64),
        draw.whole(1, 2),
    )
    activations, scales = draw.some_of("relu", "tanh", "gelu"), draw.span(0.7, 1.4)
    rows, strictness = draw.one_of(16, 32), draw.span(0.2, 1.0)
    sizes = (width, width), (depth, depth), activations, scales, (rows, rows), strictness
    return make(load_dataset("digits"), *sizes, features=draw.one_of(8, 16, 32))


def _lstm(draw: Draw) -> Task:
    units, scales = draw.whole(12, 48), draw.span(0.7, 1.4)
    features, length = draw.whole(8, 24), draw.one_of(12, 24)
    rows, forget = draw.one_of(16, 32), draw.some_of(0.0, 1.0)
    return CharLSTM(load_text(), (units, units), scales, features, length, rows, forget)


def _adapters(draw: Draw) -> Task:
    model, rank = _transformer(draw).replace(tied=False, branch_scales=(1.0,)), draw.whole(1, 8)
    return CharLoRA(model, (rank, rank), alpha=draw.number(2, 16))


NETWORKS: dict[str, Callable[[Draw], Task]] = {
    "images-mlp": _image_mlp,
    "images-conv": _image_conv,
    "images-resnet": _image_resnet,
    "images-patches": _patches,
    "images-density": _image_density,
    "images-embedding": _image_embedding,
    "reconstruction": _reconstruction,
    "characters-mlp": _char_mlp,
    "characters-gru": _gru,
    "characters-lstm": _lstm,
    "characters-transformer": _transformer,
    "characters-adapters": _adapters,
}
"""Families of networks on images and texts."""
