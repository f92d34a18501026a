"""Progress stays in its three lines on a terminal, whatever else is printed; elsewhere it is plain lines."""

import datetime
import io
import itertools
import math
import random
import re
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.control import Control

from meta_train import Curves, Histogram, ProgressBar
from meta_train.host.compile_times import keep_seconds_to_compile, seconds_to_compile

FACTS = {
    "meta/loss": 0.41234,
    "meta/valid_objective": 0.3912,
    "meta/tuned_adam": 0.4012,
    "time/inner_steps_per_second": 12_345.6,
    "time/eta_seconds": 5025.0,
    "robust/diverged": 0.25,
    "time/checkpoint_seconds": 0.41,
}


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def seconds(self):
        return self.now

    def date(self):
        return datetime.datetime(2026, 1, 1, 14, 3, 22) + datetime.timedelta(seconds=self.now)


class Terminal(io.StringIO):
    """A terminal that takes everything down, and knows what is on the screen."""

    encoding = None

    def __init__(self, width=80, encoding="utf-8"):
        super().__init__()
        self.width, self.encoding = width, encoding
        self.redraw = lambda: None

    def isatty(self):
        return True

    def screen(self):
        """Follow the cursor as a terminal would; give the lines that are there in the end."""
        lines, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\n|\r|[^\x1b\r\n]", self.getvalue()):
            if token == "\n" or (len(token) == 1 and token != "\r" and column == self.width):
                row, column = row + 1, 0
            if token == "\r":
                column = 0
            elif token.endswith("A") and len(token) > 1:
                row -= int(token[2:-1])
            elif token == "\x1b[2K":
                lines[row] = ""
            elif len(token) == 1:
                lines += [""] * (row + 1 - len(lines))
                if token != "\n":
                    lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
                    column += 1
        return [line.rstrip() for line in lines]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(clock, monkeypatch):
    """Make a bar on a terminal of some width, or on none; give it with what it writes to."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    opened = []

    def bar(total=10_000, done=0, width=80, terminal=True, encoding="utf-8", compiling=None):
        file = Terminal(width, encoding) if terminal else io.StringIO()
        clocks = {"get_time": clock.seconds, "get_datetime": clock.date}
        console = Console(file=file, width=width, height=24, color_system="standard", **clocks)
        opened.append(ProgressBar(total, done, console, compiling))
        if terminal:
            file.redraw = lambda: console.print(Control())
        return opened[-1], file

    yield bar
    for one in opened:
        one.close()


def shown(make, values, step=6100, **options):
    """Give the lines on the screen after a record."""
    bar, terminal = make(**options)
    bar.log(step, values)
    bar.close()
    assert terminal.screen()[-1] == ""
    return terminal.screen()[:-1]


# --- without a terminal ----------------------------------------------------------------------------------


def plain(file):
    return [line for line in file.getvalue().splitlines() if "compiling" not in line]


def test_without_a_terminal_there_are_some_twenty_lines_that_say_everything_in_words(make):
    bar, file = make(1000, width=40, terminal=False)
    assert file.getvalue() == "meta-step 0/1,000  compiling ...\n"
    for step in range(0, 1001, 10):
        bar.log(step, FACTS | {"meta/loss": 1.0 - step / 2000})
    bar.close()
    lines = plain(file)
    assert 20 <= len(lines) <= 22
    assert lines[0].startswith("meta-step 0/1,000 (0%)  meta-loss 1.0000  validation")
    assert lines[-2] == (
        "meta-step 950/1,000 (95%)  meta-loss 0.5250 (down 21.0%)  validation 0.3912  tuned Adam 0.4012  "
        "12.3k inner steps/s  diverged 25%  checkpoint at 14:03:22 (0.41 s)  eta 1:23:45"
    )
    assert lines[-1].endswith("took 0:00:00")
    assert "\x1b" not in file.getvalue()


def test_without_a_terminal_a_slow_run_is_heard_of_every_ten_minutes(make, clock):
    bar, file = make(1000, terminal=False)
    heard = []
    for step in range(1, 301):
        clock.now += 70
        before = len(plain(file))
        bar.log(step, FACTS)
        if len(plain(file)) > before:
            heard.append(clock.now)
    gaps = [later - sooner for sooner, later in itertools.pairwise(heard)]
    assert set(gaps) <= {630.0, 350.0}  # nine records, or until a twentieth of the run was over
    assert len(gaps) == 299 // 9


def test_without_a_terminal_the_last_state_is_printed_once(make):
    bar, file = make(1000, terminal=False)
    for step in (10, 20, 30):
        bar.log(step, FACTS)
    bar.close()
    assert [line.split()[1] for line in plain(file)] == ["10/1,000", "30/1,000"]


def test_a_run_that_is_over_does_not_compile(make):
    bar, file = make(1000, 1000, terminal=False)
    bar.close()
    assert file.getvalue() == ""


# --- on a terminal ---------------------------------------------------------------------------------------


def test_eighty_columns_show_every_fact(make):
    lines = shown(make, FACTS)
    assert re.fullmatch(r"━+[╸╺]━+  61%  meta-step  6,100/10,000  eta 1:23:45", lines[0])
    assert re.fullmatch(r"meta-loss 0\.4123 +▄ +12\.3k inner steps/s", lines[1])
    assert (
        re.sub(" +", " ", lines[2]) == "validation 0.3912 tuned Adam 0.4012 diverged 25% checkpoint 14:03:22"
    )


def test_sixty_columns_show_every_fact_in_fewer_words(make):
    lines = shown(make, FACTS, width=60)
    assert re.fullmatch(r"━+[╸╺]━+  61%   6,100/10,000  eta 1:23:45", lines[0])
    assert re.fullmatch(r"loss 0\.4123 +▄ +12\.3k steps/s", lines[1])
    assert re.sub(" +", " ", lines[2]) == "valid 0.3912 Adam 0.4012 diverged 25% saved 14:03:22"


HUGE = dict.fromkeys(FACTS, 9.8765e30) | {"robust/diverged": 1.0}
TINY = dict.fromkeys(FACTS, -9.8765e-30) | {"robust/diverged": 1e-9, "time/eta_seconds": 0.0}


@pytest.mark.parametrize("width", [10, 30, 60, 77, 78, 80, 200])
@pytest.mark.parametrize("values", [FACTS, HUGE, TINY, {}, {"meta/loss": 1.0}], ids=str)
def test_there_are_never_more_than_three_lines_nor_longer_ones(make, width, values):
    bar, terminal = make(width=width)
    for step in range(6100, 6100 + 100, 10):
        bar.log(step, values)
    bar.close()
    lines = terminal.screen()
    assert len(lines) == 4
    assert lines[-1] == ""
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_jumps_about(make, width):
    """What is written where does not depend on the values, nor on their number."""
    bar, terminal = make(width=width)
    rng, places = random.Random(0), set()
    for step in range(0, 9000, 90):
        scale = 10 ** rng.uniform(-6, 6)
        values = {name: scale * rng.random() for name in FACTS} | {"robust/diverged": rng.random()}
        bar.log(step + 1, values)
        terminal.redraw()
        where, training, state = terminal.screen()[-3:]
        labels = ("loss", "steps/s", "valid", "Adam", "diverged", "14:03:22")
        line = training + "\n" + state.rjust(200)
        places.add((where.index("%"), where.index("eta"), *map(line.index, labels)))
    assert len(places) == 1


def test_values_stay_until_there_are_newer_ones(make):
    bar, terminal = make()
    bar.log(50, {"meta/valid_objective": 0.125, "meta/loss": 1.0})
    bar.log(60, {"meta/loss": math.nan, "tasks/a/curve": Curves((1.0,), {}), "x": Histogram((0, 1), (1,))})
    bar.log(70, {"meta/tuned_adam": 2.0})
    bar.close()
    text = "\n".join(terminal.screen())
    for fact in ("70/10,000", "meta-loss 1.0000", "validation 0.1250", "tuned Adam 2.0000"):
        assert fact in text


@pytest.mark.parametrize(
    ("diverged", "colour"), [(0.0, ""), (0.1, ""), (0.11, "33"), (0.5, "33"), (0.51, "1;31")]
)
def test_many_diverged_episodes_are_coloured(make, diverged, colour):
    bar, terminal = make()
    bar.log(100, FACTS | {"robust/diverged": diverged})
    bar.close()
    found = re.findall(r"(?:\x1b\[([\d;]+)m)?diverged (\d+)%", terminal.getvalue())
    assert found[-1] == (colour, f"{100 * diverged:.0f}")


def test_until_the_first_meta_step_it_says_that_it_compiles(make, clock):
    bar, terminal = make(total=100, done=20)
    clock.now = 42
    bar.log(20, {"meta/valid_objective": 0.125})  # theta at the start
    terminal.redraw()
    assert terminal.screen()[1:] == ["compiling ... 0:00:42", "validation 0.1250"]
    bar.log(30, {"meta/loss": 1.0})
    bar.close()
    assert "compiling" not in "\n".join(terminal.screen())


def test_how_long_compiling_took_the_last_time_is_told(make, clock, tmp_path):
    assert seconds_to_compile(tmp_path, "a") is seconds_to_compile(None, "a") is None
    for what, seconds in (("b", 3.0), ("a", 41.6), ("c", 9.0)):
        keep_seconds_to_compile(tmp_path, what, seconds)
    keep_seconds_to_compile(None, "a", 1.0)
    seconds = seconds_to_compile(tmp_path, "a")
    _, terminal = make(total=100, compiling=seconds)
    clock.now = 12
    terminal.redraw()
    assert terminal.screen()[1] == "compiling ... about 42 s 0:00:12"
    _, file = make(total=100, terminal=False, compiling=seconds)
    assert file.getvalue() == "meta-step 0/100  compiling ... about 42 s\n"
    (tmp_path / "lopt-compile-seconds.json").write_text('{"a": "x"}')
    assert seconds_to_compile(tmp_path, "a") is None


def test_the_trainers_eta_runs_down_and_ends_with_what_the_run_took(make, clock):
    bar, terminal = make()
    for step, seconds in ((10, 0), (20, 100)):
        clock.now = seconds
        bar.log(step, {"time/eta_seconds": 4000.0, "meta/loss": 1.0})
    clock.now = 130
    bar.log(30, {"meta/loss": 1.0})
    terminal.redraw()
    assert terminal.screen()[0].endswith("eta 1:06:10")
    clock.now = 9999
    terminal.redraw()
    assert terminal.screen()[0].endswith("eta 0:00:00")
    bar.log(10_000, {})
    bar.close()
    assert terminal.screen()[0].endswith("took 2:46:39")


def test_without_the_trainers_eta_it_is_estimated_from_the_second_record_on(make, clock):
    bar, terminal = make(total=1000)
    for step, seconds, expected in ((0, 5, "-:--:--"), (10, 100, "-:--:--"), (20, 102, "0:03:16")):
        clock.now = seconds
        bar.log(step, {"meta/loss": 1.0})
        terminal.redraw()
        assert terminal.screen()[0].endswith(f"eta {expected}")


def test_where_there_is_only_ascii_no_other_character_is_drawn(make):
    bar, terminal = make(width=70, encoding="ascii")
    for step in range(12):
        bar.log(step, FACTS | {"meta/loss": 10.0 - step})
    bar.close()
    assert "-80.0%" in terminal.screen()[1]
    assert terminal.getvalue().isascii()


# --- what else is printed --------------------------------------------------------------------------------


def test_what_the_program_prints_goes_above_and_nothing_of_the_bar_remains_there(monkeypatch):
    for name, value in (("COLUMNS", "80"), ("LINES", "24"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bar = ProgressBar(100)
    bar.log(10, FACTS)
    print("plain [text]", file=sys.stderr)
    bar.log(20, FACTS)
    Console(stderr=True).print("another console's", style="yellow")
    print("half a line, ", end="", file=sys.stderr, flush=True)
    bar.log(30, FACTS)
    sys.stderr.writelines(["and its other half\n", "more\n", 100 * "x"])
    print("", file=sys.stderr)
    bar.log(40, FACTS)
    print("the last", end="", file=sys.stderr)
    bar.close()
    assert sys.stderr is terminal
    print("after", file=sys.stderr)
    *above, where, training, state, after, end = terminal.screen()
    assert above == [
        *("plain [text]", "another console's", "half a line, and its other half", "more"),
        *(80 * "x", 20 * "x", "the last"),
    ]
    assert "40/100" in where
    assert training.startswith("meta-loss")
    assert state.startswith("validation")
    assert (after, end) == ("after", "")


def test_standard_error_that_is_no_terminal_is_left_alone(make, monkeypatch):
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    bar, terminal = make()
    print("a line", file=sys.stderr)
    bar.close()
    assert elsewhere.getvalue() == "a line\n"
    assert "a line" not in terminal.getvalue()


def test_a_killed_run_leaves_a_terminal_with_a_cursor(make):
    bar, terminal = make()
    bar.log(10, FACTS)
    hidden, visible = (terminal.getvalue().rfind(code) for code in ("\x1b[?25l", "\x1b[?25h"))
    assert visible > hidden
