"""Where numbers go."""

from __future__ import annotations

import abc
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Values = Mapping[str, float]


def _finite(values: Values) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


class Tracker(abc.ABC):
    """A place for numbers."""

    @abc.abstractmethod
    def log(self, step: int, values: Values) -> None:
        """Record the values of meta-step `step`; NaN means that there is no value this time."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish; nothing is logged after."""


class NoTracker(Tracker):
    """Forgets everything."""

    def log(self, step: int, values: Values) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Several(Tracker):
    """Passes everything to several trackers, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, step: int, values: Values) -> None:
        """Log to each."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def close(self) -> None:
        """Close each."""
        for tracker in self._trackers:
            tracker.close()


class JsonLines(Tracker):
    """Writes a line of JSON per record, flushed at once: the run's own truth.

    Args:
        path: the file; appended to.
        resume_step: the meta-step that the run goes on from. Lines beyond it were written by a run that was
            stopped before its next checkpoint; they are removed, because they will be written again. A run
            that begins, at 0, writes line 0 again too.
    """

    def __init__(self, path: Path, resume_step: int = 0) -> None:
        if path.exists():
            written = path.read_text().splitlines() if resume_step > 0 else []
            lines = [line for line in written if _step_of(line) <= resume_step]
            replacement = path.with_suffix(".tmp")
            replacement.write_text("".join(line + "\n" for line in lines))
            replacement.replace(path)
        self._file = path.open("a")

    def log(self, step: int, values: Values) -> None:
        """Write one line; values that are not finite are left out."""
        self._file.write(json.dumps({"meta_step": step} | _finite(values)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step_of(line: str) -> float:
    """Return a line's meta-step; infinity for a line that was cut short."""
    try:
        return json.loads(line)["meta_step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


class ProgressBar(Tracker):
    """A progress bar with a one-line summary; plain lines where there is no terminal.

    Args:
        total: meta-steps of the whole run.
        done: meta-steps done already.
        console: where to draw; default: standard error.
    """

    def __init__(self, total: int, done: int = 0, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = total
        self._printed = -math.inf
        self._latest: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("meta-training"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("compiling ...", total=total, completed=done)
        self._bar.start()

    def log(self, step: int, values: Values) -> None:
        """Move the bar; without a terminal, print a line every twentieth of the run."""
        self._latest |= _finite(values)
        summary = _summary(self._latest)
        self._bar.update(self._task, completed=step, description=summary)
        if not self._console.is_terminal and (
            step - self._printed >= self._total / 20 or step >= self._total
        ):
            self._printed = step
            self._console.print(f"meta-step {step}/{self._total}  {summary}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bar.stop()


def _summary(values: Values) -> str:
    shown = (
        ("loss", "loss {:.3f}"),
        ("valid_objective", "validation {:.4f}"),
        ("inner_steps_per_second", "{:,.0f} inner steps/s"),
        ("diverged", "diverged {:.0%}"),
    )
    return "  ".join(text.format(values[name]) for name, text in shown if name in values)


class WandB(Tracker):
    """Weights & Biases. An error there never stops a run that began: it is told once, and the rest goes on.

    Args:
        directory: where W&B keeps its files.
        project: the project's name; everything else is read from W&B's environment variables.
        config: the run's configuration.
        run_id: identity of the run, the same when it is resumed.

    Raises:
        ValueError: when W&B is not installed or can't start, with what to do.
    """

    def __init__(self, directory: Path, project: str, config: Mapping[str, Any], run_id: str) -> None:
        self._failed = False
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise ValueError("--trackers wandb needs W&B: pip install wandb, or leave it out") from error
        try:
            self._run = wandb.init(
                project=project, dir=directory, config=dict(config), id=run_id, resume="allow"
            )
        except wandb.Error as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"W&B can't start ({reason}): type `wandb login`, set WANDB_MODE=offline, or leave wandb out "
                "of --trackers"
            ) from error
        self._run.define_metric("meta_step")
        self._run.define_metric("*", step_metric="meta_step")

    def log(self, step: int, values: Values) -> None:
        """Send one record, with `meta_step` as its axis."""
        self._try(lambda: self._run.log({"meta_step": step} | _finite(values)))

    def close(self) -> None:
        """Finish the W&B run."""
        self._try(self._run.finish)

    def _try(self, action: Any) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever W&B raises, the run matters more
            self._failed = True
            Console(stderr=True).print(f"W&B failed and is left out from here on: {error}", style="yellow")
