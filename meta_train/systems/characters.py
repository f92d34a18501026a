"""Sequences of characters: real prose, random characters, one repeated character."""

from __future__ import annotations

import heapq
import unicodedata

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from lopt import UsageError

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,:'\"()[]*+-="
"""The 50 symbols; a symbol's number is its index here."""


def real_characters(steps: int) -> Int[Array, "1 length"]:
    """Return the beginning of an English text that comes with every Python: `heapq.__about__`.

    In lower case, with single spaces between words, without accents and symbols outside `ALPHABET`.

    Args:
        steps: number of characters to predict; the text is one longer.

    Raises:
        UsageError: if the text is not that long.
    """
    text: str = heapq.__about__  # pyright: ignore[reportAttributeAccessIssue]
    plain = " ".join(unicodedata.normalize("NFKD", text.lower()).split())
    numbers = [ALPHABET.index(letter) for letter in plain if letter in ALPHABET]
    if len(numbers) <= steps:
        raise UsageError(f"there are {len(numbers) - 1} characters of real text to predict, not {steps}")
    return jnp.asarray(numbers[: steps + 1], jnp.int32)[None]


def random_characters(steps: int, key: Key[Array, ""]) -> Int[Array, "1 length"]:
    """Return `steps` + 1 independent, uniformly distributed characters."""
    return jax.random.randint(key, (1, steps + 1), 0, len(ALPHABET), jnp.int32)


def repeated_character(steps: int, symbol: str = "a") -> Int[Array, "1 length"]:
    """Return the same character `steps` + 1 times.

    Raises:
        UsageError: if the symbol is not in `ALPHABET`.
    """
    return jnp.full((1, steps + 1), ALPHABET.index(symbol), jnp.int32)
