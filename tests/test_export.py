"""A run is exported where it was not trained, and says truly how it was."""

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import lopt
from meta_train import (
    RunDirectory,
    RunDirectoryError,
    Trainer,
    export_run,
    get_preset,
    load_run_optimizer,
    read_run,
    run_to_json,
)
from meta_train.commands import export as export_cli

from .small_runs import train_here, trained_run

CONFIG = get_preset("tiny").replace(steps=3, particles=4, window=5, horizon_high=10, devices=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three meta-steps, and its theta."""
    run, thetas = trained_run(tmp_path_factory.mktemp("export") / "run", CONFIG, "lopt-train tiny")
    return run, thetas[-1]


def test_neither_the_devices_nor_the_data_of_the_run_are_needed(trained, tmp_path):
    run, theta = trained
    elsewhere = CONFIG.replace(devices=jax.device_count() + 1, task=("mnist-mlp",))
    run.config.write_text(run_to_json(elsewhere.run()))
    try:
        loaded = load_run_optimizer(run.path)
        exported = lopt.load(export_run(run.path, tmp_path / "out"))
    finally:
        run.config.write_text(run_to_json(CONFIG.run()))
    for optimizer in (loaded, exported):
        jax.tree.map(np.testing.assert_array_equal, optimizer, theta)


def test_provenance_gives_the_horizons_that_were_drawn_and_the_inner_steps_that_were_done(trained, tmp_path):
    run, _ = trained
    provenance = lopt.read_config(export_run(run.path, tmp_path / "out"))["provenance"]
    assert CONFIG.method.horizon == "constant"
    assert CONFIG.method.horizon_low != 10
    assert provenance["horizon"] == [10, 10]
    assert provenance["inner_steps"] == 3 * 4 * 2 * 5
    assert 0 < provenance["seconds"] < 600


def test_the_seconds_of_a_run_go_on_where_it_is_resumed(trained, tmp_path):
    run, _ = trained
    copy = RunDirectory(shutil.copytree(run.path, tmp_path / "copy"))
    before = read_run(copy.path)[1]["seconds"]
    trainer = Trainer(CONFIG.replace(steps=CONFIG.loop.steps + 1).run(), copy)
    list(trainer.records())
    trainer.close()
    after = read_run(copy.path)[1]
    assert after["meta_steps"] == CONFIG.loop.steps + 1
    assert before < after["seconds"] < 600


# --- the mean of several thetas ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wandering(tmp_path_factory):
    """A run of four meta-steps with a checkpoint of each, and the thetas."""
    config = CONFIG.replace(steps=4, steps_per_call=1, checkpoint_every=1, keep_last=3, learning_rate=0.1)
    run, thetas = trained_run(tmp_path_factory.mktemp("average") / "run", config)
    return run.path, thetas[-4:]


def test_the_mean_of_thetas_is_exported_and_says_of_which(wandering, tmp_path):
    run, thetas = wandering
    before = thetas[1:3]
    assert all(
        np.any(a != b) for a, b in zip(jax.tree.leaves(before[0]), jax.tree.leaves(before[1]), strict=True)
    )
    expected = jax.tree.map(lambda *x: np.mean(np.stack(x).astype(np.float64), 0).astype(x[0].dtype), *before)
    out = export_run(run, tmp_path / "out", step=3, average=2)
    for loaded in (lopt.load(out), load_run_optimizer(run, step=3, average=2)):
        jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    origin = lopt.read_config(out)["provenance"]
    assert (origin["averaged"], origin["meta_steps"]) == ([2, 3], 3)
    alone, origin = read_run(run)
    jax.tree.map(np.testing.assert_array_equal, alone, thetas[-1])
    assert "averaged" not in origin


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--average", "9"], "holds 4 checkpoints up to meta-step 4, not the 9 whose mean was asked for"),
        (["--average", "2", "--step", "0"], "holds 1 checkpoint up to meta-step 0, not the 2 whose mean"),
        (["--average", "0"], "the mean of 0 checkpoints was asked for: take at least 1"),
        (["--average", "2", "--step", "1"], "holds no checkpoint 1, but 0, 2, 3, 4"),
    ],
)
def test_a_mean_of_too_few_checkpoints_is_an_error(wandering, tmp_path, capsys, arguments, message):
    assert export_cli.main([str(wandering[0]), str(tmp_path / "out"), *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- what a run started from -----------------------------------------------------------------------------


FROM_A_START = (
    "tiny --run-dir run --init-from published --particles 4 --devices 1 --window 5 --horizon-high 10 "
    "--no-progress --reference-rates 0 --hysteresis-particles 0 --validation-episodes 1 --steps"
)


def small_lstm(seed, scale):
    """An optimizer with a static field that no checkpoint holds."""
    key = jax.random.key(seed)
    return lopt.create("coordinatewise-lstm", key, hidden_size=2, hidden_layers=1, output_scale=scale)


def remove(published):
    shutil.rmtree(published)


def republish(published):
    lopt.save(small_lstm(2, 7.0), published)


def damage(published):
    (published / "config.json").write_text("{}")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A directory with a published optimizer, and a run that did a meta-step from there."""
    place = tmp_path_factory.mktemp("started")
    lopt.save(small_lstm(1, 0.5), place / "published", {"command": "mine"})
    with contextlib.chdir(place):
        assert train_here(*FROM_A_START.split(), 1) == 0
    return place


@pytest.mark.parametrize("change", [remove, republish, damage])
def test_a_run_is_exported_with_what_it_started_from(started, tmp_path, monkeypatch, change):
    monkeypatch.chdir(shutil.copytree(started, tmp_path / "place"))
    change(Path("published"))
    assert lopt.static_fields(lopt.load(export_run("run", "out")))["output_scale"] == 0.5
    jax.tree.map(np.testing.assert_array_equal, lopt.load("run/start"), small_lstm(1, 0.5))
    assert lopt.read_config("run/start")["provenance"] == {"command": "mine"}


def test_a_run_goes_on_though_what_it_started_from_has_changed(started, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(started, tmp_path / "place"))
    Path("run/start/config.json").rename("run/start/config.json.tmp")  # as if it had died while keeping it
    assert train_here(*FROM_A_START.split(), 1) == 0
    republish(Path("published"))
    assert train_here(*FROM_A_START.split(), 2) == 0
    exported, origin = read_run("run")
    assert origin["meta_steps"] == 2
    assert lopt.static_fields(exported)["output_scale"] == 0.5
    jax.tree.map(np.testing.assert_array_equal, lopt.load("run/start"), small_lstm(1, 0.5))


def test_a_run_from_a_start_of_its_own_keeps_none(trained):
    assert not (trained[0].path / "start").exists()


# --- what an export must not overwrite -------------------------------------------------------------------


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of the run, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained[0].path, tmp_path / "run")).relative_to(tmp_path)


def error_line(capsys, program="lopt-export") -> str:
    """Return the one line on stderr, having checked that a terminal only shows it."""
    line = capsys.readouterr().err
    assert line.startswith(f"{program}: ")
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    return line


@pytest.mark.parametrize(
    "out",
    [
        *("run", "./run/", "run/../run", "link", "link/.", "run/checkpoints", "link/checkpoints/x"),
        *("run/damaged", "run/start", "run/wandb/x", "below/up"),
    ],
)
def test_a_run_is_not_exported_onto_itself_however_that_is_spelt(run, out, capsys, tmp_path):
    os.symlink("run", "link")
    os.mkdir("below")
    os.symlink(tmp_path / "run", "below/up")
    before = files(run)
    assert export_cli.main(["run", out]) == 1
    assert "belongs to the run run: take another OUT_DIR, run/optimizer say" in error_line(capsys)
    assert files(run) == before


def test_a_run_is_not_exported_onto_another_run_nor_onto_something_else(run, capsys):
    shutil.copytree(run, "other")
    os.mkdir("thesis")
    Path("thesis/thesis.tex").write_text("precious")
    before = files(Path())
    assert export_cli.main(["run", "other"]) == 1
    assert "other is a run directory of lopt-train: take another" in error_line(capsys)
    assert export_cli.main(["run", "thesis"]) == 1
    assert "thesis is not empty and holds no published optimizer" in error_line(capsys)
    assert files(Path()) == before


@pytest.mark.parametrize("out", ["run/optimizer", "run-2", "new/deep"])
def test_a_run_is_exported_beside_it_or_into_a_folder_of_its_own_again_and_again(run, out):
    for _ in range(2):
        assert export_cli.main(["run", out]) == 0
        lopt.load(out)
    assert RunDirectory(run).read_config() == CONFIG.run()


def test_what_is_printed_loads_what_was_written(run, capsys):
    assert export_cli.main(["run", "small"]) == 0
    assert "lopt.as_optax('./small', horizon=STEPS)" in capsys.readouterr().out
    assert lopt.read_config("./small")["architecture"] == "learnable-adam"
    assert lopt.read_config("small")["architecture"] == "paced-muon"


# --- directories that are taken for each other, and files that are none ----------------------------------


def test_commands_on_runs_say_when_they_are_given_a_published_optimizer(run, capsys):
    export_run(run, "mine")
    before = files(Path("mine"))
    assert export_cli.main(["mine", "out"]) == 1
    assert "its config.json is not the configuration of a run (it is a published optimizer's)" in (
        line := error_line(capsys)
    )
    assert "--run-dir" not in line
    assert train_here("tiny", "--run-dir", "mine") == 1
    line = error_line(capsys, "lopt-train")
    assert "(it is a published optimizer's); take another --run-dir" in line
    assert files(Path("mine")) == before


@pytest.mark.parametrize("said", [{}, {"format": "lopt-run 1"}])
def test_a_run_of_an_older_version_is_read_but_does_not_go_on(run, said):
    groups = (CONFIG.problem, CONFIG.method, CONFIG.loop, CONFIG.placement, CONFIG.show)
    flat = {name: value for group in groups for name, value in dataclasses.asdict(group).items()}
    RunDirectory(run).config.write_text(json.dumps(said | flat))
    assert RunDirectory(run).read_config() == CONFIG.run()
    lopt.load(export_run(run, "out"))
    with pytest.raises(
        RunDirectoryError, match="started by an older version of lopt: .* it can't be resumed"
    ):
        RunDirectory(run).open(CONFIG.run(), "lopt-train tiny")


@pytest.mark.parametrize("file", ["config.json", "run.json"])
@pytest.mark.parametrize(
    "content", ["pipe", "device", "folder", "large", "[]", "\x1b[2J", '{"\\u001b[2J": 1}']
)
def test_damaged_files_of_a_run_are_told_in_one_line(run, capsys, file, content):
    path = run / file
    path.unlink()
    {
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "folder": os.mkdir,
        "large": lambda path: (path.touch(), os.truncate(path, 10 * 2**30)),
    }.get(content, lambda path: path.write_text(content))(path)
    status = export_cli.main(["run", "out"])
    if file == "run.json" and content.startswith("{"):
        assert status == 0  # what is said of the machine may be anything
        return
    assert status == 1
    line = error_line(capsys)
    assert f"run{'/run.json' if file == 'run.json' else ' is not a run directory'}" in line
    assert ("File too large" in line) == (content == "large")
    if file == "config.json":
        assert train_here("tiny", "--run-dir", "run") == 1
        assert "take another --run-dir" in error_line(capsys, "lopt-train")


def test_a_run_whose_provenance_could_not_be_reported_is_not_exported(run, capsys):
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(identity | {"devices": "\x1b[2J"}))
    assert export_cli.main(["run", "out"]) == 1
    assert "run/run.json is damaged: it does not say where the run comes from" in error_line(capsys)
    with pytest.raises(RunDirectoryError, match="damaged"):  # as a benchmark does, before its hours of work
        read_run(run)
    (run / "run.json").write_text(json.dumps(identity | {"versions": "new"}))
    assert export_cli.main(["run", "out"]) == 1
    assert "a provenance whose 'versions' is 'new', but should be an object" in error_line(capsys)
    assert not Path("out").exists()


def test_a_name_is_printed_without_what_a_terminal_would_obey(tmp_path, capsys):
    assert export_cli.main([f"{tmp_path}/\x1b[2J", str(tmp_path / "out")]) == 1
    assert r"/\x1b[2J is not a run directory" in error_line(capsys)
    unknown = RunDirectory(tmp_path / "\x1b[2J")
    unknown.open(CONFIG.replace(optimizer="nobodys").run(), "lopt-train")
    assert export_cli.main([str(unknown.path), str(tmp_path / "out")]) == 1
    assert r"/\x1b[2J can't be read: unknown optimizer architecture 'nobodys'" in error_line(capsys)
    with pytest.raises(RunDirectoryError) as info:
        RunDirectory(tmp_path / ("\x1b" * 5000)).check(CONFIG.run())
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 5000
