"""Dense layers of another library's network."""

from __future__ import annotations

from ..mlp import Layer
from .foreign import Foreign

KERNEL_WIDTHS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
"""Of the kernels that VeLO, Celo and Celo2 cut their first layer into, one for each kind of feature."""


def take_layers(
    foreign: Foreign, kernel: str, bias: str, inputs: int, outputs: int, first: int = 0
) -> tuple[Layer, ...]:
    """Take the layers of a network whose hidden layers are of one size.

    Args:
        foreign: the other library's arrays.
        kernel: path of a layer's kernel, with {} for its number.
        bias: path of its bias.
        inputs: units that the first layer reads.
        outputs: units that the last layer writes.
        first: number of the first layer.

    Raises:
        UsageError: where an array is missing or has another shape.
    """
    (hidden,) = foreign.shape(bias.format(first), 1)
    last = first
    while foreign.has(kernel.format(last + 1)):
        last += 1
    layers = []
    for number in range(first, last + 1):
        size = outputs if number == last else hidden
        layers.append(
            {
                "kernel": foreign.take(kernel.format(number), inputs, size),
                "bias": foreign.take(bias.format(number), size),
            }
        )
        inputs = size
    return tuple(layers)
