"""Numbers reach every tracker, in a form that each can take, and a tracker never stops a run."""

import io
import json
import math
import time

import pytest
from rich.console import Console

from meta_train import JsonLines, NoTracker, ProgressBar, Several, WandB

VALUES = {"loss": 0.5, "objective": math.nan, "diverged": 0.25, "inner_steps_per_second": 12345.6}


def test_json_lines_are_readable_at_once_and_leave_out_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(path)
    tracker.log(10, VALUES | {"gradient_norm": math.inf})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"meta_step": 10, "loss": 0.5, "diverged": 0.25, "inner_steps_per_second": 12345.6}
    ]
    tracker.log(20, {"loss": 0.25})
    assert len(path.read_text().splitlines()) == 2
    tracker.close()


def test_several_pass_everything_to_each_in_order(tmp_path):
    class Log(NoTracker):
        def __init__(self, name):
            self.name = name

        def log(self, step, values):
            seen.append((self.name, step, values["loss"]))

        def close(self):
            seen.append((self.name, "closed"))

    seen = []
    both = Several([Log("a"), NoTracker(), Log("b")])
    both.log(1, VALUES)
    both.close()
    assert seen == [("a", 1, 0.5), ("b", 1, 0.5), ("a", "closed"), ("b", "closed")]


# --- the progress bar ------------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_at_most_some_twenty_plain_lines():
    text = io.StringIO()
    bar = ProgressBar(1000, console=Console(file=text, force_terminal=False, width=200))
    for step in range(0, 1001, 10):
        bar.log(step, VALUES)
    bar.close()
    written = text.getvalue()
    lines = [line for line in written.splitlines() if line.startswith("meta-step")]
    assert lines[0].startswith("meta-step 0/1000")
    assert lines[-1] == "meta-step 1000/1000  loss 0.500  12,346 inner steps/s  diverged 25%"
    assert 20 <= len(lines) <= 22
    assert "\x1b" not in written


def test_on_a_terminal_there_is_a_bar_and_values_stay_until_there_are_newer_ones():
    text = io.StringIO()
    bar = ProgressBar(100, done=20, console=Console(file=text, force_terminal=True, width=200))
    bar.log(50, {"valid_objective": 0.125, "loss": 1.0})
    bar.log(60, {"loss": math.nan})
    bar.close()
    last = [line for line in text.getvalue().splitlines() if "%" in line][-1]
    assert "60%" in last
    assert "loss 1.000" in last
    assert "validation 0.1250" in last


# --- W&B -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wandb_run(tmp_path_factory):
    """A finished offline run of W&B's own, and what it wrote."""
    pytest.importorskip("wandb")
    directory = tmp_path_factory.mktemp("wandb-run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        tracker = WandB(directory, "lopt-tests", {"sigma": 0.1}, "abcd1234")
        for step in (0, 10):
            tracker.log(step, VALUES)
        tracker.close()
    return directory


def test_wandb_writes_its_files_into_the_run_directory(wandb_run):
    (written,) = wandb_run.glob("wandb/offline-run-*/run-abcd1234.wandb")
    patience = time.monotonic() + 20  # W&B's own process writes the file out after the run is finished
    while b"inner_steps_per_second" not in (content := written.read_bytes()):
        assert time.monotonic() < patience
        time.sleep(0.1)
    for expected in (b"lopt-tests", b"sigma", b"meta_step"):
        assert expected in content
    assert b"NaN" not in content


class Failing:
    """A W&B run whose every call fails."""

    def __init__(self):
        self.calls = 0

    def define_metric(self, *args, **kwargs):
        pass

    def log(self, values):
        self.calls += 1
        raise ConnectionError("no route to host")

    def finish(self):
        raise ConnectionError("no route to host")


def test_an_error_in_wandb_is_told_once_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    wandb, failing = pytest.importorskip("wandb"), Failing()
    monkeypatch.setattr(wandb, "init", lambda **options: failing)
    tracker = WandB(tmp_path, "lopt-tests", {}, "abcd1234")
    for step in range(3):
        tracker.log(step, VALUES)
    tracker.close()
    assert failing.calls == 1
    assert capsys.readouterr().err.count("no route to host") == 1


def test_wandb_that_can_not_start_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def init(**options):
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(ValueError, match=r"api_key not configured.*WANDB_MODE=offline"):
        WandB(tmp_path, "lopt-tests", {}, "abcd1234")


def test_without_wandb_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        WandB(tmp_path, "lopt-tests", {}, "abcd1234")
