"""Several runs side by side: as a figure, as a page, and in sentences."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ..runs.comparison import MEASURES, Comparison, Stretch
from ..trackers.figures import count, duration, figure
from ..trackers.plots import in_figure, new_figure, tidy
from .pages import Name, embedded, escaped, page, prose, table
from .run_view import shown

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8C6D31")
_DASHES = ("-", "--", ":", "-.")
_AXES = {"inner_steps": "inner steps", "seconds": "seconds"}


def comparison_png(found: Comparison) -> bytes:
    """Draw validations and meta-losses over inner steps and over seconds; return a PNG file's content."""
    sheet = new_figure(11, 7)
    panels = sheet.subplots(len(MEASURES), len(_AXES), sharey="row", squeeze=False)
    for row, (metric, title) in zip(panels, MEASURES.items(), strict=True):
        for axes, (axis, label) in zip(row, _AXES.items(), strict=True):
            lowest = float("inf")
            for at, name in enumerate(found.runs):
                x, y = found.curve(name, metric, axis)
                style = {"color": _COLOURS[at % len(_COLOURS)], "linestyle": _DASHES[at // len(_COLOURS) % 4]}
                marker = {"drawstyle": "steps-post"} if title != "meta-loss" else {}
                axes.plot(x, y, label=in_figure(name), linewidth=1.6, **style, **marker)
                lowest = min([lowest, *y])
            if 0 < lowest < float("inf"):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:.2g}")
                axes.tick_params(axis="y", which="minor", labelsize="small")
            axes.set_xlabel(label)
            tidy(axes)
        row[0].set_ylabel(title)
    handles, labels = panels[0][0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)), frameon=False)
    content = io.BytesIO()
    sheet.savefig(content, format="png", dpi=130)
    return content.getvalue()


def verdict(found: Comparison) -> list[tuple[str, ...]]:
    """Return in sentences, of words and names, which run has the best validation, and who is ahead where."""
    said: list[tuple[str, ...]] = []
    scored = {name: one.best for name, one in found.runs.items() if one.best is not None}
    if scored:
        best = min(scored, key=lambda name: scored[name])
        others = [
            piece
            for name, value in scored.items()
            if name != best
            for piece in ("; ", Name(name), f" {figure(value)}")
        ]
        said.append((Name(best), f" has the best validation, {figure(scored[best])}", *others, "."))
    else:
        said.append(("No run has been validated.",))
    if found.unlike:
        flags = [piece for flag in found.unlike for piece in (", ", Name(flag))][1:]
        end = " differ, on which the validation depends."
        said.append(("The objectives are not of the same thing: ", *flags, end))
    for axis, stretches in found.ahead.items():
        if stretches:
            said.append((f"Over {_AXES[axis]}: ", *_last_of(stretches, axis), "."))
    return said


def _last_of(stretches: Sequence[Stretch], axis: str, most: int = 5) -> list[str]:
    """Tell of the stretches; of many, only of the last ones."""
    left_out = max(0, len(stretches) - most)
    told = [f"{left_out} earlier changes; "] if left_out else []
    for one in stretches[left_out:]:
        where = f"from {_place(one.start, axis)} to {_place(one.end, axis)}; "
        told += [f"equal {where}"] if one.leader == "equal" else [Name(one.leader), f" is ahead {where}"]
    return [*told[:-1], told[-1].removesuffix("; ")]


def _place(value: float, axis: str) -> str:
    return duration(value) if axis == "seconds" else count(value).removesuffix(".0")


def ahead_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return a row per stretch of an axis: the axis, from, to, and who is ahead."""
    return [
        (_AXES[axis], _place(one.start, axis), _place(one.end, axis), one.leader)
        for axis, stretches in found.ahead.items()
        for one in stretches
    ]


def difference_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return a row per setting that differs: the flag, and the value of each run."""
    return [(flag, *(shown(each[name]) for name in found.runs)) for flag, each in found.differences.items()]


def run_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return a row per run: name, problem, state, best validation, meta-steps, inner steps, seconds."""
    rows = []
    for name, one in found.runs.items():
        seconds = found.histories[name].axis("seconds")
        rows.append(
            (
                *(name, one.problem, one.state, "-" if one.best is None else figure(one.best)),
                f"{one.meta_step or 0:,}/{one.meta_steps:,}" if one.meta_steps else "-",
                "-" if one.inner_steps is None else f"{one.inner_steps:,}",
                duration(seconds[-1]) if seconds else "-",
            )
        )
    return rows


RUN_HEADER = ("run", "problem", "state", "best validation", "meta-steps", "inner steps", "time")
AHEAD_HEADER = ("over", "from", "to", "ahead")


def comparison_page(found: Comparison, png: bytes) -> str:
    """Return a page of one file.

    Args:
        found: the runs.
        png: the result of `comparison_png`.
    """
    first, *more = verdict(found)
    differences = difference_rows(found)
    origins = [
        (name, key, shown(value)) for name, each in found.identities.items() for key, value in each.items()
    ]
    title = "Runs: " + ", ".join(found.runs)
    body = [
        f"<h1>{escaped(title, 200)}</h1>\n<p><strong>{prose(first)}</strong></p>\n",
        *(f"<p>{prose(sentence)}</p>\n" for sentence in more),
        embedded(png, "Validations and meta-losses of the runs") + "\n",
        "<h2>Runs</h2>\n" + table(RUN_HEADER, run_rows(found), text=3),
        "<h2>Who is ahead</h2>\n<p>By the best validation so far, as far as all runs were validated.</p>\n",
        table(AHEAD_HEADER, ahead_rows(found), text=4),
        "<h2>Settings that differ</h2>\n",
        table(("setting", *found.runs), differences, text=99) if differences else "<p>None.</p>\n",
        "<h2>Provenance</h2>\n" + table(("run", "", "value"), origins, text=3),
    ]
    return page(title, "".join(body))
