"""Resized and grey images, and their mean and standard deviation, computed with numpy."""

import numpy as np
from jaxtyping import Float, UInt8

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey pixel, of ITU-R BT.601."""

_COUNTED = 2**24
"""Pixels that are counted at a time: numpy makes each of them eight bytes."""


def in_form(
    images: UInt8[np.ndarray, "n h w c"], side: int | None, grey: bool
) -> UInt8[np.ndarray, "n height width channels"]:
    """Return images of `side` x `side` pixels, each the mean of the area that it covers, or grey ones.

    Args:
        images: uint8 [n, height, width, channels].
        side: height and width; None keeps those of the images.
        grey: whether three channels become one.
    """
    if side is None and not grey:
        return images
    pixels = images.astype(np.float32)
    if grey and images.shape[-1] == 3:
        pixels = pixels @ np.array(_LUMA, np.float32)[:, None]
    if side is not None:
        rows, columns = (_means(length, side) for length in images.shape[1:3])
        pixels = np.einsum("ph,nhwc,qw->npqc", rows, pixels, columns, optimize=True)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def _means(length: int, side: int) -> Float[np.ndarray, "side length"]:
    """Return the matrix of the means over `side` equal stretches of `length` pixels."""
    edges = np.arange(side + 1) * length / side
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(length)[None]
    shared = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None)
    return (shared * side / length).astype(np.float32)


def pixel_moments(images: UInt8[np.ndarray, "n h w c"]) -> tuple[float, float]:
    """Return the mean and the standard deviation of the pixels scaled to 0..1."""
    # From counts of the 256 levels: exact, and without a float copy of the images.
    pieces = np.array_split(images, -(-images.size // _COUNTED))
    counts = sum(np.bincount(piece.reshape(-1), minlength=256) for piece in pieces) / images.size
    levels = np.arange(256) / 255.0
    mean = float(counts @ levels)
    return mean, float(np.sqrt(counts @ (levels - mean) ** 2))
