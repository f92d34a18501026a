"""PyLO's arrays, which PyTorch names and lays out, as learned_optimization has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import UsageError
from .dense import KERNEL_WIDTHS

Arrays = Mapping[str, np.ndarray]


def from_torch(arrays: Arrays, architecture: str) -> dict[str, Any]:
    """Return nested dicts as `from_theta` of an architecture takes them.

    Args:
        arrays: PyLO's `MetaMLP` for "adafactor-mlp", `VeLORNN` and `VeLOMLP` together for "velo", and
            `CELO2MLP` for "celo2" and "celo2-base".
        architecture: a registered name.

    Raises:
        UsageError: if PyLO has no such rule, or an array is missing.
    """
    if architecture not in _RULES:
        raise UsageError(f"PyLO has no weights for {architecture}: it has them for {', '.join(_RULES)}")
    try:
        return _RULES[architecture](arrays)
    except KeyError as error:
        raise UsageError(
            f"these are not PyLO's arrays for {architecture}: {error.args[0]} is missing"
        ) from error


def _adafactor_mlp(arrays: Arrays) -> dict[str, Any]:
    hidden = sorted((n for n in arrays if re.fullmatch(r"network\.linear_\d+\.weight", n)), key=_number)
    names = ["network.input", *(name.removesuffix(".weight") for name in hidden), "network.output"]
    network = {}
    for number, name in enumerate(names):
        network |= {f"w{number}": arrays[f"{name}.weight"].T, f"b{number}": arrays[f"{name}.bias"]}
    # PyLO's decays are the initial ones, which offsets of zero stand for.
    decays = {"momentum": 3, "rms": 1, "adafactor": 3}
    return {"nn": {"~": network}} | {f"{n}_decays": np.zeros(size, np.float32) for n, size in decays.items()}


def _velo(arrays: Arrays) -> dict[str, Any]:
    linear = lambda name: {"w": arrays[f"{name}.weight"].T, "b": arrays[f"{name}.bias"]}  # noqa: E731
    first = np.swapaxes(arrays["input_weights_"], 1, 2)
    parts = np.split(first, np.cumsum(KERNEL_WIDTHS)[:-1], axis=1)
    bank = {f"w0__{number}": part for number, part in enumerate(parts)} | {"b0": arrays["input_bias_"]}
    hidden = sorted((n for n in arrays if n.startswith("hidden_weights_.")), key=_number)
    for number, name in enumerate(hidden, 1):
        bias = arrays[name.replace("weights", "bias")]
        bank |= {f"w{number}": np.swapaxes(arrays[name], 1, 2), f"b{number}": bias}
    last = len(hidden) + 1
    bank |= {f"w{last}": np.swapaxes(arrays["output_weights_"], 1, 2), f"b{last}": arrays["output_bias_"]}
    return {
        "lstm_init_state": {"hidden": arrays["lstm_init_state.0"], "cell": arrays["lstm_init_state.1"]},
        "rnn_params": {
            "linear": linear("mix_layer1"),
            "linear_1": linear("mix_layer2"),
            "linear_2": linear("final_mix_layer"),
            "rnn/linear": linear("lstm.linear"),
            "rnn_to_controls": linear("rnn_to_controls"),
            "step_size": linear("step_size"),
        },
        "ff_mod_stack": {"~": bank},
    }


def _celo2(arrays: Arrays) -> dict[str, Any]:
    network = {f"w0__{number}": arrays[f"w0.{number}"] for number in range(len(KERNEL_WIDTHS))}
    network["b0"] = arrays["b0"]
    dense = sorted((name for name in arrays if name.startswith("dense_w.")), key=_number)
    for number, name in enumerate(dense, 1):
        network |= {f"w{number}": arrays[name], f"b{number}": arrays[name.replace("_w.", "_b.")]}
    return {"ff_mod_stack": {"~": network}}


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[-1])


_RULES: dict[str, Callable[[Arrays], dict[str, Any]]] = {
    "adafactor-mlp": _adafactor_mlp,
    "velo": _velo,
    "celo2": _celo2,
    "celo2-base": _celo2,
}
