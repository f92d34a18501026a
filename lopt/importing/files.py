"""Files in which other libraries keep theta, read as nested dicts of arrays without unpickling anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax import serialization
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from ..errors import UsageError
from ..plain_text import plain
from ..published_files import read_regular
from .pylo import from_torch

_MOST_BYTES = 2**30
_WRAPPED = {"params", "gen_id", "step"}
"""What learned_optimization's checkpoints have around theta."""


def parse_theta(contents: Sequence[tuple[Path, bytes]], architecture: str) -> dict[str, Any]:
    """Read a theta as learned_optimization lays it out.

    Args:
        contents: files and what they hold: flax msgpack, or safetensors of PyLO (two files for VeLO).
        architecture: the registered name of the rule that it is for.

    Raises:
        UsageError: if a file is neither format, or is truncated.
    """
    if all(_is_safetensors(content) for _, content in contents):
        arrays: dict[str, Any] = {}
        for file, content in contents:
            try:
                arrays |= load_safetensors(content)
            except (SafetensorError, ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{plain(file)} is not a whole safetensors file: {plain(error)}") from error
        return from_torch(arrays, architecture)
    if len(contents) != 1:
        raise UsageError("several files are read only if all are safetensors, such as PyLO's two for VeLO")
    return _parse_msgpack(*contents[0])


def read(file: Path) -> bytes:
    """Read a file.

    Raises:
        UsageError: if it can't be read, or is larger than a gibibyte.
    """
    try:
        return read_regular(file, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{plain(file)} can't be read: {plain(error.strerror or error)}") from error


def _is_safetensors(content: bytes) -> bool:
    """Tell by the header: its length in eight bytes, and then a JSON object."""
    return len(content) > 8 and content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content)


def _parse_msgpack(file: Path, content: bytes) -> dict[str, Any]:
    try:
        theta = serialization.msgpack_restore(content)
    except Exception as error:  # msgpack raises anything for bytes that it did not write
        raise UsageError(
            f"{plain(file)} is neither a whole flax msgpack file nor safetensors ({type(error).__name__})"
        ) from error
    if not isinstance(theta, dict):
        raise UsageError(f"{plain(file)} holds {type(theta).__name__}, not a dict of arrays")
    if "params" in theta and theta.keys() <= _WRAPPED and isinstance(theta["params"], dict):
        return theta["params"]
    return theta
