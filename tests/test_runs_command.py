"""`lopt-runs` tells what runs did from their files, whatever these hold; only `prune` changes anything."""

import csv
import io
import json
import os
import re
import shutil
import time

import pytest

from lopt import UsageError
from meta_train import (
    Options,
    RunDirectory,
    compare_runs,
    find_runs,
    read_history,
    run_to_json,
    summarize_run,
)
from meta_train.commands import runs as command
from meta_train.commands.watch import watch
from meta_train.runs.history import Follower
from meta_train.runs.liveness import FRESH
from meta_train.views.terminal_curves import Line, draw_curves

from .small_runs import SMALL_RUN, train_here
from .test_odd_files import ODD, OPTIONS, SHAPES, put

VALID = "meta/valid_objective"
RECORDS = [
    (0, {VALID: 0.9, "meta/tuned_adam": 0.5}),
    *((step, {"meta/loss": 1.0 / step, "inner_steps": 10.0 * step}) for step in (2, 4)),
    (6, {"meta/loss": 0.1, "inner_steps": 60.0, VALID: 0.4, "time/inner_steps_per_second": 20.0}),
]


def make(
    path, records=RECORDS, options=SMALL_RUN, checkpoints=((0, 0.9), (6, 0.4)), command="lopt-train tiny"
):
    """Write a run's files as the library does; return its directory."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(run_to_json(options.run()))
    (path / "run.json").write_text(
        json.dumps({"id": "01234567", "command": f"lopt-train tiny --run-dir {path}"})
    )
    lines = [json.dumps({"meta_step": step} | values) + "\n" for step, values in records]
    (path / "metrics.jsonl").write_text("".join(lines))
    for step, score in checkpoints:
        place = path / "checkpoints" / str(step)
        (place / "metrics").mkdir(parents=True)
        (place / "run").write_bytes(bytes(1000))
        if score is not None:
            (place / "metrics" / "metrics").write_text(json.dumps({"valid_objective": score}))
    return path


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "runs" / "mine")


@pytest.fixture
def call(capsys, monkeypatch):
    """Call the command in 100 columns; return its exit status, output and errors."""
    monkeypatch.setenv("COLUMNS", "100")

    def called(*arguments):
        capsys.readouterr()
        try:
            status = command.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return called


def contents(path):
    return {one.relative_to(path): one.read_bytes() for one in path.rglob("*") if one.is_file()}


# --- list ------------------------------------------------------------------------------------------------


def test_a_list_has_every_run_below_and_no_published_optimizer(tmp_path, run, call):
    done = make(tmp_path / "runs" / "sweep" / "a", options=SMALL_RUN.replace(steps=6))
    (tmp_path / "runs" / "optimizer").mkdir()
    (tmp_path / "runs" / "optimizer" / "config.json").write_text('{"format": 1}')
    os.utime(done / "metrics.jsonl", (1, 1))
    found = find_runs(tmp_path / "runs")
    assert {one.path.name: one.state for one in found} == {"mine": "stopped", "a": "done"}
    status, output, _ = call("list", tmp_path / "runs", "--format", "json")
    assert (status, json.loads(output)) == (0, [one.as_dict() for one in found])
    _, output, _ = call("list", tmp_path / "runs", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [row["problem"] for row in rows] == ["learnable-adam on quadratic"] * 2
    assert rows[0]["best"] == "0.4"
    _, output, _ = call("list", tmp_path / "runs")
    (line,) = [line.split() for line in output.splitlines() if "sweep/a" in line]
    assert line[:3] == ["sweep/a", "done", "tiny"]
    assert "6/6" in line


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_a_list_is_no_wider_than_the_terminal(run, call, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (("list", run.parent), ("show", run)):
        _, output, _ = call(*arguments)
        assert max(map(len, output.splitlines())) <= columns
    assert "mine" in call("list", run.parent)[1]


def test_a_run_is_running_while_its_lock_is_held_and_the_lock_is_left_alone(run, call):
    directory = RunDirectory(run)
    with directory.locked("lopt-train tiny"):
        before = contents(run)
        assert summarize_run(run).state == "running"
        assert call("list", run.parent)[0] == call("show", run)[0] == 0
        assert contents(run) == before
        assert call("prune", run, "--yes")[0] == 1
        assert contents(run) == before
    assert summarize_run(run).state == "stopped"


def test_a_run_of_another_machine_runs_while_its_files_change(run):
    (run / "lock.json").write_text(json.dumps({"pid": 1, "host": "elsewhere.example"}))
    assert summarize_run(run).state == "running"
    old = time.time() - 2 * FRESH
    for name in ("metrics.jsonl", "lock.json", "config.json", "checkpoints"):
        os.utime(run / name, (old, old))
    assert summarize_run(run).state == "stopped"


@pytest.mark.parametrize("odd", [*ODD, *SHAPES])
@pytest.mark.parametrize("name", ["config.json", "run.json", "lock.json", "metrics.jsonl"])
def test_an_odd_file_is_told_in_one_sentence(run, call, name, odd):
    put(run / name, odd)
    one = summarize_run(run) if name != "config.json" or odd not in ("text '{}'",) else None
    if one is not None:
        assert (one.state == "damaged") == bool(one.why)
        assert one.why.isprintable()
        assert one.state == "damaged" or name in ("lock.json", "metrics.jsonl")
    for arguments in (
        ("list", run.parent),
        ("show", run),
        ("watch", run),
        ("list", run.parent, "--format", "json"),
    ):
        status, output, errors = call(*arguments)
        assert (status, errors.count("\n")) in ((0, 0), (1, 1)), errors
        assert "\x1b[2J" not in output + errors
    status, _, errors = call("compare", run, make(run.parent / "other"), "--format", "json")
    assert (status, errors.count("\n")) in ((0, 0), (1, 1))


def test_lost_checkpoints_and_what_is_no_run_are_told(run, call, tmp_path):
    shutil.rmtree(run / "checkpoints")
    assert summarize_run(run).why == "it has done meta-steps, but has no checkpoint"
    for path, said in ((tmp_path / "nothing", "is not there"), (tmp_path, "is not a run directory")):
        status, _, errors = call("show", path)
        assert (status, errors) == (1, errors)
        assert said in errors


def test_older_runs_are_read(tmp_path):
    for at, (task, said) in enumerate((("quadratic", "quadratic"), (["digits-mlp", "quadratic"], "2 tasks"))):
        path = make(tmp_path / str(at))
        values = {"task": task, "optimizer": "star", "steps": 12, "sigma": 0.2}
        (path / "config.json").write_text(json.dumps(values))
        one = summarize_run(path)
        assert (one.problem, one.meta_steps, one.state) == (f"star on {said}", 12, "stopped")
    found = compare_runs([tmp_path / "0", make(tmp_path / "new", options=SMALL_RUN)])
    assert found.differences["--sigma"] == {"0": 0.2, "new": 0.1}
    assert "--window" in found.differences  # an older file leaves defaults out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options.of(task=("quadratic", "digits-mlp"), init_from="a/small"), "small on 2 tasks"),
        (Options.of(), "star on digits-mlp-family"),
    ],
)
def test_a_problem_is_told_in_a_few_words(tmp_path, options, problem):
    assert summarize_run(make(tmp_path / "run", options=options)).problem == problem


def test_problems_other_than_learned_optimizers_are_told(tmp_path):
    path = make(tmp_path / "run")
    values = json.loads((path / "config.json").read_text())
    for settings, said in (
        ({"kind": "system", "system": "copy-task"}, "copy-task"),
        (
            {"kind": "hyperparameters", "tune": ["a", "b"], "optimizer": "sgd", "task": ["t"]},
            "a, b of sgd on t",
        ),
        ({"kind": "ones-own", "task": ["t"]}, "ones-own on t"),
    ):
        (path / "config.json").write_text(json.dumps(values | {"problem": settings}))
        assert summarize_run(path).problem == said


# --- records ---------------------------------------------------------------------------------------------


def test_records_are_series_rows_and_a_frame(run):
    history = read_history(run)
    assert history.series(VALID) == ([0.0, 60.0], [0.9, 0.4])
    assert history.series("meta/loss", "meta_step") == ([2.0, 4.0, 6.0], [0.5, 0.25, 0.1])
    # Sixty inner steps at the one speed that was logged.
    assert history.axis("seconds") == [0.0, 1.0, 2.0, 3.0]
    assert history.rows()[2] == {"meta_step": 4, "inner_steps": 40.0, "seconds": 2.0, "meta/loss": 0.25}
    assert history.last()["meta/tuned_adam"] == 0.5
    with pytest.raises(UsageError, match="no axis 'years': take meta_step"):
        history.axis("years")
    pandas = pytest.importorskip("pandas")
    frame = history.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame[VALID].dropna().tolist() == [0.9, 0.4]


def test_seconds_are_the_logged_ones_where_there_are_any(tmp_path):
    records = [(step, values | {"time/seconds": 7.0 * step}) for step, values in RECORDS]
    assert read_history(make(tmp_path / "run", records)).axis("seconds") == [0.0, 14.0, 28.0, 42.0]


def test_a_file_that_grows_is_read_by_whole_lines_and_anew_when_it_is_replaced(tmp_path):
    path = tmp_path / "metrics.jsonl"
    followed = Follower(path)
    assert not followed.read()
    path.write_text('{"meta_step": 1, "a": 1}\n{"meta_st')
    assert followed.read()
    with path.open("a") as file:
        file.write('ep": 2, "a": 2}\n')
    assert followed.read()
    assert not followed.read()
    assert followed.history().steps == (1, 2)
    (tmp_path / "new").write_text('{"meta_step": 1, "a": 3}\n')
    (tmp_path / "new").replace(path)
    assert followed.read()
    assert followed.history().series("a", "meta_step") == ([1.0], [3.0])


# --- curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 10, 24, 40, 100])
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("y", [(1.0,), (3.0, 2.0, 1.0), (-1.0, 1e9), (5.0, 5.0), (0.0, 1e-30)])
def test_curves_fit_and_reach_all_four_edges(width, ascii_only, y):
    lines = draw_curves("loss", "steps", [Line("it", range(len(y)), y)], width, 6, ascii_only)
    rows = [row.plain for row in lines]
    assert max(map(len, rows)) <= max(width, 1)
    assert not ascii_only or "".join(rows).isascii()
    if width < 24:
        return
    drawn = [row.partition("|" if ascii_only else "│")[2].rstrip(" \u2800") for row in rows[1:7]]
    if len(set(y)) > 1:
        assert drawn[0]
        assert drawn[-1]
        assert len(max(drawn, key=len)) == width - 11


def test_runs_without_points_have_no_curves():
    assert draw_curves("loss", "steps", [Line("it", (), ())], 80) == []


# --- compare ---------------------------------------------------------------------------------------------


def valid(*values, seconds=1.0):
    return [
        (10 * at, {VALID: value, "inner_steps": 100.0 * at, "time/seconds": seconds * at})
        for at, value in enumerate(values)
    ]


def test_who_is_ahead_is_by_the_best_validation_so_far(tmp_path):
    a = make(tmp_path / "a", valid(0.9, 0.8, 0.3, 0.7, 0.2))
    b = make(tmp_path / "b", valid(0.9, 0.5, 0.6, 0.4, seconds=5.0), options=SMALL_RUN.replace(sigma=0.3))
    found = compare_runs([a, b])
    stretches = [(one.start, one.end, one.leader) for one in found.ahead["inner_steps"]]
    assert stretches == [(0, 100, "equal"), (100, 200, "b"), (200, 300, "a")]
    # In the same time, a has validated five times as often; b's second comes after a's last.
    assert [(one.start, one.leader) for one in found.ahead["seconds"]] == [(0, "equal"), (1, "a")]
    assert found.differences == {"--sigma": {"a": 0.1, "b": 0.3}}
    assert found.unlike == ()
    assert found.curve("a", VALID, "inner_steps")[1] == [0.9, 0.8, 0.3, 0.3, 0.2]


def test_a_comparison_is_one_picture_and_one_page_whatever_runs_are_called(tmp_path, call):
    names = ("<script>alert(1)<", "$x_1$ & __y")
    paths = [
        make(tmp_path / f"{at}" / name.replace("/", "-"), valid(0.9, 0.5 - at))
        for at, name in enumerate(names)
    ]
    values = json.loads((paths[0] / "config.json").read_text())
    values["problem"]["task"] = ["<b>odd</b>"]
    (paths[0] / "config.json").write_text(json.dumps(values))
    status, output, errors = call("compare", *paths, "--out", tmp_path / "out")
    assert (status, errors) == (0, "")
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert re.findall(r"<(?:script|b)\b", page) == []
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import", page)
    assert "The objectives are not of the same thing: <code>--task</code> differ" in page
    assert "is ahead" in output
    status, output, _ = call("compare", *paths, "--format", "json")
    assert json.loads(output)["ahead"]["inner_steps"][-1]["leader"] == names[1]


def test_comparing_takes_two_sound_runs(run, call):
    other = make(run.parent / "other")
    for paths, said in (((run,), "two runs"), ((run, run), "each run once")):
        status, _, errors = call("compare", *paths)
        assert (status, errors.count("\n")) == (1, 1)
        assert said in errors
    (other / "config.json").write_text("{")
    assert "other is damaged" in call("compare", run, other)[2]


# --- watch -----------------------------------------------------------------------------------------------


class Screen:
    """A console on a terminal of some size, and the text that it showed."""

    def __init__(self):
        from rich.console import Console

        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=80, height=24, legacy_windows=False)


def test_watching_ends_when_the_run_is_done(run, capsys):
    looks = []

    def go_on(_):
        looks.append(len(looks))
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"meta_step": 6 + 2 * len(looks), "meta/loss": 0.05}) + "\n")

    screen = Screen()
    assert watch(run, 1.0, screen.console, go_on) == 0
    assert len(looks) == 3  # of twelve meta-steps
    assert "meta-loss" in screen.file.getvalue()
    assert "done" in capsys.readouterr().out


def test_watching_ends_quietly_by_ctrl_c_and_without_a_terminal_when_nobody_trains(run, call, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    assert watch(run, 1.0, Screen().console, interrupt) == 0
    assert capsys.readouterr().err == ""
    status, output, errors = call("watch", run)
    assert (status, output, errors) == (
        0,
        "meta-step 6/12  stopped  meta-loss 0.1000  validation 0.4000\n",
        "",
    )
    assert call("watch", run, "--every", 0)[0] == 1


# --- prune -----------------------------------------------------------------------------------------------


def test_pruning_asks_and_keeps_the_newest_and_the_best(tmp_path, call, monkeypatch):
    run = make(tmp_path / "run", checkpoints=((0, 0.9), (2, 0.3), (4, None), (5, 0.8), (6, 0.4)))
    (run / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir()
    before = contents(run)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    status, output, _ = call("prune", run)
    assert status == 1
    assert "4 to remove" in output
    assert "kept: 2, 6" in output
    assert contents(run) == before
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert call("prune", run)[0] == 0
    assert {one.name for one in (run / "checkpoints").iterdir()} == {"2", "6"}
    assert "nothing to remove" in call("prune", run, "--yes")[1]
    assert call("prune", run, "--keep-last", 0)[0] == 1


def test_a_damaged_newest_checkpoint_does_not_count_as_one_to_keep(tmp_path, call):
    run = make(tmp_path / "run", checkpoints=((2, None), (4, None), (6, None)))
    (run / "checkpoints" / "6" / "checksums.json").write_text('{"run": "0"}')
    (run / "lock.json").write_text("{}")
    assert call("prune", run, "--yes")[0] == 0
    assert [one.name for one in (run / "checkpoints").iterdir()] == ["4"]
    assert (run / "lock.json").read_text() == "{}"


# --- a real run ------------------------------------------------------------------------------------------


def test_a_real_run_is_listed_shown_and_pruned_and_resumes(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train_here(*OPTIONS.split(), 2) == 0
    one = summarize_run("run")
    assert (one.state, one.preset, one.meta_step, one.meta_steps) == ("done", "tiny", 2, 2)
    history = read_history("run")
    assert one.inner_steps == history.axis("inner_steps")[-1] == 2 * 2 * 4 * 5
    assert one.best == min(history.series(VALID)[1])
    assert sorted(history.axis("seconds")) == history.axis("seconds")
    status, output, _ = call("show", "run")
    assert status == 0
    for part in ("validation", "tuned adam", "--particles", "commit", "meta/loss"):
        assert part in output
    assert call("prune", "run", "--yes")[0] == 0
    assert train_here(*OPTIONS.split(), 3) == 0
    assert summarize_run("run").meta_step == 3
