"""A run that was stopped, or lost its machine, goes on as if nothing had happened."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

import lopt
from meta_train import (
    CheckpointError,
    JsonLines,
    RunDirectory,
    RunDirectoryError,
    Trainer,
    export_run,
    load_run_optimizer,
)

from .small_runs import SMALL_RUN

CONFIG = SMALL_RUN.replace(checkpoint_every=4, reference_rates=3)


def drive(path, stop_at=None, config=CONFIG, crash=False):
    """Run, or go on with a run, as `lopt-train` does, up to a meta-step; return its end."""
    directory = RunDirectory(path)
    directory.open(config.run(), "lopt-train")
    trainer = Trainer(config.run(), directory)

    def stop():
        if trainer.meta_step == stop_at and crash:
            raise MemoryError
        return trainer.meta_step == stop_at

    metrics = JsonLines(directory.metrics, trainer.meta_step)
    try:
        for record in trainer.records(stop):
            metrics.log(record.meta_step, record.values)
    finally:
        metrics.close()
        trainer.close()
    return jax.device_get((trainer.theta, trainer._particles, trainer._state.scales))


def lines(path):
    """The metrics but for how fast they were made."""
    read = [json.loads(line) for line in RunDirectory(path).metrics.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read]


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its directory and its end."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, drive(path)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_writes_a_line_per_call_and_validates_when_due(whole):
    written = lines(whole[0])
    assert [line["meta_step"] for line in written] == [0, 2, 4, 6, 8, 10, 12]
    assert [line["meta_step"] for line in written if "meta/valid_objective" in line] == [0, 6, 12]
    assert all({"meta/loss", "estimator/gradient_norm", "theta/norm"} <= line.keys() for line in written[1:])


@pytest.mark.parametrize("stop_at", [2, 8])  # between checkpoints, and at one
def test_stopped_and_resumed_is_uninterrupted_to_the_bit(whole, tmp_path, stop_at):
    path = tmp_path / "run"
    stopped = drive(path, stop_at)
    assert not np.array_equal(stopped[0].log_learning_rate, whole[1][0].log_learning_rate)
    assert_same(drive(path), whole[1])
    assert lines(path) == lines(whole[0])


@pytest.mark.parametrize("stop_at", [2, 10])  # before the first checkpoint, and after one
def test_a_crash_loses_no_line_and_writes_none_twice(whole, tmp_path, stop_at):
    path = tmp_path / "run"
    with pytest.raises(MemoryError):
        drive(path, stop_at, crash=True)
    assert lines(path)[-1]["meta_step"] < stop_at  # the last call was not written yet
    assert_same(drive(path), whole[1])
    assert lines(path) == lines(whole[0])


def test_a_run_that_is_done_does_nothing_more(whole, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole[0], path)
    assert_same(drive(path), whole[1])
    assert lines(path) == lines(whole[0])


def test_a_run_may_go_on_on_other_devices_and_in_other_portions(whole, tmp_path):
    path = tmp_path / "run"
    drive(path, 6)
    other = CONFIG.replace(devices=2, chunk=1, steps_per_call=3, validate_every=3)
    theta = drive(path, config=other)[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), theta, whole[1][0])
    assert RunDirectory(path).read_config() == other.run()


# --- what is refused -------------------------------------------------------------------------------------


def test_another_configuration_is_refused_with_the_difference(whole):
    before = files(whole[0])
    other = CONFIG.replace(sigma=0.2, particles=8)
    with pytest.raises(RunDirectoryError, match=r"--sigma was 0.1, now 0.2") as error:
        RunDirectory(whole[0]).open(other.run(), "lopt-train")
    assert "--particles was 4, now 8" in str(error.value)
    assert "--window" not in str(error.value)
    assert files(whole[0]) == before


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_text('{"format": 1}')
    before = files(tmp_path)
    with pytest.raises(RunDirectoryError, match="no lopt run|not the configuration of a run"):
        RunDirectory(tmp_path).open(CONFIG.run(), "lopt-train")
    assert files(tmp_path) == before


def test_a_half_written_checkpoint_is_passed_over(whole, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole[0], path)
    (path / "checkpoints" / "14.orbax-checkpoint-tmp").mkdir()
    assert_same(load_run_optimizer(path), whole[1][0])
    assert_same(drive(path), whole[1])


def test_a_directory_without_a_checkpoint_has_no_optimizer(tmp_path):
    RunDirectory(tmp_path / "run").open(CONFIG.run(), "lopt-train")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_run_optimizer(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        load_run_optimizer(tmp_path)


# --- what a run leaves -----------------------------------------------------------------------------------


def test_the_optimizer_of_a_run_is_its_last_theta(whole):
    assert_same(load_run_optimizer(whole[0]), whole[1][0])


def test_a_run_is_exported_with_where_it_comes_from(whole, tmp_path):
    export_run(whole[0], tmp_path / "published")
    assert_same(lopt.load(tmp_path / "published"), whole[1][0])
    origin = lopt.read_config(tmp_path / "published")["provenance"]
    assert origin["command"] == "lopt-train"
    assert origin["tasks"] == ["quadratic"]
    assert origin["meta_steps"] == 12
    assert origin["inner_steps"] == 12 * 4 * 2 * 5  # meta-steps, particles, members, window
    assert {"commit", "versions"} <= origin.keys()


def test_json_lines_removes_what_will_be_written_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = JsonLines(path)
    for step in (0, 10, 20, 30):
        first.log(step, {"loss": step / 10, "objective": math.nan})
    first.close()
    path.write_text(path.read_text() + '{"meta_step": 40, "lo')  # a line cut short
    again = JsonLines(path, resume_step=20)
    again.log(30, {"loss": 7.0})
    again.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"meta_step": 0, "loss": 0.0},
        {"meta_step": 10, "loss": 1.0},
        {"meta_step": 20, "loss": 2.0},
        {"meta_step": 30, "loss": 7.0},
    ]
    JsonLines(path, resume_step=0).close()
    assert path.read_text() == ""
