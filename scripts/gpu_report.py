"""The tables of `check_gpu.py`, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]
Column = tuple[str, Callable[[Row], str]]


def markdown(results: dict[str, Any]) -> str:
    """Return what was found so far as Markdown.

    Args:
        results: results by part, as in `check-gpu.json`.
    """
    parts = [_environment(results["environment"])] if "environment" in results else []
    copied = results.get("bandwidth", {}).get("copy_gb_per_s")
    parts += [_checks(results)]
    if "grid" in results:
        steps = {(row["hidden"], row["batch"]): row for row in _cases(results.get("inner_steps", {}))}
        costs = ("step_bytes", "state_bytes")
        rows = [
            {**{k: v for k, v in steps.get((row["hidden"], row["batch"]), {}).items() if k in costs}, **row}
            for row in _cases(results["grid"])
        ]
        parts.append(_grid(rows, copied))
    if "updates" in results:
        parts.append(_updates(_cases(results["updates"])))
    failures = results.get("tests", {}).get("failures", [])
    parts += [f"* failed: `{one['test']}`: {_line(one['why'])}" for one in failures]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cases(found: dict[str, Row]) -> list[Row]:
    return [found[at] for at in sorted(found, key=int)]


def _environment(about: Row) -> str:
    if "error" in about:
        return f"The environment could not be read: {about['error']}"
    versions = about["versions"]
    cards = f" ({'; '.join(about['cards'])})" if about["cards"] else ""
    return (
        f"{about['device_count']} x {about['card']}{cards}, {about['cores']} processor cores, Python "
        f"{versions['python']}, jax {versions['jax']}, commit {about['commit']}."
    )


def _checks(results: dict[str, Any]) -> str:
    sentences = {
        "bandwidth": lambda r: (
            f"{r['copy_gb_per_s']:,.0f} GB/s of memory bandwidth (read and written); float32 products "
            f"{r['default_tflop_per_s']:.3g} TFLOP/s with relative error {r['default_error']:.0e}, at the "
            f"highest precision {r['highest_tflop_per_s']:.3g} TFLOP/s with {r['highest_error']:.0e}"
        ),
        "agreement": lambda r: (
            f"losses of {r['steps']} inner steps differ from the CPU's by at most "
            f"{r['default_difference']:.0e} (relative), at the highest precision by "
            f"{r['highest_difference']:.0e}"
        ),
        "resume": _resumed,
        "resume_deterministic": _resumed,
        "devices": lambda r: (
            "inner steps per second of one population: "
            + ", ".join(f"{rate:,.0f} on {n}" for n, rate in r["inner_steps_per_s"].items())
            + f"; theta differs by {r['theta_difference']:.0e}"
        ),
        "tests": lambda r: (
            f"{r['passed']} passed, {r['failed']} failed, {r['skipped']} skipped"
            + ("" if r["whole"] else ", stopped before the end")
        ),
    }
    lines = []
    for name, sentence in sentences.items():
        result = results.get(name)
        if result is not None:
            lines.append(f"* {name}: {result['error'] if 'error' in result else sentence(result)}")
    return "\n".join(lines)


def _resumed(result: Row) -> str:
    return (
        f"a run of {result['particles']} particles stopped and resumed: theta {_same(result['theta_same'])}, "
        f"metrics {_same(result['metrics_same'])}; a checkpoint takes {result['checkpoint_mb']:.3g} MB"
    )


def _same(same: bool) -> str:
    return "bitwise the same" if same else "NOT the same"


def _grid(rows: list[Row], copied: float | None) -> str:
    """Return the table of the meta-step; shares are of the measured bandwidth."""

    def share(row: Row, name: str) -> str:
        return f"{row[name] * row['inner_steps_per_s'] / (copied * 1e7):.1f} %" if copied else ""

    columns: list[Column] = [
        ("inner steps/s", lambda r: f"{r['inner_steps_per_s']:,.0f}"),
        ("best", lambda r: f"{r['best_inner_steps_per_s']:,.0f}"),
        ("ms/meta-step", lambda r: f"{1e3 * r['meta_step_s']:.1f}"),
        ("KB/inner step", lambda r: f"{r['step_bytes'] / 1e3:,.0f}"),
        ("bandwidth", lambda r: share(r, "step_bytes")),
        ("by the state alone", lambda r: share(r, "state_bytes")),
        ("compile s", lambda r: f"{r['compile_s']:.1f}"),
        ("temporaries MB", lambda r: f"{r['temporaries_mb']:,.0f}"),
    ]
    names = {"hidden": "hidden", "batch": "batch", "particles": "particles", "window": "window"}
    return "The meta-step of PES with AdafactorMLP on 64-32-10:\n\n" + _table(rows, names, columns)


def _updates(rows: list[Row]) -> str:
    def multiple(name: str, form: str) -> Callable[[Row], str]:
        return lambda r: f"{r[name]:{form}} ({r['ratios'][name]:.2g})"

    columns: list[Column] = [
        ("update ms (x adam)", multiple("update_ms", ".3f")),
        ("compile s, wall", lambda r: f"{r['compile_s']:.1f}"),
        ("temporaries B/parameter", lambda r: f"{r['temporary_bytes']:.1f}"),
        ("finite", lambda r: str(r["finite"])),
    ]
    names = {"tree": "tree", "parameters": "parameters", "optimizer": "optimizer"}
    return "One update of an exported optimizer beside optax.adam's:\n\n" + _table(rows, names, columns)


def _table(rows: list[Row], names: dict[str, str], columns: Sequence[Column]) -> str:
    head = [*names.values(), *(heading for heading, _ in columns)]
    lines = [_bars(head), _bars(["---"] * len(head))]
    for row in rows:
        cells = [_cell(lambda r, name=name: f"{r[name]:,}" if isinstance(r[name], int) else r[name], row)
                 for name in names]  # fmt: skip
        values = [_cell(value, row) for _, value in columns]
        if "error" in row:
            values[0] = _line(row["error"])
        lines.append(_bars(cells + values))
    return "\n".join(lines)


def _cell(value: Callable[[Row], str], row: Row) -> str:
    """Return a cell; a case that was not timed lacks some."""
    try:
        return value(row)
    except KeyError:
        return "-"


def _bars(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:200]
