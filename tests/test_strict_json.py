"""Numbers that are not finite go through strict JSON as null, and come back as what the reader says."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from eval import Results
from lopt import strict_json

PUBLISHED = sorted(Path(__file__).parents[1].glob("checkpoints/*/eval.json"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1.5, math.inf, -math.inf, math.nan), "[1.5, null, null, null]"),
        ({1: (True, None, "inf", 2**70)}, '{"1": [true, null, "inf", 1180591620717411303424]}'),
        (np.array([[1.0, np.nan]], np.float32), "[[1.0, null]]"),
        ([np.float32(np.inf), np.float64(np.inf), np.int64(3), np.bool_(True)], "[null, null, 3, true]"),
        (jnp.asarray([1, 2], jnp.int32), "[1, 2]"),
        (np.float64(0.1), "0.1"),
    ],
)
def test_what_is_written_is_strict_json(value, text):
    assert json.dumps(strict_json.encode(value), allow_nan=False) == text


def test_null_is_read_as_the_number_that_the_reader_says():
    assert strict_json.decode([1.0, [None, 2]], math.inf) == [1.0, [math.inf, 2]]
    assert math.isnan(strict_json.decode(None, math.nan))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_results_are_written_as_they_were(file):
    text = file.read_text()
    assert Results.from_json(text).to_json() == text
