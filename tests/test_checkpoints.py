"""Checkpoints: which are kept, and what happens to damaged ones, and on a full disk."""

import errno
import os
import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from meta_train import (
    CheckpointError,
    RunDirectory,
    RunDirectoryError,
    Trainer,
    load_run_optimizer,
    run_to_json,
)
from meta_train.runs.literal_path import literal

from .small_disks import small_disk
from .small_runs import SMALL_RUN

CONFIG = SMALL_RUN.replace(checkpoint_every=2, keep_hours=0, reference_rates=0, hysteresis_particles=0)


def drive(path, config=CONFIG):
    """Run to the end; return theta, the records' meta-steps, and the warnings."""
    directory, warnings = RunDirectory(path), []
    run_id = directory.open(config.run(), "lopt-train")
    trainer = Trainer(config.run(), directory, run_id=run_id, warn=warnings.append)
    steps = [record.meta_step for record in trainer.records()]
    trainer.close()
    return jax.device_get(trainer.theta), steps, warnings


def saved(path):
    return sorted(int(file.name) for file in (path / "checkpoints").iterdir() if file.name.isdigit())


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never disturbed: its directory and its last theta."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, drive(path)[0]


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


# --- what is kept ----------------------------------------------------------------------------------------


def test_the_last_few_and_the_best_are_kept(whole, tmp_path):
    assert saved(whole[0])[-3:] == [8, 10, 12]
    # A learning rate that makes theta worse, so that the best is the one at the start.
    worse = CONFIG.replace(learning_rate=30.0, keep_last=2)
    drive(tmp_path / "run", worse)
    assert saved(tmp_path / "run") == [0, 10, 12]
    best = load_run_optimizer(tmp_path / "run", best=True)
    assert_same(best, load_run_optimizer(tmp_path / "run", step=0))
    assert not np.array_equal(best.log_learning_rate, load_run_optimizer(tmp_path / "run").log_learning_rate)


def test_one_every_so_often_is_kept_for_good(tmp_path):
    """All of these are younger than an hour, so that the first alone counts."""
    drive(tmp_path / "run", CONFIG.replace(keep_hours=1.0, keep_last=1, validate_every=1000))
    kept = saved(tmp_path / "run")
    assert kept[0] == 0
    assert kept[-1] == 12
    drive(tmp_path / "all", CONFIG.replace(keep_hours=1e-9, keep_last=1, validate_every=1000))
    assert saved(tmp_path / "all") == [0, 2, 4, 6, 8, 10, 12]


def test_the_clock_saves_too(tmp_path):
    drive(
        tmp_path / "run",
        CONFIG.replace(checkpoint_every=0, checkpoint_seconds=1e-9, keep_last=9),
    )
    assert saved(tmp_path / "run") == [0, 2, 4, 6, 8, 10, 12]
    never = CONFIG.replace(checkpoint_every=0, checkpoint_seconds=0, validate_every=1000)
    drive(tmp_path / "never", never)
    assert saved(tmp_path / "never") == [0, 12]  # the first validation is the best so far, and the end


@pytest.mark.parametrize("name", ["lr=[1,2]", "[!a]-[", "a**b?"])
def test_brackets_and_stars_in_a_path_are_nothing_special(whole, tmp_path, name):
    """Hydra names directories so, and orbax looks for files below them by a pattern."""
    path = tmp_path / name / "run"
    assert_same(drive(path)[0], whole[1])
    theta, steps, warnings = drive(path, CONFIG.replace(steps=14))
    assert (steps, warnings) == ([14], [])
    assert_same(load_run_optimizer(path), theta)
    assert_same(load_run_optimizer(path, step=12), whole[1])
    load_run_optimizer(path, best=True)


def test_a_local_path_is_no_address_of_a_bucket():
    assert str(literal(Path("/s3/run")) / "checkpoints") == "/s3/run/checkpoints"
    assert not literal(Path("/s3/run")).exists()


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(whole):
    with pytest.raises(CheckpointError, match=r"holds no checkpoint 7, but .*8, 10, 12"):
        load_run_optimizer(whole[0], step=7)


# --- damage ----------------------------------------------------------------------------------------------


def biggest(checkpoint):
    return max(
        (file for file in checkpoint.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )


def truncate(checkpoint):
    file = biggest(checkpoint / "run")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(checkpoint):
    file = biggest(checkpoint / "run")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lose_a_file(checkpoint):
    biggest(checkpoint / "run").unlink()


def empty(checkpoint):
    for file in checkpoint.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def lose_everything(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


@pytest.mark.parametrize("harm", [truncate, flip_a_byte, lose_a_file, empty, lose_everything])
def test_a_damaged_newest_checkpoint_is_named_set_aside_and_the_one_before_taken(whole, run, harm):
    harm(run / "checkpoints" / "12")
    theta, steps, warnings = drive(run)
    assert_same(theta, whole[1])
    assert steps == [12]  # from 10, not from the start
    (warning,) = warnings
    assert "checkpoint 12 is damaged" in warning
    assert "\n" not in warning
    (aside,) = (run / "damaged").iterdir()
    assert aside.name.startswith("12-")
    assert str(aside) in warning
    assert saved(run)[-3:] == [8, 10, 12]


def test_several_damaged_checkpoints_are_passed_over(whole, run):
    for step, harm in ((12, truncate), (10, lose_everything)):
        harm(run / "checkpoints" / str(step))
    theta, steps, warnings = drive(run)
    assert_same(theta, whole[1])
    assert steps == [10, 12]
    assert ["12" in warnings[0], "10" in warnings[1]] == [True, True]


def test_when_all_are_damaged_the_run_does_not_begin_anew_by_itself(run):
    for checkpoint in (run / "checkpoints").iterdir():
        if checkpoint.name.isdigit():
            truncate(checkpoint)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of .* can be restored; the damaged ones are in"
    ):
        drive(run)


def delete(checkpoints):
    shutil.rmtree(checkpoints)


def unmount(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.mkdir()


def delete_each(checkpoints):
    for step in saved(checkpoints.parent):
        shutil.rmtree(checkpoints / str(step))


@pytest.mark.parametrize("loss", [delete, unmount, delete_each])
def test_when_checkpoints_are_gone_the_run_does_not_begin_anew_by_itself(run, loss):
    (run / "metrics.jsonl").write_text('{"meta_step": 0}\n{"meta_step": 2}\n')
    loss(run / "checkpoints")
    for _ in range(2):  # nor the second time
        with pytest.raises(RunDirectoryError, match=r"but has no checkpoint: .*/checkpoints, mount it"):
            drive(run)


def test_a_run_of_before_the_mark_has_saved_where_it_has_a_checkpoint(run):
    (run / "checkpoints" / "README.txt").unlink()
    RunDirectory(run).open(CONFIG.run(), "lopt-train")
    delete_each(run / "checkpoints")
    with pytest.raises(RunDirectoryError, match="but has no checkpoint"):
        RunDirectory(run).check(CONFIG.run())


@pytest.mark.parametrize("killed_in", ["config.json", "README.txt", "run.json"])
def test_a_run_that_was_killed_while_it_claimed_its_directory_begins_anew(tmp_path, monkeypatch, killed_in):
    def die(path, target):
        if path.with_suffix("").name == Path(killed_in).stem:
            raise MemoryError
        return rename(path, target)

    rename, directory = Path.replace, RunDirectory(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(MemoryError):
            directory.open(CONFIG.run(), "lopt-train")
    assert directory.open(CONFIG.run(), "lopt-train")


def test_a_run_that_was_killed_before_its_first_save_begins_anew(tmp_path, whole):
    directory = RunDirectory(tmp_path / "run")
    directory.open(CONFIG.run(), "lopt-train")
    directory.metrics.write_text('{"meta_step": 0}\n{"meta_step": 2}\n')
    (directory.checkpoints / "0.orbax-checkpoint-tmp").mkdir()
    assert_same(drive(directory.path)[0], whole[1])


def test_a_whole_checkpoint_that_does_not_fit_is_left_where_it_is(run):
    """As after a change of lopt that keeps other state: nothing is damaged."""
    other = CONFIG.replace(optimizer="learnable-sgd")
    (run / "config.json").write_text(run_to_json(other.run()))
    before = saved(run)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 12 of .* is intact, but can't be restored"
    ) as error:
        drive(run, other)
    assert "\n" not in str(error.value)
    assert saved(run) == before
    assert not (run / "damaged").exists()


def test_an_optimizer_is_not_read_from_a_damaged_checkpoint(run):
    flip_a_byte(run / "checkpoints" / "12")
    with pytest.raises(CheckpointError, match=r"checkpoint 12 of .* is damaged .*take another \(.*8, 10\)"):
        load_run_optimizer(run)
    load_run_optimizer(run, step=10)


def test_the_runs_identity_comes_back_from_its_checkpoint(run):
    identity = RunDirectory(run).read_identity()["id"]
    (run / "run.json").unlink()
    assert RunDirectory(run).open(CONFIG.run(), "lopt-train") == identity


@pytest.mark.parametrize("part", ["save", "wait_until_finished", "close"])
def test_a_save_that_fails_is_told_by_every_part_and_counts_as_none(whole, tmp_path, monkeypatch, part):
    """Where orbax raises the error of a full disk depends on when its threads meet it."""

    def fail(manager, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, part, fail)
        if part != "save":
            patch.setattr(ocp.CheckpointManager, "save", lambda *_, **__: None)
        directory = RunDirectory(tmp_path / "run")
        trainer = Trainer(CONFIG.run(), directory, run_id=directory.open(CONFIG.run(), "lopt-train"))

        def to_the_end():
            deque(trainer.records(), maxlen=0)
            trainer.close()

        with pytest.raises(CheckpointError, match="no space is left on the device; there is no older one"):
            to_the_end()
        with suppress(CheckpointError):  # as every command does in the end
            trainer.close()
    assert_same(drive(tmp_path / "run")[0], whole[1])  # the run begins anew


# --- a full disk -----------------------------------------------------------------------------------------


# Threads of orbax that fail leave event loops behind, of which Python 3.12 complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_told_in_one_sentence_and_leaves_older_checkpoints_whole(tmp_path):
    config = CONFIG.replace(keep_last=1000, steps=10_000)
    told = pytest.raises(
        CheckpointError, match=r"no space is left on the device; the newest intact one is \d+"
    )
    with small_disk(tmp_path / "disk", 1024) as place:
        with told as error:
            drive(place / "run", config)
        assert "\n" not in str(error.value)
        kept = saved(place / "run")
        assert kept[-1] >= 2
        for step in kept:  # each can be read, and is not damaged
            load_run_optimizer(place / "run", step=step)
