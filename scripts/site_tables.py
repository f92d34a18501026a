"""The tables of the documentation site that are generated from the registries."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax

import lopt
import meta_train


def architectures() -> str:
    """Return the table of learned optimizers, with the options of each."""
    rows = []
    for name, kind in sorted(lopt.ARCHITECTURES.items()):
        rule = jax.eval_shape(lambda kind=kind: kind.create(jax.random.key(0)))
        options = inspect.signature(kind.create).parameters.values()
        rows.append([_code(name), f"{lopt.theta_size(rule):,}", _summary(kind), _options(options, {"key"})])
    return _table(("name", "theta", "what it is", "options, with their defaults"), rows)


def estimators() -> str:
    """Return the table of gradient estimators, with the options that are not common to all."""
    common = {field.name for field in dataclasses.fields(meta_train.Estimator)}
    rows = []
    for name, kind in sorted(meta_train.ESTIMATORS.items()):
        options = inspect.signature(kind).parameters.values()
        rows.append([_code(name), _code(kind.__name__), _summary(kind), _options(options, common)])
    return _table(("name", "class", "what it does", "options, with their defaults"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "architectures": architectures,
    "estimators": estimators,
}
"""The tables, by the name in `<!-- generated: NAME -->`."""


def _summary(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0].replace("|", "\\|")


def _options(parameters: Iterable[inspect.Parameter], without: set[str]) -> str:
    shown = [
        f"`{one.name}={one.default!r}`"
        for one in parameters
        if one.name not in without and one.default is not one.empty
    ]
    return ", ".join(shown).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
