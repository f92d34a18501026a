"""Row numbers in an order that is computed for each, so that none has to be kept. Needs no JAX."""

import numpy as np
from jaxtyping import Int

_ROUNDS = 6
_WORD = 2**64 - 1


def rows_of_turn(count: int, rows: int, turn: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Return the numbers of a turn's rows: a pure function of its arguments, the same on every machine.

    The turns walk through one permutation of all rows after the other, so every row is seen once an epoch.

    Args:
        count: number of rows that there are.
        rows: number of rows in a turn, at most `count`.
        turn: the turn, from 0 on.
        seed: seed of the permutations.
    """
    places = np.arange(turn * rows, (turn + 1) * rows, dtype=np.int64)
    epochs, places = np.divmod(places, count)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
        its = epochs == epoch
        numbers[its] = permuted(places[its], count, seed, int(epoch))
    return numbers


def permuted(places: Int[np.ndarray, " n"], count: int, *seeds: int) -> Int[np.ndarray, " n"]:
    """Map numbers below `count` one to one to such numbers.

    A Feistel network permutes the numbers of an even number of bits; those that it maps to `count` or above
    are mapped again until they are below.

    References:
        Black and Rogaway 2002, Ciphers with arbitrary finite domains (CT-RSA): cycle walking.
    """
    half = max((count - 1).bit_length() + 1, 2) // 2
    keys = [_key(*seeds, number) for number in range(_ROUNDS)]
    numbers = places.astype(np.uint64)
    outside = np.ones(len(numbers), bool)
    while outside.any():
        numbers[outside] = _feistel(numbers[outside], half, keys)
        outside = numbers >= count
    return numbers.astype(np.int64)


def _feistel(numbers: np.ndarray, half: int, keys: list[int]) -> np.ndarray:
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = numbers >> bits, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ np.uint64(key)) & mask)
    return (left << bits) | right


def _mixed(x: np.ndarray) -> np.ndarray:
    """Mix the bits of 64-bit words (Steele, Lea and Flood 2014: SplitMix's finaliser); they wrap around."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _key(*seeds: int) -> int:
    """Return a 64-bit key of several numbers."""
    key = 0
    for seed in seeds:
        word = np.array([(key + seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _WORD], np.uint64)
        key = int(_mixed(word)[0])
    return key
