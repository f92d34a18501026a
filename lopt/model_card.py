"""The model card of a published optimizer: a README.md with front matter, for the Hugging Face Hub.

Names in it come from users' files, so they are escaped: none can end a table, or the front matter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .base import LearnedOptimizer, theta_size
from .errors import UsageError
from .plain_text import plain
from .strict_json import decode

_LONGEST_VALUE = 500
_EVAL_FORMAT = 1
_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#|~!&$:@])")
"""What Markdown could take for more than text, within a line."""


def model_card(
    repository: str, optimizer: LearnedOptimizer, config: Mapping[str, Any], results: Any = None
) -> str:
    """Return the text of a model card.

    Args:
        repository: `USER/NAME`, a valid name on the Hub.
        optimizer: the optimizer.
        config: its checked `config.json`.
        results: the parsed `eval.json` of a benchmark that it took part in, or None.

    Raises:
        UsageError: if the results are none, or are about another theta; the message begins with "eval.json".
    """
    tags = ("learned-optimizer", "jax", "optax", plain(config["architecture"]))
    listed = "".join(f"- {json.dumps(tag, ensure_ascii=False)}\n" for tag in tags)
    parts = [
        f"---\nlibrary_name: lopt\ntags:\n{listed}---\n",
        f"# {_text(repository.partition('/')[2])}\n",
        f"A learned optimizer made with lopt, of the architecture {_text(config['architecture'])}, with "
        f"{theta_size(optimizer):,} meta-parameters. It is an optax transformation:\n",
        _use(repository, optimizer),
        "## Origin\n",
        _table(("entry", "value"), [(key, _value(value)) for key, value in config["provenance"].items()]),
    ]
    if results is not None:
        parts += ["## Benchmark\n", *_benchmark(results, config["provenance"])]
    return "\n".join(parts)


def _use(repository: str, optimizer: LearnedOptimizer) -> str:
    horizon = ", horizon=STEPS" if optimizer.needs_horizon else ""
    return (
        "```python\n# pip install 'lopt[hub]'\nimport lopt\n\n"
        f'tx = lopt.as_optax("hf://{repository}"{horizon})\n```\n'
    )


def _benchmark(results: Any, provenance: Mapping[str, Any]) -> list[str]:
    """Return an introduction and a table: a row per task, a column per optimizer."""
    try:
        known = results["format"] == _EVAL_FORMAT
        mine = [name for name, origin in results["origins"].items() if origin == provenance]
        labels, rows = _losses(results["tasks"])
        said = f"Suite {_text(results['suite'])}, {int(results['seeds'])} seeds"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError("eval.json does not hold the results of a benchmark") from error
    if not known:
        raise UsageError(f"eval.json is not of format {_EVAL_FORMAT}, which this version of lopt reads")
    if not mine:
        raise UsageError("eval.json is about another theta: evaluate this one, or remove the file")
    said += f": the training loss at the end, median over seeds. This optimizer is {_text(mine[0])} here.\n"
    return [said, _table(("task", "steps", *labels), rows)]


def _losses(tasks: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the optimizers' labels, and per task its name, its steps and each optimizer's loss."""
    found = [{str(row["label"]): _median(row["final_loss"]) for row in task["rows"]} for task in tasks]
    labels = list(dict.fromkeys(label for losses in found for label in losses))
    rows = []
    for task, losses in zip(tasks, found, strict=True):
        declared = task.get("declared", 1)
        name = str(task["task"]) if declared == 1 else f"{task['task']} (declared {declared:g}x)"
        rows.append((name, f"{task['horizon']:,}", *(losses.get(label, "") for label in labels)))
    return labels, rows


def _median(losses: Sequence[float | None]) -> str:
    """Return the median, the higher one of two; null stands for a loss that is not finite."""
    ordered = sorted(decode(list(losses), math.inf))
    median = ordered[len(ordered) // 2] if ordered else math.inf
    return f"{median:.3g}" if math.isfinite(median) else "diverged"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first, *others = ([_text(cell) for cell in line] for line in (heading, *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in (first, ["---"] * len(first), *others))


def _value(value: object) -> str:
    """Return a JSON value in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "unknown"
    return f"{value:,}" if type(value) is int else str(value)


def _text(value: str) -> str:
    return _ACTIVE.sub(r"\\\1", plain(value, _LONGEST_VALUE))
