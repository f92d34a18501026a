"""Checks of a published optimizer's `config.json`, the same when it is written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from .errors import UsageError
from .plain_text import plain, quoted, reason

FORMAT = 1
_PARTS = {"format": int, "architecture": str, "static": dict, "theta_sha256": str, "provenance": dict}
_RUN = "lopt-run"
_OLD_RUN = frozenset({"task", "optimizer", "estimator", "window", "particles"})
"""Fields of an older run's configuration, which has no `format`."""
_LONGEST_NAME = 200
_DEEPEST = 50


def parse(content: bytes) -> Any:
    """Parse JSON; Python's reader accepts NaN and infinities, which `check_json` reports.

    Raises:
        UsageError: "is not JSON", and why.
    """
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {reason(error)}") from error


def to_text(architecture: str, static: Mapping[str, Any], digest: str, provenance: object) -> bytes:
    """Return the content of `config.json`.

    Args:
        architecture: the architecture's registered name.
        static: its static fields.
        digest: the SHA-256 of theta's file.
        provenance: the provenance given by the publisher, or None.

    Raises:
        UsageError: if it could not be read back; the message is the end of a sentence.
    """
    if not isinstance(provenance, Mapping | None):
        raise UsageError(f"has the provenance {quoted(provenance)}, which is no mapping")
    config = {
        "format": FORMAT,
        "architecture": architecture,
        "static": dict(static),
        "theta_sha256": digest,
        "provenance": dict(provenance or {}),
    }
    for part in ("static", "provenance"):
        check_json(config[part], part)
    text = json.dumps(config, indent=2) + "\n"
    check(json.loads(text))
    return text.encode()


def is_run(config: Any) -> bool:
    """Return whether parsed JSON is the configuration of a run of `lopt-train`."""
    if not isinstance(config, dict):
        return False
    said = config.get("format")
    return said.startswith(_RUN) if isinstance(said, str) else said is None and config.keys() >= _OLD_RUN


def is_published(config: Any) -> bool:
    """Return whether parsed JSON is the config of a published optimizer, of any format."""
    return isinstance(config, dict) and all(type(config.get(name)) is _PARTS[name] for name in _PARTS)


def check(config: Any) -> None:
    """Check parsed JSON, except for the static fields.

    Raises:
        UsageError: the message is the end of a sentence that begins with the file's name.
    """
    if not is_published(config) or len(config["architecture"]) > _LONGEST_NAME:
        raise UsageError("is not the config of a published optimizer")
    if config["format"] != FORMAT:
        raise UsageError(f"has format {quoted(config['format'])}; this version of lopt reads format {FORMAT}")
    for part in ("static", "provenance"):
        check_json(config[part], part)
    provenance = config["provenance"]
    for name, (fits, wanted) in _PROVENANCE.items():
        if name in provenance and not fits(provenance[name]):
            said = quoted(provenance[name])
            raise UsageError(f"has a provenance whose {name!r} is {said}, but should be {wanted}")


def check_json(value: Any, where: str, depth: int = 0) -> None:
    """Check that a value survives JSON, and that its text can be encoded.

    Args:
        value: any value.
        where: its name in messages, which add only the first key on the path.
        depth: its nesting depth.

    Raises:
        UsageError: the message is the end of a sentence.
    """
    if depth > _DEEPEST:
        raise UsageError(f"is nested more than {_DEEPEST} deep in {plain(where)}")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UsageError(f"has the key {quoted(key)} in {plain(where)}, which is not text")
            place = where if depth else f"{where}[{quoted(key)}]"
            check_json(key, place)
            check_json(inner, place, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_json(inner, where, depth + 1)
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise UsageError(f"holds {quoted(value)} in {plain(where)}, which is not JSON")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"holds {value} in {plain(where)}, which is not JSON")
    elif isinstance(value, str) and not _is_writable(value):
        raise UsageError(f"holds half a character in {plain(where)}, which can't be written down")


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return value is None or (_is_number(value) and value >= 0)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_counts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(_is_number(x) and x >= 0 for x in value))


# The entries that reports read; null means unknown. All other entries are up to the publisher.
_PROVENANCE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "command": (_is_text, "text"),
    "commit": (_is_text, "text"),
    "estimator": (_is_text, "text"),
    "versions": (lambda value: value is None or isinstance(value, dict), "an object"),
    "devices": (lambda value: value is None or _list_of(_is_name)(value), "a list of names"),
    "tasks": (lambda value: _is_name(value) or _list_of(_is_name)(value), "a name or a list of names"),
    "task_weights": (_is_counts, "a list of numbers"),
    "horizon": (_is_counts, "a list of inner steps, the fewest and the most"),
    "meta_steps": (_is_count, "a number of 0 or more"),
    "inner_steps": (_is_count, "a number of 0 or more"),
    "seconds": (_is_count, "a number of 0 or more"),
}
