"""The 64 symbols of texts. Needs no JAX."""

import re
import string

import numpy as np
from jaxtyping import UInt8

# Rare punctuation is left out; it and all other symbols are mapped to the first one.
ALPHABET = "\x00\n " + string.ascii_lowercase + string.digits + "!\"#%'()*+,-./:<=>@[\\]_{|}"
"""The 64 symbols; a symbol's number is its index here."""

_NUMBERS = np.zeros(256, np.uint8)
_NUMBERS[[ord(symbol) for symbol in ALPHABET]] = np.arange(len(ALPHABET), dtype=np.uint8)


def encode(text: str) -> UInt8[np.ndarray, " n"]:
    """Return the symbols' numbers in `ALPHABET`, in lower case, with runs of spaces or newlines collapsed."""
    plain = re.sub(r" +", " ", re.sub(r"\s*\n\s*", "\n", text.lower()))
    # What Latin-1 lacks becomes a question mark, which the alphabet lacks.
    return _NUMBERS[np.frombuffer(plain.encode("latin-1", "replace"), np.uint8)]
