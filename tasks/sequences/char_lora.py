"""Low-rank adapters of a frozen transformer on characters."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ..base import Batch, Task
from ..data.prepared import Split
from ..data.text import load_text
from ..layers import Layers, check_ranges, draw_whole
from ..perceptron import live_units
from ..registry import register
from .char_transformer import CharTransformer, TransformerInstance


class LoRAInstance(NamedTuple):
    """One frozen network, and the size of its adapters."""

    transformer: TransformerInstance
    base: Layers
    """The frozen parameters."""
    rank: Int[Array, ""]


class CharLoRA(Task):
    """Train low-rank changes of a random transformer's matrices, and its head; all else is frozen.

    To each kernel of the blocks is added alpha / rank times the product of `lora_a` [inputs, rank], drawn at
    random, and `lora_b` [rank, outputs], which starts at zero: only half of the parameters have a gradient
    at first, and the output is the frozen network's. Embeddings and norms have no adapters; the head starts
    as the frozen one, and is trained. A member of a smaller rank masks the last ones.

    References:
        Hu et al. 2022, arXiv:2106.09685. That a transformer with frozen random blocks can be trained: Zhong
        and Andreas 2024, arXiv:2410.04368.

    Raises:
        UsageError: for an empty range of ranks.
    """

    model: CharTransformer
    ranks: tuple[int, int] = struct.field(pytree_node=False, default=(4, 4))
    alpha: float = struct.field(pytree_node=False, default=8.0)

    def __post_init__(self) -> None:
        check_ranges(ranks=self.ranks)

    def sample(self, key: Key[Array, ""]) -> LoRAInstance:
        """Draw a frozen network and a rank, uniformly."""
        member_key, base_key, rank_key = jax.random.split(key, 3)
        transformer = self.model.sample(member_key)
        rank = draw_whole(rank_key, self.ranks)
        return LoRAInstance(transformer, self.model.init(transformer, base_key), rank)

    def init(self, instance: LoRAInstance, key: Key[Array, ""]) -> Layers:
        """Draw `lora_a` normal, of scale 1 / sqrt(inputs); `lora_b` is zero, and the head the frozen one."""
        kernels = {name: layer["kernel"].shape for name, layer in _adapted(instance.base).items()}
        rows = [inputs for inputs, _ in kernels.values()]
        # One draw for all layers: each separate draw takes seconds to compile.
        numbers = jax.random.normal(key, (sum(rows), self.ranks[1])) * self._live(instance)
        starts = [sum(rows[:index]) for index in range(len(rows))]
        adapters: Layers = {
            name: {
                "lora_a": numbers[start : start + inputs] / math.sqrt(inputs),
                "lora_b": jnp.zeros((self.ranks[1], outputs)),
            }
            for start, (name, (inputs, outputs)) in zip(starts, kernels.items(), strict=True)
        }
        return adapters | {"output": dict(instance.base["output"])}

    def batch(self, instance: LoRAInstance, key: Key[Array, ""], split: Split) -> Batch:
        """Draw stretches of text."""
        return self.model.batch(instance.transformer, key, split)

    def loss(
        self, instance: LoRAInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the cross-entropy of the changed network, in nats per character."""
        return self.model.loss(instance.transformer, self.merge(instance, params), batch, key)

    def accuracy(
        self, instance: LoRAInstance, params: Layers, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the share of characters that are predicted correctly."""
        return self.model.accuracy(instance.transformer, self.merge(instance, params), batch, key)

    @property
    def ceiling(self) -> float:
        """That of the transformer."""
        return self.model.ceiling

    def merge(self, instance: LoRAInstance, params: Layers) -> Layers:
        """Return the parameters of the changed network."""
        layers = {**instance.base, "output": params["output"]}
        live = self._live(instance) * (self.alpha / instance.rank.astype(jnp.float32))
        for name, layer in _adapted(instance.base).items():
            change = (params[name]["lora_a"] * live) @ params[name]["lora_b"]
            layers[name] = {**layer, "kernel": layer["kernel"] + change}
        return layers

    def _live(self, instance: LoRAInstance) -> Float[Array, "1 rank"]:
        return live_units(self.ranks, instance.rank)[None]


def _adapted(base: Layers) -> Layers:
    """Return the layers that get adapters."""
    return {name: layer for name, layer in base.items() if "kernel" in layer and name != "output"}


@register("char-transformer-lora")
def char_transformer_lora() -> Task:
    """Adapters of rank 4 of one frozen random block."""
    return CharLoRA(CharTransformer(load_text()))


@register("char-transformer-lora-family")
def char_transformer_lora_family() -> Task:
    """Adapters of ranks from 1 to 8 of one or two blocks, of frozen networks that start at other scales."""
    model = CharTransformer(load_text(), (1, 2), (0.8, 1.25), norms=("pre", "post"))
    return CharLoRA(model, ranks=(1, 8))
