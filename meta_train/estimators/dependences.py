"""How a linear program passes on which entries of its values depend on which inputs.

A dependence is None where there is none, else booleans [inputs, *shape of the value]. Primitives without a
rule let every result depend on everything that comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal


def result_sizes(jaxpr: Any) -> Iterator[int]:
    """Yield the sizes of all results of a program, with those of the programs that it calls."""
    for equation in jaxpr.eqns:
        yield from (max(1, var.aval.size) for var in equation.outvars)
        if _RULES.get(equation.primitive.name) is _called:
            yield from result_sizes(_inside(equation))


def follow(jaxpr: Any, inputs: list[Any]) -> list[Any]:
    """Pass dependences through a linear program."""
    known: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
    read = lambda var: None if isinstance(var, Literal) else known.get(var)  # noqa: E731
    variables = lambda some: (var for var in some if not isinstance(var, Literal))  # noqa: E731
    last = {var: number for number, one in enumerate(jaxpr.eqns) for var in variables(one.invars)}
    last |= dict.fromkeys(variables(jaxpr.outvars), len(jaxpr.eqns))
    for number, equation in enumerate(jaxpr.eqns):
        got = [read(var) for var in equation.invars]
        if any(one is not None for one in got):
            shapes = [var.aval.shape for var in equation.outvars]
            results = _RULES.get(equation.primitive.name, _everything)(got, shapes, equation)
            known.update(zip(equation.outvars, results, strict=True))
        for var in variables(equation.invars):
            if last[var] == number:
                known.pop(var, None)  # what is not needed any more need not be stored
    return [read(var) for var in jaxpr.outvars]


def _everything(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    """Let every entry of the results depend on everything that comes in."""
    found = np.any([one.reshape(len(one), -1).any(1) for one in got if one is not None], axis=0)
    return [np.broadcast_to(found.reshape(-1, *[1] * len(s)), (len(found), *s)) for s in shapes]


def _entrywise(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    present = [one for one in got if one is not None]
    whole = (len(present[0]), *shapes[0])
    # A scalar may be combined with an array, and an axis of 1 with a longer one.
    spread = [one.reshape(len(one), *[1] * (len(whole) - one.ndim), *one.shape[1:]) for one in present]
    return [np.broadcast_to(np.any(np.stack(np.broadcast_arrays(*spread)), axis=0), whole)]


def _reshaped(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [got[0].reshape(-1, *shapes[0])]


def _broadcast(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    one, axes = got[0], equation.params["broadcast_dimensions"]
    if one is None:
        return _everything(got, shapes, equation)
    sizes = [1] * len(shapes[0])
    for axis, size in zip(axes, one.shape[1:], strict=True):
        sizes[axis] = size
    return [np.broadcast_to(one.reshape(-1, *sizes), (len(one), *shapes[0]))]


def _transposed(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [np.transpose(got[0], (0, *(axis + 1 for axis in equation.params["permutation"])))]


def _summed(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [got[0].any(tuple(axis + 1 for axis in equation.params["axes"]))]


def _sliced(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    p = equation.params
    strides = p["strides"] or [None] * len(p["start_indices"])
    return [got[0][(slice(None), *map(slice, p["start_indices"], p["limit_indices"], strides))]]


def _sliced_somewhere(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    """Follow a slice whose place may be known only when the program runs."""
    one, places = got[0], equation.invars[1:]
    if one is None:
        return _everything(got, shapes, equation)
    for axis, (size, place) in enumerate(zip(shapes[0], places, strict=True), start=1):
        length = one.shape[axis]
        if isinstance(place, Literal):
            begin = int(np.clip(place.val, 0, length - size))
            one = np.take(one, range(begin, begin + size), axis)
        elif size < length:
            one = np.repeat(one.any(axis, keepdims=True), size, axis)
    return [one]


def _split(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return np.split(got[0], np.cumsum(equation.params["sizes"])[:-1], axis=equation.params["axis"] + 1)


def _reversed(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [np.flip(got[0], tuple(axis + 1 for axis in equation.params["dimensions"]))]


def _joined(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [np.concatenate(_filled(got, equation), axis=equation.params["dimension"] + 1)]


def _stacked(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return [np.stack(_filled(got, equation), axis=equation.params["axis"] + 1)]


def _filled(got: list[Any], equation: Any) -> list[np.ndarray]:
    """Return no dependences as booleans."""
    inputs = next(len(one) for one in got if one is not None)
    return [
        np.zeros((inputs, *var.aval.shape), bool) if one is None else one
        for one, var in zip(got, equation.invars, strict=True)
    ]


def _padded(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    config = equation.params["padding_config"]
    if got[1] is not None or got[0] is None or any(low < 0 or high < 0 for low, high, _ in config):
        return _everything(got, shapes, equation)
    result = np.zeros((len(got[0]), *shapes[0]), bool)
    sizes = got[0].shape[1:]
    places = [
        slice(low, low + (size - 1) * (inner + 1) + 1 if size else low, inner + 1)
        for (low, _, inner), size in zip(config, sizes, strict=True)
    ]
    result[(slice(None), *places)] = got[0]
    return [result]


def _multiplied(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    """Follow one factor of a product of arrays through its summed axes."""
    if got[0] is not None and got[1] is not None:
        return _everything(got, shapes, equation)
    side = 0 if got[1] is None else 1
    contracted, batched = equation.params["dimension_numbers"]
    one, batch = got[side], batched[side]
    free = [axis for axis in range(one.ndim - 1) if axis not in (*contracted[side], *batch)]
    order = (0, *(axis + 1 for axis in (*batch, *free, *contracted[side])))
    one = np.transpose(one, order)
    one = one.any(tuple(range(1 + len(batch) + len(free), one.ndim)))
    others = len(shapes[0]) - one.ndim + 1  # the free axes of the other factor
    where = 1 + len(batch) + (len(free) if side == 0 else 0)
    one = one.reshape(*one.shape[:where], *[1] * others, *one.shape[where:])
    return [np.broadcast_to(one, (len(one), *shapes[0]))]


def _called(got: list[Any], shapes: list[Any], equation: Any) -> list[Any]:
    return follow(_inside(equation), got)


def _inside(equation: Any) -> Any:
    inside = equation.params["jaxpr"]
    return inside.jaxpr if isinstance(inside, ClosedJaxpr) else inside


_ENTRYWISE = ("neg", "mul", "div", "add", "sub", "add_any", "select_n", "convert_element_type", "copy")
_RULES: dict[str, Callable[[list[Any], list[Any], Any], list[Any]]] = {
    **dict.fromkeys(_ENTRYWISE, _entrywise),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshaped),
    **dict.fromkeys(("jit", "pjit", "closed_call", "checkpoint", "remat2"), _called),
    "broadcast_in_dim": _broadcast,
    "transpose": _transposed,
    "reduce_sum": _summed,
    "slice": _sliced,
    "dynamic_slice": _sliced_somewhere,
    "split": _split,
    "rev": _reversed,
    "concatenate": _joined,
    "stack": _stacked,
    "pad": _padded,
    "dot_general": _multiplied,
}
