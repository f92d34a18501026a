"""What `lopt-import` can import: an architecture each, and who publishes weights for it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from ..base import LearnedOptimizer


@dataclasses.dataclass(frozen=True)
class Format:
    """A rule whose weights are imported.

    Attributes:
        module: of this package.
        function: in it, which makes an optimizer of a theta.
        origin: who publishes weights, and where.
        licence: theirs.
        horizon: the fewest and most inner steps of its meta-training, where they are told.
    """

    module: str
    origin: str
    licence: str
    horizon: tuple[int, int] | None = None
    function: str = "from_theta"

    def optimizer(self, theta: Mapping[str, Any]) -> LearnedOptimizer:
        """Return the optimizer of a theta.

        Raises:
            UsageError: if the theta is of something else, in one sentence.
        """
        module = importlib.import_module(f".{self.module}", __package__)
        return getattr(module, self.function)(theta)


_GOOGLE = ("https://github.com/google/learned_optimization", "Apache-2.0")
_CELO = ("https://github.com/amoudgl/celo, and its author's pages on Hugging Face", "MIT")
_CELO_STEPS = (100, 2_000)

FORMATS: dict[str, Format] = {
    "mlp": Format("mlp", *_GOOGLE),
    "adafactor-mlp": Format("adafactor_mlp", *_GOOGLE),
    "tensor-lstm": Format("rnn_mlp", *_GOOGLE),
    "velo": Format("velo", *_GOOGLE, (100, 200_000)),
    "celo": Format("celo", *_CELO, _CELO_STEPS),
    "celo-adam": Format("celo", *_CELO, _CELO_STEPS),
    "celo2": Format("celo2", *_CELO, _CELO_STEPS),
    "celo2-base": Format("celo2", *_CELO, _CELO_STEPS, "base_from_theta"),
}
"""By the registered name of the architecture."""
