"""`lopt-train` and `lopt-export` run, stop, resume and publish, and refuse bad input in one sentence."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import lopt
from meta_train import (
    PRESETS,
    Launch,
    LearnedOptimizerTraining,
    Loop,
    MethodOptions,
    Placement,
    RunDirectory,
    Show,
    get_preset,
    load_run_optimizer,
)
from meta_train.commands import export as export_cli
from meta_train.commands.option_groups import GROUPS

from .small_runs import train_here

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def train(capsys):
    """Call `lopt-train` in this process; return its exit status, output and errors."""

    def call(*arguments):
        try:
            status = train_here(*arguments)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- help ------------------------------------------------------------------------------------------------


def test_help_lists_every_preset_with_what_it_is(train):
    status, output, _ = train("--help")
    assert status == 0
    for name in PRESETS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 5 for line in output.splitlines())


def test_no_arguments_show_the_help_as_an_error(train):
    assert train()[0] == 2
    assert train()[1] == train("--help")[1]


def test_help_of_a_preset_shows_its_own_values(train):
    status, output, _ = train("tiny", "--help")
    assert status == 0
    words = " ".join(output.replace("│", " ").split())
    assert "--window INT Inner steps per window (the truncation length). (default: 10)" in words
    assert "--run-dir RUN_DIR" in words


def test_every_option_is_in_one_group_and_all_of_them_in_the_long_help(train):
    grouped = [name for each in GROUPS.values() for names in each.values() for name in names]
    assert len(grouped) == len(set(grouped))
    _, short, _ = train("demo", "--help")
    _, whole, _ = train("demo", "--help-all")
    shown = set(whole.replace(",", " ").split())
    groups = (LearnedOptimizerTraining, MethodOptions, Loop, Placement, Show, Launch)
    for field in (field for group in groups for field in dataclasses.fields(group)):
        assert field.name in grouped
        flag = "--import" if field.name == "imports" else f"--{field.name.replace('_', '-')}"
        assert flag in shown
    assert len(short.splitlines()) < 0.6 * len(whole.splitlines())
    for title in ("task:", "estimator:", "population:", "checkpoints:", "display and W&B:", "cluster:"):
        assert f"\n{title}\n" in short


@pytest.mark.parametrize("columns", ["1", "7", "39"])
def test_a_narrow_terminal_gets_help_and_errors_all_the_same(train, monkeypatch, tmp_path, columns):
    monkeypatch.setenv("COLUMNS", columns)
    status, output, _ = train("tiny", "--help-all")
    assert status == 0
    assert max(map(len, output.splitlines())) <= 40
    assert train("tiny", "--bogus", "--run-dir", tmp_path / "run")[0] == 2
    assert os.environ["COLUMNS"] == columns


def test_help_of_another_problem_shows_its_options(train):
    status, output, _ = train("--problem", "copy-task", "--help-all")
    assert status == 0
    assert "--system-options NAME=VALUE..." in output
    assert "--optimizer " not in output


def test_list_shows_every_registered_name(train):
    from meta_train import ESTIMATORS, HORIZONS, OBJECTIVES, PROBLEMS, systems
    from tasks import TASKS

    status, output, _ = train("--list")
    assert status == 0
    listed = {name for line in output.splitlines() for name in line.partition(": ")[2].split(", ")}
    registered = (TASKS, lopt.ARCHITECTURES, ESTIMATORS, HORIZONS, OBJECTIVES, systems.SYSTEMS)
    assert listed == {name for names in registered for name in names} | PROBLEMS.keys() - {"system"}


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tinny", "unknown preset 'tinny'; did you mean tiny"),
        ("tiny --task quadratics", "unknown task 'quadratics'; did you mean quadratic or"),
        ("tiny --optimizer learnable-adm", "'learnable-adm'; did you mean learnable-adam or"),
        ("tiny --optimizer-options colour=red", "optimizer learnable-adam: "),
        ("tiny --estimator pess", "unknown estimator 'pess'; did you mean pes or"),
        ("tiny --estimator-options colour=red", "estimator pes has no colour: it takes"),
        ("tiny --estimator-options sigma=3", "--sigma"),
        ("tiny --sigma -0.1", "--sigma must be positive, not -0.1"),
        ("tiny --window 15", "window of 15 inner steps does not divide a horizon of 40"),
        ("tiny --window 15", "take a horizon of 30 or 45"),
        ("tiny --particles 10 --devices 4", "10 particles do not divide over 4 devices: take 8 or 12"),
        ("tiny --devices 1000", "1000 devices were requested"),
        ("tiny --chunk 0", "--chunk must be at least 1"),
        ("tiny --checkpoint-seconds -1", "--checkpoint-seconds must not be negative"),
        ("tiny --keep-last 0", "--keep-last must be at least 1, not 0"),
        ("tiny --coordinator 127.0.0.1:1", "--coordinator, --num-processes and --process-id go together"),
        ("tiny --init-from nowhere", "'nowhere' is neither a directory nor the name"),
        ("tiny --task quadratic quadratic", "--task names quadratic twice"),
        ("tiny --task quadratic digit-mlp", "unknown task 'digit-mlp'; did you mean digits-mlp"),
        (
            "tiny --task quadratic digits-mlp --task-weights 1",
            "--task-weights takes a number for each task, 2 in",
        ),
        (
            "tiny --task quadratic digits-mlp --task-weights 1 0",
            "--task-weights must be positive, not 1.0 0.0",
        ),
        ("tiny --task-particles 4 4", "--task-particles takes a number for each of quadratic, not 2"),
        (
            "tiny --task quadratic digits-mlp --task-particles 4 6 --devices 4",
            "task digits-mlp: 6 particles do not divide over 4 devices: take 4 or 8",
        ),
        ("tiny --validate-on quadratics", "unknown task 'quadratics'; did you mean quadratic or"),
        (
            "tiny --validate-on quadratic:long",
            "--validate-on takes NAME or NAME:HORIZON, as in quadratic:400",
        ),
        ("tiny --validate-on :20", "NAME:HORIZON, as in quadratic:400, not ':20'"),
        (
            "tiny --validate-on quadratic:45",
            "does not divide that horizon: take quadratic:40 or quadratic:50",
        ),
        ("tiny --validate-on quadratic:40 quadratic:40", "--validate-on names quadratic-40 twice"),
        ("lstm --horizon log-uniform --horizon-low 200", "200 is above 100"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_and_leaves_nothing_behind(train, tmp_path, arguments, message):
    status, output, errors = train(*arguments.split(), "--run-dir", tmp_path / "run")
    assert status == 1
    assert output == ""
    assert errors.startswith("lopt-train: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", ["tiny --bogus 3", "tiny --steps many", "tiny --backend fpga"])
def test_options_that_do_not_parse_are_bad_usage(train, tmp_path, arguments):
    status, _, errors = train(*arguments.split(), "--run-dir", tmp_path / "run")
    assert status == 2
    assert arguments.split()[1] in errors
    assert not list(tmp_path.iterdir())


def test_a_run_needs_a_directory(train):
    status, _, errors = train("tiny")
    assert status == 2
    assert "--run-dir" in errors


@pytest.mark.parametrize("name", ["thesis.tex", "config.json", "run.json"])
def test_a_directory_of_something_else_is_left_alone(train, tmp_path, name):
    """A published optimizer, say: it has a config.json too."""
    (tmp_path / name).write_text('{"format": 1}')
    (tmp_path / "theta.safetensors").write_bytes(b"precious")
    before = files(tmp_path)
    status, _, errors = train("tiny", "--run-dir", tmp_path)
    assert (status, errors.count("\n")) == (1, 1)
    assert "take another --run-dir" in errors or "not the configuration of a run" in errors
    assert files(tmp_path) == before


def test_a_run_directory_that_can_not_be_made_is_refused(train, tmp_path):
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        status, _, errors = train("tiny", "--run-dir", path)
        assert (status, errors.count("\n")) == (1, 1)
        assert str(tmp_path / "file") in errors
    assert (tmp_path / "file").read_text() == "precious"


def test_another_configuration_is_refused_and_the_run_left_alone(train, tmp_path):
    """Even when that run has no checkpoint yet."""
    RunDirectory(tmp_path).open(get_preset("tiny").run(), "lopt-train")
    before = files(tmp_path)
    status, _, errors = train("tiny", "--run-dir", tmp_path, "--sigma", 0.2)
    assert (status, errors.count("\n")) == (1, 1)
    assert "--sigma was 0.1, now 0.2" in errors
    assert files(tmp_path) == before


def test_the_operands_of_an_export_have_names(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1")
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            export_cli.main([option])
        assert "lopt-export [-h] [OPTIONS] RUN_DIR OUT_DIR" in capsys.readouterr().out


def test_export_of_what_is_no_run_is_refused(tmp_path, capsys):
    assert export_cli.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert "lopt-export: " in (errors := capsys.readouterr().err)
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- a real run, in a process of its own -----------------------------------------------------------------

PROGRAM = "import sys; from meta_train.commands.train import main; sys.exit(main())"
OPTIONS = "--particles 4 --window 5 --horizon-high 10 --steps-per-call 5 --checkpoint-every 50 --devices 2"


def launch(*arguments):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics(path):
    file = RunDirectory(path).metrics
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run of a million meta-steps, stopped by ctrl-C: its directory, arguments, status and errors."""
    path = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["tiny", "--run-dir", str(path), *OPTIONS.split(), "--steps", "1000000"]
    process = launch(*arguments)
    patience = time.monotonic() + 120
    while len(metrics(path)) < 5 and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return path, arguments, process.returncode, errors


@pytest.fixture(scope="module")
def resumed(interrupted):
    """The same run gone on with for 15 meta-steps: where it stopped, its status, output and errors."""
    path, arguments, _, _ = interrupted
    stopped = metrics(path)[-1]["meta_step"]
    process = launch(*arguments[:-1], str(stopped + 15))
    output, errors = process.communicate(timeout=120)
    return stopped, process.returncode, output, errors


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(interrupted):
    path, arguments, status, errors = interrupted
    assert status == 0, errors
    stopped = metrics(path)[-1]["meta_step"]
    assert 0 < stopped < 1_000_000
    assert f"stopped at meta-step {stopped}; resume with\n  lopt-train {shlex.join(arguments)}\n" in errors
    assert "Traceback" not in errors


def test_the_rerun_resumes_and_says_so_and_what_comes_next(interrupted, resumed):
    path, (stopped, status, _, errors) = interrupted[0], resumed
    assert status == 0, errors
    assert f"resuming {path} at meta-step {stopped}\n" in errors
    assert f"done: {stopped + 15} meta-steps in {path}" in errors
    assert f"lopt-export {path} OUT_DIR" in errors
    assert [line["meta_step"] for line in metrics(path)] == list(range(0, stopped + 16, 5))
    assert "Traceback" not in errors


def test_a_run_is_exported_and_loads(interrupted, resumed, tmp_path, capsys):
    path, out = interrupted[0], tmp_path / "published"
    assert export_cli.main([str(path), str(out)]) == 0
    assert f"lopt.as_optax({str(out)!r}" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, lopt.load(out), load_run_optimizer(path))
    origin = lopt.read_config(out)["provenance"]
    assert origin["meta_steps"] == resumed[0] + 15
    assert origin["command"].startswith("lopt-train tiny --run-dir")


# --- two on one directory --------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_who_holds_the_directory(train, tmp_path):
    path = tmp_path / "run"
    arguments = ["tiny", "--run-dir", str(path), *OPTIONS.split(), "--steps", "1000000"]
    first = launch(*arguments)
    try:
        patience = time.monotonic() + 120
        while not metrics(path) and first.poll() is None and time.monotonic() < patience:
            time.sleep(0.1)
        before = RunDirectory(path).config.read_bytes()
        status, _, errors = train(*arguments, "--steps-per-call", 20)
        assert (status, errors.count("\n")) == (1, 1)
        assert f"{path} is in use by process {first.pid} of " in errors
        assert shlex.join(arguments) in errors
        assert RunDirectory(path).config.read_bytes() == before
    finally:
        first.kill()
        first.communicate()
    # A lock dies with its process, however it dies.
    status, _, errors = train(*arguments[:-1], "10")
    assert status == 0, errors
