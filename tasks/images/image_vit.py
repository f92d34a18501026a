"""A vision transformer on small images."""

from __future__ import annotations

from flax import struct
from jaxtyping import Array, Float, Key

from ..attention import BlocksInstance, TransformerBlocks
from ..base import Task
from ..data.datasets import load_dataset
from ..layers import Layers, Shapes
from ..registry import register
from .patches import PatchClassifier


class ImageViT(PatchClassifier):
    """Classify images by attention between their patches, with learned embeddings of the places.

    The output layer reads the mean over the patches; there is no class token.

    References:
        Dosovitskiy et al. 2021, arXiv:2010.11929; Beyer, Zhai and Kolesnikov 2022, arXiv:2205.01580 (the
        mean).

    Raises:
        UsageError: for an empty range, an unknown norm or activation, or heads or patches that don't fit.
    """

    heads: int = struct.field(pytree_node=False, default=2)
    norms: tuple[str, ...] = struct.field(pytree_node=False, default=("pre",))
    """Where normalisation may be: see `TransformerBlocks`, also for `branch_scales`."""
    branch_scales: tuple[float, ...] = struct.field(pytree_node=False, default=(1.0,))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._blocks()  # it checks the rest

    def sample_blocks(self, key: Key[Array, ""]) -> BlocksInstance:
        """Draw depth, normalisation, activation and the branches' scale uniformly."""
        return self._blocks().sample(key)

    def block_shapes(self) -> Shapes:
        """Return the shapes of the places' embeddings and of the blocks."""
        places: Shapes = {"places": {"embedding": (self.num_patches, self.features)}}
        return places | self._blocks().shapes()

    def scale_blocks(self, blocks: BlocksInstance, layers: Layers) -> None:
        """Scale the last kernel of every branch."""
        self._blocks().scale(blocks, layers)

    def apply_blocks(
        self, blocks: BlocksInstance, layers: Layers, x: Float[Array, "rows patches features"]
    ) -> Float[Array, "rows patches features"]:
        """Add the places' embeddings, and apply the blocks."""
        return self._blocks().apply(blocks, layers, x + layers["places"]["embedding"][None])

    def _blocks(self) -> TransformerBlocks:
        choices = self.norms, self.activations, self.branch_scales
        return TransformerBlocks(self.features, self.heads, self.depths, *choices)


@register("digits-vit")
def digits_vit() -> Task:
    """Two blocks of attention on the sixteen patches of 8 x 8 digits."""
    return ImageViT(load_dataset("digits"))


@register("digits-vit-family")
def digits_vit_family() -> Task:
    """One or two blocks; normalisation, activation, scales, zero outputs and batch size are drawn."""
    return ImageViT(
        load_dataset("digits"),
        depths=(1, 2),
        activations=("relu", "gelu"),
        initial_scales=(0.8, 1.25),
        embedding_scales=(0.1, 2.0),
        batch_sizes=(16, 32),
        norms=("pre", "post"),
        branch_scales=(0.0, 1.0),
    )
