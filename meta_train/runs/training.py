"""A run from Python: `train` does what `lopt-train` does, with a callback instead of a progress bar."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..config.run import Run
from ..dynamics import Theta
from ..trackers.json_lines import JsonLines
from .directory import RunDirectory
from .trainer import Record, Trainer

_COMMAND = "meta_train.train"


def train(run: Run, run_dir: str | Path, progress: Callable[[Record], object] | None = None) -> Theta:
    """Start a run in a directory, or resume it from its newest checkpoint, and train to its end.

    Args:
        run: the run; on resuming, it must be the same but for what may change, such as the number of steps.
        run_dir: the directory, new or of this run. The log, checkpoints and provenance are as those of
            `lopt-train`, whose commands can read and resume the run.
        progress: called with each record after it was written to the log. If it returns True, or an
            exception ends the training, the next call with the same directory continues: in the first case
            from there, in the second from the newest checkpoint.

    Returns:
        The last theta.

    Raises:
        RunDirectoryError: if the directory holds something else, or another process trains there.
        CheckpointError: if there are checkpoints and none can be restored, or one can't be written.
        DivergedError: if theta has not been updated for long.
    """
    directory, stop = RunDirectory(Path(run_dir)), threading.Event()
    directory.check(run)
    with directory.locked(_COMMAND):
        run_id = directory.open(run, _COMMAND)
        trainer = Trainer(run, directory, run_id=run_id)
        log = JsonLines(directory.metrics, trainer.meta_step)
        try:
            for record in trainer.records(stop.is_set):
                log.log(record.meta_step, record.values)
                if progress is not None and progress(record) is True:
                    stop.set()
            return trainer.theta
        finally:
            log.close()
            trainer.close()
