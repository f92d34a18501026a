"""The bank of tiny networks in a theta of VeLO or Celo."""

from __future__ import annotations

import itertools

import jax.numpy as jnp

from ..mlp import Layer
from .dense import KERNEL_WIDTHS
from .foreign import Foreign

_BANK = "ff_mod_stack/~"
_OWN = (1, 8)
"""Those of the features that `relative_mlp.py` has after all others: g clipped, and g over its size."""
_OUTPUTS = 3
"""The third has no effect."""


def bank_sizes(theta: Foreign) -> dict[str, int]:
    """Tell how many networks there are, and how many layers of how many units each has."""
    bank_size, hidden_size = theta.shape(f"{_BANK}/b0", 2)
    layers = next(n for n in itertools.count() if not theta.has(f"{_BANK}/b{n}"))
    return {"bank_size": bank_size, "hidden_size": hidden_size, "hidden_layers": layers - 1}


def take_bank(theta: Foreign, bank_size: int, hidden_size: int, hidden_layers: int) -> tuple[Layer, ...]:
    """Take the networks, as layers with a first axis over them."""
    first = [
        theta.take(f"{_BANK}/w0__{n}", bank_size, width, hidden_size) for n, width in enumerate(KERNEL_WIDTHS)
    ]
    order = [n for n in range(len(KERNEL_WIDTHS)) if n not in _OWN] + [*_OWN]
    kernels = [jnp.concatenate([first[n] for n in order], axis=1)]
    outputs = [*[hidden_size] * hidden_layers, _OUTPUTS]
    for n in range(1, hidden_layers + 1):
        kernels.append(theta.take(f"{_BANK}/w{n}", bank_size, hidden_size, outputs[n]))
    biases = [theta.take(f"{_BANK}/b{n}", bank_size, size) for n, size in enumerate(outputs)]
    kernels[-1], biases[-1] = kernels[-1][..., :2], biases[-1][..., :2]
    return tuple({"kernel": k, "bias": b} for k, b in zip(kernels, biases, strict=True))
