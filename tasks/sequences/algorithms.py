"""Sequences that an algorithm labels: copies, sorted copies, parities and brackets.

Each function takes uniform whole numbers from 0 to 3, int32 [rows, length], and returns symbols from 0 to 4
and the label of every place, from 0 to 4 or -1 for none, both int32 [rows, length]. The length is even.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

SYMBOLS = 5
"""Symbols and labels are 0 to 4; the symbol 0 is a blank."""

Labelled = tuple[Int[Array, "rows length"], Int[Array, "rows length"]]


def _answered(word: Int[Array, "rows half"], answer: Int[Array, "rows half"]) -> Labelled:
    """Show a word, then blanks where the answer is expected."""
    blank = jnp.zeros_like(word)
    return jnp.concatenate([word, blank], axis=1), jnp.concatenate([blank - 1, answer], axis=1)


def _word(draws: Int[Array, "rows length"]) -> Int[Array, "rows half"]:
    return 1 + draws[:, : draws.shape[1] // 2]


def copy(draws: Int[Array, "rows length"]) -> Labelled:
    """Repeat a word of symbols 1 to 4."""
    return _answered(_word(draws), _word(draws))


def reverse(draws: Int[Array, "rows length"]) -> Labelled:
    """Repeat a word backwards."""
    return _answered(_word(draws), _word(draws)[:, ::-1])


def sort(draws: Int[Array, "rows length"]) -> Labelled:
    """Repeat the symbols of a word in order."""
    return _answered(_word(draws), jnp.sort(_word(draws), axis=1))


def parity(draws: Int[Array, "rows length"]) -> Labelled:
    """Label every place of a word of 1s and 2s with the number of 2s so far, modulo 2."""
    bits = draws % 2
    return 1 + bits, jnp.cumsum(bits, axis=1) % 2


def dyck(draws: Int[Array, "rows length"]) -> Labelled:
    """Label every place of a balanced word of two kinds of brackets with the innermost one that is open.

    Symbols 1 and 2 open, 3 and 4 close them; the label 0 is that all are closed. A bracket opens with
    probability 1/2, unless all are closed, or the rest of the word is needed to close those that are open.
    """
    rows, length = draws.shape

    def step(stack: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        left, draw = now
        depth = jnp.sum(stack > 0, axis=1)
        opens = (depth == 0) | ((depth < left) & (draw >= 2))
        kind, innermost = 1 + draw % 2, stack[:, 0]
        pushed = jnp.concatenate([kind[:, None], stack[:, :-1]], axis=1)
        popped = jnp.concatenate([stack[:, 1:], jnp.zeros_like(kind)[:, None]], axis=1)
        stack = jnp.where(opens[:, None], pushed, popped)
        return stack, (jnp.where(opens, kind, 2 + innermost), stack[:, 0])

    left = length - jnp.arange(length, dtype=jnp.int32)
    empty = jnp.zeros((rows, length // 2), jnp.int32)
    symbols, labels = jax.lax.scan(step, empty, (left, draws.T))[1]
    return symbols.T, labels.T


ALGORITHMS: dict[str, Callable[[Int[Array, "rows length"]], Labelled]] = {
    "copy": copy,
    "reverse": reverse,
    "sort": sort,
    "parity": parity,
    "dyck": dyck,
}
"""All of them, by name."""
