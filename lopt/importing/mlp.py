"""learned_optimization's `MLPLOpt` as our `MLPOptimizer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..features import STEP_SCALES
from ..mlp_optimizer import NUM_FEATURES, MLPOptimizer
from .dense import take_layers
from .foreign import Foreign


def from_theta(theta: Mapping[str, Any]) -> MLPOptimizer:
    """Build a rule from the meta-parameters of `MLPLOpt`, of any hidden size and number of layers.

    Args:
        theta: {"mlp/~/linear_0": {"w": [19, hidden], "b": [hidden]}, ...}, or nested further.

    Raises:
        UsageError: when it is no such theta: which array is missing, superfluous or of another shape.
    """
    foreign = Foreign(theta, "MLPLOpt")
    layers = take_layers(
        foreign, "mlp/~/linear_{}/w", "mlp/~/linear_{}/b", inputs=NUM_FEATURES + len(STEP_SCALES), outputs=2
    )
    foreign.finish()
    return MLPOptimizer(layers, hidden_size=len(layers[0]["bias"]), hidden_layers=len(layers) - 1)
