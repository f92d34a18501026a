"""learned_optimization's `AdafacMLPLOpt` as our `AdafactorMLP`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adafactor_mlp import AdafactorMLP
from ..features import NUM_FEATURES, STEP_SCALES
from .dense import take_layers
from .foreign import Foreign


def from_theta(theta: Mapping[str, Any]) -> AdafactorMLP:
    """Build a rule from the meta-parameters of `AdafacMLPLOpt`, of any hidden size and number of layers.

    Args:
        theta: {"nn": {"~": {"w0": [39, hidden], "b0": [hidden], ...}}, "momentum_decays": [3],
            "rms_decays": [1], "adafactor_decays": [3]}.

    Raises:
        UsageError: when it is no such theta: which array is missing, superfluous or of another shape.
    """
    foreign = Foreign(theta, "AdafacMLPLOpt")
    layers = take_layers(foreign, "nn/~/w{}", "nn/~/b{}", inputs=NUM_FEATURES + len(STEP_SCALES), outputs=2)
    momentum, second, factored = (
        foreign.take(f"{name}_decays", number)
        for name, number in (("momentum", 3), ("rms", 1), ("adafactor", 3))
    )
    foreign.finish()
    return AdafactorMLP(
        layers=layers,
        momentum_decay=momentum,
        second_decay=second[0],
        factored_decay=factored,
        hidden_size=len(layers[0]["bias"]),
        hidden_layers=len(layers) - 1,
        original_axis_order=True,
    )
