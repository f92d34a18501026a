"""Weights & Biases."""

from __future__ import annotations

import io
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from .background import Background
from .base import Tracker
from .json_lines import read_json_lines
from .metrics import INNER_STEPS, METRICS
from .plots import to_png
from .values import Curves, Histogram, Values, numbers
from .wandb_sessions import find_sessions, last_offline_step, set_aside_beyond
from .wandb_start import WandBOptions, start_run

_MINIMA = tuple(name for name, metric in METRICS.items() if metric.best)
"""Metrics whose lowest value is shown in the table of runs."""
_CAPACITY = 10_000  # records that may wait for W&B: about 50 MB


class WandB(Tracker):
    """Weights & Biases. Once a run has started, W&B can't stop or slow it: a failure is reported once.

    Logging happens in a separate thread. Curves become a picture and, as NAME_table, a table; histograms
    become W&B's. The axis is `meta_step`.

    With a `history`, W&B gets each of its records exactly once over all sessions of the run, however they
    ended: records that an earlier session failed to send are sent first, and the others are not sent again.
    For offline sessions this holds if they are synced in order, as `wandb sync DIR/wandb/offline-run-*` does;
    sessions that would break this are moved to `DIR/wandb/superseded`.

    Args:
        directory: folder of W&B's files.
        options: the run's place and name, and whether W&B is used online.
        config: the run's configuration.
        run_id: the run's id, the same when it is resumed; a new one by default.
        history: the run's `metrics.jsonl`, without lines beyond `resume_step`; without a history, only what
            is logged is sent.
        resume_step: the meta-step that the run resumes from.
        job_type: the kind of run.
        start_timeout: seconds that W&B may take to answer before the session is stored offline.
        finish_timeout: seconds that `close` may take.

    Raises:
        ValueError: if W&B is not installed or can't start; the message says what to do.
    """

    def __init__(
        self,
        directory: Path,
        options: WandBOptions,
        config: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        history: Path | None = None,
        resume_step: int = 0,
        *,
        job_type: str | None = None,
        start_timeout: float = 30.0,
        finish_timeout: float = 60.0,
    ) -> None:
        earlier = find_sessions(directory, run_id) if run_id and history else []
        # W&B's own limit is slightly shorter, so that it can still report what it did.
        seconds = (start_timeout, max(0.9 * finish_timeout, 0.1))
        self._run = start_run(directory, options, config or {}, run_id, job_type, seconds, _warn)
        self._finish_timeout = finish_timeout
        self._sent = -math.inf
        self._told_of_the_rest = False
        self._background = Background(
            lambda reason: _warn(f"W&B failed and is left out from here on: {reason}"), _CAPACITY
        )
        self._background.submit(self._define_metrics)
        if history is not None:
            self._background.submit(lambda: self._catch_up(history, resume_step, earlier))

    def log(self, step: int, values: Values) -> None:
        """Schedule a record to be sent, with `meta_step` as its axis."""
        record = dict(values)
        self._background.submit(lambda: self._send(step, record))

    def log_artifact(
        self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Schedule a file or a directory to be stored as an artifact."""
        self._background.submit(lambda: self._send_artifact(path, name, type, metadata))

    def close(self) -> None:
        """Finish the W&B run, when everything is sent or the time is up."""
        if not self._background.finish(self._finish, self._finish_timeout) and not self._background.over:
            self._warn_of_the_rest()

    def _define_metrics(self) -> None:
        for axis in ("meta_step", INNER_STEPS.name):
            self._run.define_metric(axis, hidden=True)
        self._run.define_metric("*", step_metric="meta_step")
        for name in _MINIMA:
            self._run.define_metric(name, step_metric="meta_step", summary="min")

    def _catch_up(self, history: Path, resume_step: int, earlier: list[Path]) -> None:
        """Send the records that earlier sessions did not send, and remember the last meta-step sent."""
        if self._run.disabled:
            return
        if self._run.offline:
            self._sent = last_offline_step(earlier)
        else:
            sent = self._run.summary.get("meta_step")
            self._sent = -math.inf if sent is None else sent
            set_aside_beyond(earlier, self._sent)
        if resume_step == 0:
            return  # there are no earlier records; a line for 0, if already written, is this session's own
        for step, values in read_json_lines(history):
            if step <= resume_step:
                self._send(step, values)
        self._sent = max(self._sent, resume_step)

    def _send(self, step: int, values: Values) -> None:
        if step > self._sent:
            self._run.log({"meta_step": step} | _payload(values))

    def _send_artifact(self, path: Path, name: str, type: str, metadata: Mapping[str, Any] | None) -> None:
        import wandb

        artifact = wandb.Artifact(name, type, metadata=dict(metadata or {}))
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def _finish(self) -> None:
        try:
            self._run.finish()
        except TimeoutError:
            self._warn_of_the_rest()

    def _warn_of_the_rest(self) -> None:
        if self._told_of_the_rest:
            return
        self._told_of_the_rest = True
        place = shlex.quote(str(self._run.sync_dir))
        command = f"wandb sync {'' if self._run.offline else '--include-online '}{place}"
        _warn(f"W&B did not finish within {self._finish_timeout:g} s: type `{command}` to send the rest")


def _payload(values: Values) -> dict[str, Any]:
    """Return values in W&B's types."""
    payload: dict[str, Any] = dict(numbers(values))
    for name, value in values.items():
        if isinstance(value, Histogram):
            payload[name] = _histogram(value)
        elif isinstance(value, Curves):
            payload |= {name: _image(name, value), f"{name}_table": _table(value)}
    return payload


def _histogram(histogram: Histogram) -> Any:
    import numpy as np
    import wandb

    return wandb.Histogram(np_histogram=(np.asarray(histogram.counts), np.asarray(histogram.edges)))


def _image(name: str, curves: Curves) -> Any:
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(to_png(name, curves))))


def _table(curves: Curves) -> Any:
    import wandb

    columns: list[Any] = ["inner_steps", *curves.lines]
    rows = zip(curves.steps, *curves.lines.values(), strict=True)
    return wandb.Table(columns, data=[[None if math.isnan(v) else v for v in row] for row in rows])


def _warn(message: str) -> None:
    Console(stderr=True).print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)
