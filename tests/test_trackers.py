"""Numbers reach every tracker, in a form that each can take, and a tracker never stops a run."""

import json
import math
import sys
import threading
import time

import numpy as np
import pytest

from meta_train import Curves, Histogram, JsonLines, NoTracker, Several, WandB, WandBOptions
from meta_train.trackers import read_json_lines
from meta_train.trackers import wandb as module
from meta_train.trackers.plots import to_png
from meta_train.trackers.values import from_json, numbers, to_json

VALUES = {"meta/loss": 0.5, "meta/objective": math.nan, "robust/diverged": 0.25, "inner_steps": 12345}
CURVES = Curves((10.0, 20.0), {"learned": (1.0, 0.5), "tuned Adam": (2.0, math.nan)})
HISTOGRAM = Histogram((0.0, 0.5, 1.0), (3, 4))


# --- values ----------------------------------------------------------------------------------------------


def test_values_come_back_from_json_as_they_were():
    values = {"loss": 0.5, "count": 3, "curve": CURVES, "histogram": HISTOGRAM}
    back = from_json(json.loads(json.dumps(to_json(values), allow_nan=False)))
    assert {**back, "curve": None} == {**values, "curve": None}
    curve = back["curve"]
    assert curve.steps == CURVES.steps
    assert {name: repr(line) for name, line in curve.lines.items()} == {
        "learned": "(1.0, 0.5)",
        "tuned Adam": "(2.0, nan)",
    }


def test_numpy_values_are_values():
    curve = Curves(tuple(np.arange(2)), {"a": tuple(np.float32([0.5, np.inf]))})
    histogram = Histogram(tuple(np.float32([0, 1])), tuple(np.arange(1)))
    values = {"a": np.float32(0.5), "b": np.int64(2), "c": np.float32("nan"), "d": curve, "e": histogram}
    assert json.loads(json.dumps(to_json(values))) == {
        "a": 0.5,
        "b": 2,
        "d": {"steps": [0, 1], "lines": {"a": [0.5, None]}},
        "e": {"edges": [0, 1], "counts": [0]},
    }


@pytest.mark.parametrize("value", ["0.5", None, [0.5], np.zeros(2)])
def test_what_can_not_be_logged_is_an_error_and_not_lost(value):
    with pytest.raises(TypeError, match=r"theta/norm is not a number"):
        to_json({"theta/norm": value})


@pytest.mark.parametrize("value", ["0.5", None, [0.5], {"edges": [0, 1]}])
def test_what_was_never_logged_is_not_read(value):
    with pytest.raises(ValueError, match="not a logged value"):
        from_json({"theta/norm": value})


def test_numbers_are_finite():
    values = {"a": 1.0, "b": math.inf, "c": math.nan, "d": CURVES, "e": HISTOGRAM}
    assert numbers(values) == {"a": 1.0}


def test_curves_are_drawn_without_pyplot():
    already = "matplotlib.pyplot" in sys.modules
    for curves in (CURVES, Curves((), {}), Curves((1.0, 2.0), {"a": (-1.0, 0.0)})):
        assert to_png("tasks/t/curve", curves).startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == already


# --- JSON lines ------------------------------------------------------------------------------------------


def test_json_lines_are_readable_at_once_and_leave_out_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(path)
    tracker.log(10, VALUES | {"estimator/gradient_norm": math.inf})
    record = {"meta/loss": 0.5, "robust/diverged": 0.25, "inner_steps": 12345}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"meta_step": 10} | record]
    tracker.log(20, {"meta/loss": 0.25, "histogram": HISTOGRAM})
    assert list(read_json_lines(path)) == [(10, record), (20, {"meta/loss": 0.25, "histogram": HISTOGRAM})]
    tracker.close()


@pytest.mark.parametrize("cut", [1, 10, 19])
def test_a_line_cut_short_is_passed_over_and_written_again(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as tracker:
        for step in (1, 2, 3):
            tracker.log(step, {"a": 0.5})
    path.write_text(path.read_text()[:-cut])
    # Where the end of a line alone is missing, all of it is there.
    whole = [1, 2, 3] if cut == 1 else [1, 2]
    assert [step for step, _ in read_json_lines(path)] == whole
    with JsonLines(path, resume_step=3) as tracker:
        tracker.log(4, {"a": 0.5})
    assert [step for step, _ in read_json_lines(path)] == [*whole, 4]


@pytest.mark.parametrize(("resume_step", "kept"), [(0, []), (1, [0, 1]), (2, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_lines_beyond_the_checkpoint_are_removed(tmp_path, resume_step, kept):
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as tracker:
        for step in range(4):
            tracker.log(step, {"a": 0.5})
    JsonLines(path, resume_step).close()
    assert [step for step, _ in read_json_lines(path)] == kept


def test_a_line_of_something_else_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"meta_step": 1, "a": 1}\n{"meta_step": 2, "a": "b"}\n')
    with pytest.raises(ValueError, match="line 2, is not a record"):
        list(read_json_lines(path))


# --- several ---------------------------------------------------------------------------------------------


def test_several_pass_everything_to_each_in_order(tmp_path):
    class Log(NoTracker):
        def __init__(self, name):
            self.name = name

        def log(self, step, values):
            seen.append((self.name, step, values["meta/loss"]))

        def log_artifact(self, path, name, type, metadata=None):
            seen.append((self.name, path, name, type, metadata))

        def close(self):
            seen.append((self.name, "closed"))

    seen = []
    artifact = (tmp_path, "optimizer-1", "optimizer", {"meta_step": 1})
    with Several([Log("a"), NoTracker(), Log("b")]) as both:
        both.log(1, VALUES)
        both.log_artifact(*artifact)
    assert seen == [
        *[("a", 1, 0.5), ("b", 1, 0.5)],
        *[("a", *artifact), ("b", *artifact)],
        *[("a", "closed"), ("b", "closed")],
    ]


# --- W&B that fails --------------------------------------------------------------------------------------


class Run:
    """A W&B run that may fail in some of its methods."""

    offline, disabled, sync_dir = True, False, "run-directory"

    def __init__(self, **fails):
        self.fails, self.calls, self.steps = fails, [], []

    def __getattr__(self, name):
        if name not in ("define_metric", "log", "log_artifact", "finish"):
            raise AttributeError(name)

        def call(*args, **kwargs):
            self.calls.append(name)
            self.steps += [args[0]["meta_step"]] if name == "log" else []
            self.fails.get(name, lambda: None)()

        return call


def refuse():
    raise ConnectionError("no [route] to host")


@pytest.fixture
def track(tmp_path, monkeypatch):
    """Return a function of a run that gives its tracker."""
    wandb = pytest.importorskip("wandb")

    def start(run, **options):
        monkeypatch.setattr(wandb, "init", lambda **options: run)
        return WandB(tmp_path, WandBOptions("offline"), {}, "abcd1234", **options)

    return start


@pytest.mark.parametrize("method", ["define_metric", "log", "log_artifact", "finish"])
def test_an_error_in_wandb_is_told_once_and_the_run_goes_on(track, tmp_path, capsys, method):
    run = Run(**{method: refuse})
    tracker = track(run)
    for step in range(3):
        tracker.log(step, VALUES)
        (tmp_path / "file").write_text("content")
        tracker.log_artifact(tmp_path / "file", "name", "type")
    tracker.close()
    assert run.calls.count(method) == 1
    assert run.calls[-1] == "finish"
    assert capsys.readouterr().err.count("no [route] to host") == 1


def test_what_fails_twice_is_told_once(track, capsys):
    tracker = track(Run(log=refuse, finish=refuse))
    tracker.log(0, VALUES)
    tracker.close()
    tracker.close()
    assert capsys.readouterr().err.count("no [route] to host") == 1


def test_wandb_that_hangs_holds_up_neither_a_record_nor_the_end(track, capsys):
    release = threading.Event()
    tracker = track(Run(log=release.wait), finish_timeout=0.5)
    begun = time.monotonic()
    for step in range(1000):
        tracker.log(step, VALUES)
    assert time.monotonic() - begun < 5
    tracker.close()
    assert time.monotonic() - begun < 10
    told = capsys.readouterr().err
    assert told.count("W&B did not finish within 0.5 s: type `wandb sync run-directory`") == 1
    (stuck,) = (thread for thread in threading.enumerate() if thread.name == "lopt-background")
    assert stuck.daemon  # so that it does not hold up the process either
    release.set()


def test_wandb_that_falls_too_far_behind_is_left_out(track, capsys, monkeypatch):
    monkeypatch.setattr(module, "_CAPACITY", 10)
    release = threading.Event()
    run = Run(log=release.wait)
    tracker = track(run, finish_timeout=0.5)
    for step in range(100):
        tracker.log(step, VALUES)
    release.set()
    tracker.close()
    told = capsys.readouterr().err
    assert told.count("left out from here on: it is 10 records behind") == 1
    assert told.count("W&B") == 1
    assert run.calls.count("log") <= 2
    assert run.calls[-1] == "finish"


def test_the_rest_of_a_run_that_gives_up_by_itself_is_told_of_once(track, capsys):
    def give_up():
        raise TimeoutError("Timed out finishing run.")

    tracker = track(Run(finish=give_up), finish_timeout=30.0)
    tracker.close()
    assert capsys.readouterr().err.count("type `wandb sync run-directory` to send the rest") == 1


@pytest.mark.parametrize("written", [(), (0,)])
def test_a_run_that_begins_sends_meta_step_0_wherever_its_line_is_by_then(track, tmp_path, written):
    run, history = Run(), tmp_path / "metrics.jsonl"
    with JsonLines(history) as lines:
        for step in written:
            lines.log(step, VALUES)
    with track(run, history=history) as tracker:
        for step in (0, 1):
            tracker.log(step, VALUES)
    assert run.steps == [0, 1]


def test_disabled_wandb_does_nothing(tmp_path, capsys):
    pytest.importorskip("wandb")
    with WandB(tmp_path, WandBOptions("disabled"), {}, "abcd1234", tmp_path / "metrics.jsonl", 5) as tracker:
        tracker.log(6, VALUES)
    assert not list(tmp_path.rglob("*.wandb"))
    assert not capsys.readouterr().err


# --- W&B that can't start --------------------------------------------------------------------------------


def test_wandb_that_can_not_start_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def init(**options):
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(ValueError, match=r"api_key not configured.*WANDB_MODE=offline"):
        WandB(tmp_path, WandBOptions(), {}, "abcd1234")


def test_without_wandb_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        WandB(tmp_path, WandBOptions(), {}, "abcd1234")
