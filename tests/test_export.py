"""A run is exported where it was not trained, and says truly how it was."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import lopt
from meta_train import RunDirectory, Trainer, export_run, get_preset, load_run_optimizer, read_run

CONFIG = dataclasses.replace(get_preset("tiny"), steps=3, particles=4, window=5, horizon_high=10, devices=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three meta-steps, and its theta."""
    run = RunDirectory(tmp_path_factory.mktemp("export") / "run")
    run.open(CONFIG, "lopt-train tiny")
    trainer = Trainer(CONFIG, run)
    list(trainer.records())
    trainer.close()
    return run, trainer.theta


def test_neither_the_devices_nor_the_data_of_the_run_are_needed(trained, tmp_path):
    run, theta = trained
    elsewhere = dataclasses.replace(CONFIG, devices=jax.device_count() + 1, task=("mnist-mlp",))
    run.config.write_text(elsewhere.to_json())
    try:
        loaded = load_run_optimizer(run.path)
        exported = lopt.load(export_run(run.path, tmp_path / "out"))
    finally:
        run.config.write_text(CONFIG.to_json())
    for optimizer in (loaded, exported):
        jax.tree.map(np.testing.assert_array_equal, optimizer, theta)


def test_provenance_gives_the_horizons_that_were_drawn_and_the_inner_steps_that_were_done(trained, tmp_path):
    run, _ = trained
    provenance = lopt.read_config(export_run(run.path, tmp_path / "out"))["provenance"]
    assert CONFIG.horizon == "constant"
    assert CONFIG.horizon_low != 10
    assert provenance["horizon"] == [10, 10]
    assert provenance["inner_steps"] == 3 * 4 * 2 * 5
    assert 0 < provenance["seconds"] < 600


def test_the_seconds_of_a_run_go_on_where_it_is_resumed(trained, tmp_path):
    run, _ = trained
    copy = RunDirectory(shutil.copytree(run.path, tmp_path / "copy"))
    before = read_run(copy.path)[1]["seconds"]
    trainer = Trainer(dataclasses.replace(CONFIG, steps=CONFIG.steps + 1), copy)
    list(trainer.records())
    trainer.close()
    after = read_run(copy.path)[1]
    assert after["meta_steps"] == CONFIG.steps + 1
    assert before < after["seconds"] < 600
