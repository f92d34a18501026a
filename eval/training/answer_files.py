"""Answers in files: JSON, each with the question that it answers and a digest; floats are kept exactly."""

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
"""Of the files. Raise it, too, when what is measured changes along the runs and not at their start."""


class UnusableError(ValueError):
    """A file is damaged, or answers another question."""


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a line per entry, and a digest of them all; no reader sees half a file."""
    record = {"format": FORMAT} | record
    lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record.items()]
    lines.append(f'"digest": "{_digest(record)}"')
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    unfinished.replace(path)


def read_record(path: Path, question: dict[str, Any], start: list[Any]) -> dict[str, Any]:
    """Return what a file holds, having made sure that it is whole and answers a question.

    Args:
        path: the file.
        question: what it has to be the answer to, to the last entry.
        start: the losses that its runs have to start from (see `Runs.start`).

    Raises:
        UnusableError: when it does not, with the reason.
        OSError: when it can't be read.
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
    # Other machines round otherwise.
    if not np.allclose(decode_floats(record["start"]), decode_floats(start), rtol=1e-3, atol=0):
        raise UnusableError("its runs start from other losses, so the task has changed")
    return record


def encode_curves(curves: Curves) -> dict[str, Any]:
    """Return the curves of one rule's runs as JSON has them."""
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
    """Return what `encode_curves` was given."""
    dtype = answer["dtype"]
    train, held_out = (decode_floats(answer[name]).astype(dtype) for name in ("train", "held_out"))
    # Files from before accuracy was measured lack it.
    accuracy = decode_floats(answer["accuracy"]).astype(dtype) if "accuracy" in answer else None
    return Curves(train, held_out, np.array(answer["diverged"], bool), tuple(answer["steps"]), accuracy)


def encode_floats(values: np.ndarray) -> list[float | None]:
    """Return floats as JSON has them, exactly: the shortest that read back the same; null is infinity."""
    short = [float(str(value)) for value in values]
    exact = values.dtype.type
    return strict_json.encode(
        [brief if exact(brief) == value else float(value) for brief, value in zip(short, values, strict=True)]
    )


def decode_floats(values: Any) -> np.ndarray:
    """Return what `encode_floats` was given, in float64; lists of it become further axes."""
    return np.array(strict_json.decode(values, math.inf), np.float64)


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
