"""Cached results as JSON files, each with the question that it answers and a digest; floats are exact."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from lopt import strict_json

from .curves import Curves

FORMAT = 1
"""Version of the file format. Also increment it if results change later in the runs than at their start."""


class UnusableError(ValueError):
    """A file is damaged, or answers another question."""


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a line per entry, and a digest of all, atomically."""
    record = {"format": FORMAT} | record
    lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record.items()]
    lines.append(f'"digest": "{_digest(record)}"')
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    unfinished.replace(path)


def read_record(path: Path, question: dict[str, Any], start: list[Any]) -> dict[str, Any]:
    """Return the contents of a file, after checking that it is complete and answers a question.

    Args:
        path: the file.
        question: the question, all of whose entries must match.
        start: the losses that its runs must start from (see `Runs.start`).

    Raises:
        UnusableError: if a check fails; the message is the reason.
        OSError: if it can't be read.
    """
    text = path.read_text(errors="replace")
    try:
        record = json.loads(text)
        form, digest = record["format"], record.pop("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableError("it is damaged") from error
    if form != FORMAT:
        raise UnusableError(f"it is of format {form}, and this version of lopt reads {FORMAT}")
    if digest != _digest(record):
        raise UnusableError("it is damaged: its digest is not what it says")
    for entry, wanted in question.items():
        if (has := record["question"].get(entry)) != wanted:
            told = f"it is for {entry} {has}, not {wanted}"
            raise UnusableError(told if isinstance(wanted, int | str) else f"its {entry} differs")
    # Rounding differs between machines.
    if not np.allclose(decode_floats(record["start"]), decode_floats(start), rtol=1e-3, atol=0):
        raise UnusableError("its runs start from other losses, so the task has changed")
    return record


def encode_curves(curves: Curves) -> dict[str, Any]:
    """Convert the curves of one rule's runs to JSON."""
    accuracy = {} if curves.accuracy is None else {"accuracy": encode_floats(curves.accuracy)}
    return {
        "dtype": str(curves.train.dtype),
        "steps": list(curves.steps),
        "diverged": curves.diverged.tolist(),
        **accuracy,
        "train": [encode_floats(curve) for curve in curves.train],
        "held_out": [encode_floats(curve) for curve in curves.held_out],
    }


def decode_curves(answer: dict[str, Any]) -> Curves:
    """Convert a result of `encode_curves` back to curves."""
    dtype = answer["dtype"]
    train, held_out = (decode_floats(answer[name]).astype(dtype) for name in ("train", "held_out"))
    # Older files have no accuracy.
    accuracy = decode_floats(answer["accuracy"]).astype(dtype) if "accuracy" in answer else None
    return Curves(train, held_out, np.array(answer["diverged"], bool), tuple(answer["steps"]), accuracy)


def encode_floats(values: np.ndarray) -> list[float | None]:
    """Convert floats to JSON exactly, in their shortest form; null is infinity."""
    short = [float(str(value)) for value in values]
    exact = values.dtype.type
    return strict_json.encode(
        [brief if exact(brief) == value else float(value) for brief, value in zip(short, values, strict=True)]
    )


def decode_floats(values: Any) -> np.ndarray:
    """Convert a result of `encode_floats` back to float64; nested lists become further axes."""
    return np.array(strict_json.decode(values, math.inf), np.float64)


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
