"""The progress display: three live lines on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.text import Text

from . import metrics
from .above import printed_above
from .base import Tracker
from .figures import change_in, count, duration, figure, share, sparkline, trend
from .values import Values, numbers

LINES = 20  # plain lines per run, about
PATIENCE = 600.0  # seconds: the longest time without a plain line, about
RECORDS = 64  # meta-losses that the sparkline shows, and that the trend compares
WIDE = 78  # columns from which labels are not abbreviated


class ProgressBar(Tracker):
    """Shows the progress and the latest values of a run.

    On a terminal these are three lines at the bottom, with other output above them. Elsewhere they are about
    twenty plain lines per run, or one every ten minutes if that is more.

    Args:
        total: meta-steps of the whole run.
        done: meta-steps done already.
        console: the output, and its clocks; default: standard error.
        compiling: seconds that compiling took the last time, if that is known.
    """

    def __init__(
        self, total: int, done: int = 0, console: Console | None = None, compiling: float | None = None
    ) -> None:
        self._console = console or Console(stderr=True)
        # Fixed, because a console may follow sys.stderr, which is about to be redirected to the console.
        self._console.file = self._console.file
        self._facts = _Facts(total, done, self._console)
        self._facts.about = "" if compiling is None else f" about {max(1, round(compiling))} s"
        self._printed: int | None = None
        self._printed_at = -math.inf
        self._plain = not self._console.is_interactive
        self._display = contextlib.ExitStack()
        if not self._plain:
            self._draw()
        elif self._facts.compiling:
            self._print(f"meta-step {done:,}/{total:,}  compiling ...{self._facts.about}")

    def log(self, step: int, values: Values) -> None:
        """Process a record; without a terminal, print a line if one is due."""
        self._facts.add(step, numbers(values))
        if self._plain and self._due(step):
            self._print_facts()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._plain and self._facts.heard and self._facts.step != self._printed:
            self._print_facts()
        self._display.close()

    def _draw(self) -> None:
        live = Live(
            _Lines(self._facts),
            console=self._console,
            refresh_per_second=2,
            redirect_stdout=False,  # rich's own redirection misses other consoles, which would write into the
            redirect_stderr=False,  # bar
        )
        self._display.enter_context(live)
        self._console.show_cursor()  # rich hides it, and a killed run could not restore it
        for name in ("stdout", "stderr"):
            self._display.enter_context(printed_above(self._console, name))

    def _due(self, step: int) -> bool:
        total = self._facts.total
        by_steps = self._printed is None or step - self._printed >= total / LINES or step >= total
        return by_steps or self._console.get_time() - self._printed_at >= PATIENCE

    def _print_facts(self) -> None:
        self._printed, self._printed_at = self._facts.step, self._console.get_time()
        self._print("  ".join(self._facts.words()))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Facts:
    """The latest values of a run. Another thread draws them, so nothing is changed in place."""

    def __init__(self, total: int, done: int, console: Console) -> None:
        self.total, self.step = total, done
        self.heard = False
        self.losses: tuple[float, ...] = ()
        self.losses_seen = 0
        self.saved = self.about = ""
        self._done = done
        self._values: dict[str, float] = {}
        self._now, self._date = console.get_time, console.get_datetime
        self._began = self._now()
        self._first: tuple[float, int] | None = None
        self._eta: tuple[float, float] | None = None

    def add(self, step: int, values: dict[str, float]) -> None:
        self.heard, self.step = True, step
        self._values = self._values | values
        if metrics.LOSS.name in values:
            self.losses_seen += 1
            self.losses = (*self.losses, values[metrics.LOSS.name])[-RECORDS:]
        if metrics.CHECKPOINT_SECONDS.name in values:
            self.saved = f"{self._date():%H:%M:%S}"
        if metrics.ETA_SECONDS.name in values:
            self._eta = (self._now(), values[metrics.ETA_SECONDS.name])
        elif metrics.ETA_SECONDS.name not in self._values:
            self._estimate(step)

    def _estimate(self, step: int) -> None:
        """Estimate the time left if records don't have it."""
        if step <= self._done:
            return
        if self._first is None:
            self._first = (self._now(), step)  # the time before was spent compiling
        elif step > self._first[1]:
            then, first = self._first
            self._eta = (self._now(), (self._now() - then) / (step - first) * (self.total - step))

    def get(self, name: str) -> float | None:
        return self._values.get(name)

    def tuned(self) -> str:
        """Return the hyperparameters' present values, where a run tunes any."""
        start = metrics.TUNED.of("")
        found = {name.removeprefix(start): x for name, x in self._values.items() if name.startswith(start)}
        return ", ".join(f"{name} {value:.3g}" for name, value in found.items())

    @property
    def percent(self) -> int:
        return 100 * self.step // self.total

    @property
    def compiling(self) -> bool:
        """Whether no meta-step was reported yet, but some are to come; the initial record is not one."""
        return self.step == self._done < self.total and not self.losses

    def elapsed(self) -> str:
        return duration(self._now() - self._began)

    def remaining(self) -> str:
        """Return the time left, counted down between records, or at the end the total time."""
        if self.step >= self.total:
            return f"took {self.elapsed()}"
        if self._eta is None:
            return "eta -:--:--"
        then, seconds = self._eta
        return f"eta {duration(max(0.0, then + seconds - self._now()))}"

    def words(self) -> Iterator[str]:
        yield f"meta-step {self.step:,}/{self.total:,} ({self.percent}%)"
        change = change_in(self.losses, "down ", "up ", "level")
        for name, text, write in (
            (metrics.LOSS.name, "meta-loss {}" + (f" ({change})" if change else ""), figure),
            (metrics.VALID_OBJECTIVE.name, "validation {}", figure),
            (metrics.TUNED_ADAM.name, "tuned Adam {}", figure),
            (metrics.SPEED.name, "{} inner steps/s", count),
            (metrics.DIVERGED.name, "diverged {}", share),
            (metrics.CHECKPOINT_SECONDS.name, f"checkpoint at {self.saved} ({{}} s)", "{:.2g}".format),
        ):
            if (value := self.get(name)) is not None:
                yield text.format(write(value))
        if tuned := self.tuned():
            yield tuned
        yield self.remaining()


class _Lines:
    """The three lines; their layout never changes, only the values."""

    def __init__(self, facts: _Facts) -> None:
        self._facts = facts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, facts = options.max_width, self._facts
        wide = width >= WIDE
        total = f"{facts.total:,}"
        where = f" {facts.percent:3}%  {'meta-step ' * wide}{facts.step:>{len(total)},}/{total}"
        where += f"  {facts.remaining():<13}"
        if width - len(where) >= 4:
            yield Bar(facts.total, facts.step, width=width - len(where))
        lines = [Text(where), self._training(width, wide, options.ascii_only), self._state(wide)]
        for line in (*lines, *([Text(tuned)] if (tuned := facts.tuned()) else [])):
            line.no_wrap, line.overflow = True, "crop" if options.ascii_only else "ellipsis"
            yield line

    def _training(self, width: int, wide: bool, ascii_only: bool) -> Text:
        facts, history = self._facts, self._facts.losses
        if facts.compiling:
            return Text(f"compiling ...{facts.about} {facts.elapsed()}")
        loss = _cell("meta-loss" if wide else "loss", facts.get(metrics.LOSS.name), figure, 8)
        speed = _cell("", facts.get(metrics.SPEED.name), count, -6)
        speed += (" inner steps/s" if wide else " steps/s") if speed.strip() else ""
        signs = ("-", "+", "=") if ascii_only else ("↓", "↑", "→")
        change = trend(history) or 0.0
        style = "green" if change < 0 else "red" if change > 0 else ""
        room = max(0, width - len(loss) - (31 if wide else 25))
        drawn = "" if ascii_only or room < 4 else sparkline(history, room, facts.losses_seen, RECORDS)
        return Text.assemble(
            loss, (f" {drawn:{room}}", "cyan"), (f" {change_in(history, *signs):7}", style), f" {speed}"
        )

    def _state(self, wide: bool) -> Text:
        get = self._facts.get
        ours, adam, diverged = (
            get(metrics.VALID_OBJECTIVE.name),
            get(metrics.TUNED_ADAM.name),
            get(metrics.DIVERGED.name),
        )
        better = ours is not None and adam is not None and ours < adam
        alarm = "bold red" if (diverged or 0) > 0.5 else "yellow" if (diverged or 0) > 0.1 else ""
        saved = self._facts.saved
        cells = (
            (_cell("validation" if wide else "valid", ours, figure, 8), "green" if better else ""),
            (_cell("tuned Adam" if wide else "Adam", adam, figure, 8), ""),
            (_cell("diverged", diverged, share, 4), alarm),
            (f"{'checkpoint' if wide else 'saved'} {saved}" if saved else "", ""),
        )
        return Text("  " if wide else " ").join(Text(*cell) for cell in cells)


def _cell(label: str, value: float | None, write: Callable[[float], str], size: int) -> str:
    """Format a labelled number, padded to a constant width: on the left for a negative size."""
    text = "" if value is None else write(value)
    text = f"{text:>{-size}}" if size < 0 else f"{text:<{size}}"
    return f"{label if value is not None else ' ' * len(label)} {text}"
