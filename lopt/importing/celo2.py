"""Celo2's published files as our `Celo2Base` and `Celo2`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ..celo2 import Celo2
from ..celo2_base import Celo2Base
from ..mlp import Layer
from .dense import KERNEL_WIDTHS, take_layers
from .foreign import Foreign

ADAM_NAMES = "/b$|bias|scale|norm|embed"
"""What haiku, flax and PyTorch call biases, gains and embeddings."""
_NETWORK = "ff_mod_stack/~"
_OUTPUTS = 3
"""The first is the direction. The second is multiplied by zero, and nothing reads the third."""


def from_theta(theta: Mapping[str, Any], adam_names: str | None = ADAM_NAMES) -> Celo2:
    """Build a rule from the meta-parameters of Celo2, of any hidden size and number of layers.

    Args:
        theta: {"ff_mod_stack": {"~": {"w0__0": [1, hidden], ..., "b0": [hidden], "w1": [hidden, hidden],
            ...}}}.
        adam_names: which parameters are Adam's; None is for those that are no matrices by their layout.

    Raises:
        UsageError: when it is no such theta: which array is missing, superfluous or of another shape.
    """
    layers = _take_network(theta, "Celo2")
    return Celo2(layers, hidden_size=_width(layers), hidden_layers=len(layers) - 1, adam_names=adam_names)


def base_from_theta(theta: Mapping[str, Any]) -> Celo2Base:
    """Build the rule without Newton-Schulz and Adam from the meta-parameters of Celo2-base.

    Args:
        theta: as for `from_theta`.

    Raises:
        UsageError: as for `from_theta`.
    """
    layers = _take_network(theta, "Celo2-base")
    return Celo2Base(layers, hidden_size=_width(layers), hidden_layers=len(layers) - 1)


def _take_network(theta: Mapping[str, Any], rule: str) -> tuple[Layer, ...]:
    foreign = Foreign(theta, rule)
    (hidden,) = foreign.shape(f"{_NETWORK}/b0", 1)
    kernels = [foreign.take(f"{_NETWORK}/w0__{n}", width, hidden) for n, width in enumerate(KERNEL_WIDTHS)]
    first = {"kernel": jnp.concatenate(kernels), "bias": foreign.take(f"{_NETWORK}/b0", hidden)}
    *between, last = take_layers(
        foreign, f"{_NETWORK}/w{{}}", f"{_NETWORK}/b{{}}", inputs=hidden, outputs=_OUTPUTS, first=1
    )
    foreign.finish()
    return (first, *between, {"kernel": last["kernel"][:, :1], "bias": last["bias"][:1]})


def _width(layers: tuple[Layer, ...]) -> int:
    return len(layers[0]["bias"])
