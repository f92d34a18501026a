"""Parsing of options of `lopt-train` that are lists of names, numbers or NAME=VALUE pairs."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from typing import Any

from lopt import UsageError


def parse_options(pairs: tuple[str, ...], flag: str) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; values are Python literals, or else strings.

    Raises:
        UsageError: for a pair without a name or an equals sign.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag} takes NAME=VALUE, as in hidden_size=8, not {pair!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            options[name] = value
    return options


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """Parse NAME=VALUE pairs whose values stay text.

    Raises:
        UsageError: for a pair without a name or an equals sign, and a name that comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{flag} takes NAME=VALUE, not {pair!r}")
        if name in found:
            raise UsageError(f"{flag} names {name} twice: name each once")
        found[name] = value
    return found


def check_names(names: Sequence[str], flag: str) -> None:
    """Check that a list of names is not empty and has no duplicates.

    Raises:
        UsageError: if it is or has; the message says what to type.
    """
    if not names:
        raise UsageError(f"{flag} takes at least one name: `lopt-train --list` shows all")
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if twice:
        raise UsageError(f"{flag} names {twice[0]} twice: name each once")


def check_numbers(numbers: Sequence[float], tasks: int, flag: str) -> None:
    """Check that numbers are positive, and either none or one for each task.

    Raises:
        UsageError: if they are not; the message says what to type.
    """
    if numbers and len(numbers) != tasks:
        raise UsageError(
            f"{flag} takes a number for each task, {tasks} in the order of --task, not {len(numbers)}; "
            "or leave it out"
        )
    if not all(0 < number < math.inf for number in numbers):
        raise UsageError(f"{flag} must be positive, not {' '.join(map(str, numbers))}")
