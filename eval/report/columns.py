"""The columns of a report's tables, which code refers to instead of their headings."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table. Columns are equal if their ids are, regardless of headings."""

    id: str
    heading: str = dataclasses.field(compare=False)
    is_text: bool = dataclasses.field(default=False, compare=False)
    """Whether its cells are names or words, which stand at the left, instead of numbers."""

    def headed(self, heading: str) -> Column:
        """Return the column with a heading that depends on the benchmark."""
        return dataclasses.replace(self, heading=heading)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[Column | None, ...] = ()
    """Per row, the column of its best loss; () if the table has none."""

    @property
    def header(self) -> tuple[str, ...]:
        """The headings."""
        return tuple(column.heading for column in self.columns)

    def only(self, *columns: Column) -> Table:
        """Return the table with only some of its columns; missing ones are ignored."""
        kept = [at for at, column in enumerate(self.columns) if column in columns]
        rows = tuple(tuple(row[at] for at in kept) for row in self.rows)
        return Table(tuple(self.columns[at] for at in kept), rows, self.best)

    def without(self, *columns: Column) -> Table:
        """Return the table without some of its columns."""
        return self.only(*(column for column in self.columns if column not in columns))

    def cells(self, column: Column) -> tuple[str, ...]:
        """Return the cells of a column, from the top.

        Raises:
            ValueError: if the table does not have it.
        """
        at = self.columns.index(column)
        return tuple(row[at] for row in self.rows)


TASK = Column("task", "task", is_text=True)
HORIZON = Column("horizon", "horizon")
OPTIMIZER = Column("optimizer", "optimizer", is_text=True)
OWN_LOSS = Column("own-loss", "its loss")
BEST_OTHER = Column("best-other", "best other baseline")
SPEED_UP = Column("speed-up", "speed-up")
SEEDS_WON = Column("seeds-won", "seeds won")

GROUP = Column("group", "tasks", is_text=True)
WON_MEAN = Column("won-mean", "won on mean loss")
WON_FINAL = Column("won-final", "won on final loss")
TASKS_WON = Column("tasks-won", "tasks won")
TIME_SPEED_UP = Column("time-speed-up", "speed-up in seconds")
FINAL_RATIO = Column("final-ratio", "times lower in final loss")
IMPROVEMENT = Column("improvement", "chance that a run is better")
AGAINST_UNTUNED = Column("against-untuned", "against the untuned baseline")
WORST_TASK = Column("worst-task", "worst task (times lower in loss)", is_text=True)
DIVERGED = Column("diverged", "runs that diverged")
TRIALS = Column("trials", "matches the best of k trials")

MEAN_LOSS = Column("mean-loss", "mean training loss")
FINAL_LOSS = Column("final-loss", "final training loss")
HELD_OUT_LOSS = Column("held-out-loss", "held-out loss")
ACCURACY = Column("accuracy", "held-out accuracy")
STEPS = Column("steps", "steps to target")
SECONDS = Column("seconds", "seconds to target (speed-up)")

STEP_TIME = Column("step-time", "time of an update")
OPERATIONS = Column("operations", "operations per parameter")
STATE_BYTES = Column("state-bytes", "bytes of state per parameter")

BASELINE = Column("baseline", "baseline", is_text=True)
RATES = Column("rates", "learning rates tried", is_text=True)
CHOSEN = Column("chosen", "best rate")
AT_END = Column("at-end", "at an end of those tried", is_text=True)


def loss_of(optimizer: str, heading: str) -> Column:
    """Return the column of a baseline's losses."""
    return Column(f"loss of {optimizer}", heading)
