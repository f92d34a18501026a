"""Registers tasks on the image data sets that `lopt-data prepare` brings; `imagenet64` is streamed."""

from __future__ import annotations

from ..base import Task
from ..data.datasets import load_dataset
from ..registry import register
from .image_conv import ImageConv
from .image_mlp import ImageMLP
from .image_resnet import ImageResNet

_CONVOLVED = ("cifar10", "cifar100", "svhn", "imagenet16", "imagenet32", "imagenet64")
_SMALL = ("mnist_8", "fashion_mnist_8", "cifar10_8", "svhn_8")
"""The images of Celo's meta-training (Moudgil et al. 2025, arXiv:2501.12670)."""


def _register(dataset: str) -> None:
    name = dataset.replace("_", "-")
    if dataset in _SMALL:
        register(f"{name}-mlp")(lambda: ImageMLP(load_dataset(dataset), widths=(32, 32)))
        return

    @register(f"{name}-conv")
    def conv() -> Task:
        return ImageConv(load_dataset(dataset))

    @register(f"{name}-resnet")
    def resnet() -> Task:
        return ImageResNet(load_dataset(dataset))


for _dataset in (*_SMALL, *_CONVOLVED):
    _register(_dataset)
