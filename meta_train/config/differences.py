"""Differences between two runs in the settings that decide theta, which must not change on resuming."""

from __future__ import annotations

from typing import Any

from .json_form import encode
from .options import flag_of
from .run import Run


def differences(old: Run, new: Run) -> list[str]:
    """Return one phrase for each option of the problem or the method whose value differs."""
    before, after = _deciding(old), _deciding(new)
    phrases: dict[str, None] = {}
    for path in dict.fromkeys((*before, *after)):
        was, now = before.get(path), after.get(path)
        if was != now:
            phrases[f"{flag_of(path)} was {_shown(was)}, now {_shown(now)}"] = None
    return list(phrases)


def _deciding(run: Run) -> dict[str, Any]:
    """Return the settings that must not change, by their paths."""
    values: dict[str, Any] = {}

    def flatten(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                flatten(f"{path}.{name}" if path else name, one)
        else:
            values[path] = value

    flatten("problem", encode(run.problem))
    flatten("", encode(run.method))
    return values


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else repr(value)
