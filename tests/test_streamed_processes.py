"""A run on streamed data whose process is killed, and one of several processes, are the same as any other."""

import shutil

import jax
import numpy as np
import pytest

from meta_train import load_run_optimizer

from .test_processes import alone, assert_close, command, launch, start, wait_for

pytestmark = pytest.mark.slow  # real processes, which start and compile anew

FILE = """
import numpy as np
import tasks

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.integers(0, 256, (200, 3, 3, 1), dtype=np.uint8)


@tasks.register("streamed")
def streamed():
    records = tasks.divide_records(tasks.Columns(IMAGES, IMAGES[:, 0, 0, 0] // 128))
    source = tasks.RowSource(records, lambda row: (row[0], int(row[1])), rows=30, held_out_rows=10)
    return tasks.ImageMLP(tasks.stream_dataset(source, every=7, num_classes=2), widths=(4, 4))
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """The options of a run on two devices, on a task in a file of its own."""
    file = tmp_path_factory.mktemp("file") / "my_streamed.py"
    file.write_text(FILE)
    return ["--import", file, "--task", "streamed", "--steps", 100]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    alone(path, *options, "--devices", 2)
    return path


def test_a_killed_and_resumed_run_is_the_uninterrupted_one_to_the_bit(options, whole, tmp_path):
    process = start(command(tmp_path / "killed", *options, "--devices", 2))
    wait_for(tmp_path / "killed", 50, process)
    process.kill()
    process.communicate()
    shutil.copytree(tmp_path / "killed", tmp_path / "resumed")
    alone(tmp_path / "resumed", *options, "--devices", 2)
    one, other = load_run_optimizer(whole), load_run_optimizer(tmp_path / "resumed")
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_two_processes_stream_the_same_rows(options, whole, tmp_path):
    status, _, errors = launch(tmp_path / "both", *options)
    assert status == 0, errors
    assert_close(tmp_path / "both", whole)
