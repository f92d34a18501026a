"""The records of a run, read from its `metrics.jsonl`, also while it writes."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lopt import UsageError

from ..trackers import metrics
from ..trackers.json_lines import read_record
from ..trackers.values import Curves, Value, numbers

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports]  (not a dependency)

AXES = ("meta_step", "inner_steps", "seconds")
"""What the values of a metric may be listed over."""


@dataclasses.dataclass(frozen=True)
class History:
    """The records of a run, in order.

    Attributes:
        steps: the meta-step of each record.
        values: the values of each record, by the names in `METRICS`.
    """

    steps: Sequence[int] = ()
    values: Sequence[dict[str, Value]] = ()

    def axis(self, name: str) -> list[float]:
        """Return the position of each record on an axis, one of `AXES`.

        Seconds are what the run logged. For runs of versions that did not log them they are added up from
        inner steps per second, validations and checkpoints: without the time to compile.

        Raises:
            UsageError: for another axis.
        """
        if name == "meta_step":
            return [float(step) for step in self.steps]
        if name == "inner_steps":
            return [float(x) for x in self._filled(metrics.INNER_STEPS.name)]
        if name == "seconds":
            logged = [one.get(metrics.SECONDS.name) for one in self.values]
            return _ascending(logged) if None not in logged else self._estimated_seconds()
        raise UsageError(f"there is no axis {name!r}: take {', '.join(AXES)}")

    def series(self, metric: str, over: str = "inner_steps") -> tuple[list[float], list[float]]:
        """Return where a metric was logged, and its values there; numbers that are not finite are left out.

        Args:
            metric: a name in `METRICS`, such as "meta/valid_objective".
            over: the axis, one of `AXES`.

        Raises:
            UsageError: for another axis.
        """
        pairs = [
            (at, float(value))
            for at, value in zip(self.axis(over), (one.get(metric) for one in self.values), strict=True)
            if isinstance(value, (int, float)) and math.isfinite(value)
        ]
        return [at for at, _ in pairs], [value for _, value in pairs]

    def last(self) -> dict[str, float]:
        """Return the newest number of each metric."""
        found: dict[str, float] = {}
        for one in self.values:
            found |= numbers(one)
        return found

    def last_curves(self) -> dict[str, Curves]:
        """Return the newest curves of each metric that has curves."""
        return {n: x for one in self.values for n, x in one.items() if isinstance(x, Curves)}

    def rows(self) -> list[dict[str, float]]:
        """Return a dict per record, with the numbers, the meta-step and the three axes; nothing else."""
        axes = {name: self.axis(name) for name in AXES}
        return [
            {name: axes[name][at] for name in AXES} | {"meta_step": step} | numbers(one)
            for at, (step, one) in enumerate(zip(self.steps, self.values, strict=True))
        ]

    def frame(self) -> pandas.DataFrame:
        """Return `rows` as a data frame.

        Raises:
            UsageError: if pandas is not installed.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise UsageError(
                "a data frame needs pandas (pip install pandas); rows() needs nothing"
            ) from error
        return pandas.DataFrame(self.rows())

    def _filled(self, name: str) -> Iterator[float]:
        """Yield a metric's value at each record; where it was not logged, the one before, and at first 0."""
        value = 0.0
        for one in self.values:
            given = one.get(name)
            value = float(given) if isinstance(given, (int, float)) else value
            yield value

    def _estimated_seconds(self) -> list[float]:
        speeds = [one.get(metrics.SPEED.name) for one in self.values]
        known = next((x for x in speeds if isinstance(x, (int, float)) and x > 0), math.inf)
        total, before, found = 0.0, 0.0, []
        for one, speed, steps in zip(self.values, speeds, self.axis("inner_steps"), strict=True):
            known = speed if isinstance(speed, (int, float)) and speed > 0 else known
            aside = (one.get(name, 0.0) for name in ("time/validation_seconds", "time/checkpoint_seconds"))
            total += max(0.0, steps - before) / known + sum(x for x in aside if isinstance(x, (int, float)))
            before = steps
            found.append(total)
        return found


def _ascending(values: Sequence[Any]) -> list[float]:
    highest, found = 0.0, []
    for value in values:
        highest = max(highest, float(value)) if isinstance(value, (int, float)) else highest
        found.append(highest)
    return found


def read_history(run_dir: str | Path) -> History:
    """Read the records of a run; a line that is being written is left out.

    Raises:
        UsageError: if its metrics can't be read; the message says why.
    """
    followed = Follower(Path(run_dir, "metrics.jsonl"))
    followed.read()
    return followed.history()


class Follower:
    """Reads the records of a run as it writes them, each once.

    Args:
        path: the run's `metrics.jsonl`, which need not exist yet. A resumed run replaces it: it is read anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = self._number = 0
        self._steps: list[int] = []
        self._values: list[dict[str, Value]] = []

    def history(self) -> History:
        """Return all records read so far."""
        return History(tuple(self._steps), tuple(self._values))

    def read(self) -> bool:
        """Read what is new; return whether there was anything.

        Raises:
            UsageError: if the file can't be read, or a complete line is not a record.
        """
        try:
            if not self._path.is_file():
                if os.path.lexists(self._path):
                    raise UsageError(f"its {self._path.name} is not a regular file")
                return False
            with self._path.open("rb") as file:
                known = os.fstat(file.fileno())
                if self._file != (known.st_dev, known.st_ino) or known.st_size < self._offset:
                    self._start_over((known.st_dev, known.st_ino))
                file.seek(self._offset)
                return self._take(file)
        except OSError as error:
            raise UsageError(f"its {self._path.name} can't be read ({error.strerror or error})") from error

    def _start_over(self, file: tuple[int, int]) -> None:
        self._file, self._offset, self._number = file, 0, 0
        self._steps, self._values = [], []

    def _take(self, lines: Any) -> bool:
        before = len(self._steps)
        for line in lines:
            if not line.endswith(b"\n"):
                break  # it is being written
            self._offset += len(line)
            self._number += 1
            try:
                record = read_record(line)
                if record is not None and type(record[0]) is not int:
                    raise UsageError(f"its meta-step is {record[0]!r}")
            except UsageError as error:
                raise UsageError(
                    f"line {self._number} of its {self._path.name} is not a record of a run ({error})"
                ) from error
            if record is not None:
                self._steps.append(record[0])
                self._values.append(record[1])
        return len(self._steps) > before
