"""Promises of the command `lopt-data`: it prepares, it lists, and it fails in one sentence."""

import dataclasses
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from tasks import SPLITS, DatasetNotPreparedError, load_dataset
from tasks.data import data_cli, data_table, datasets
from tasks.data.catalogue import DATASETS, Parts
from tasks.data.prepared import count_examples

from .test_datasets import write_mnist


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """The directory that $TFDS_DATA_DIR names, empty."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(downloader, "MAX_RETRIES", downloader.MAX_RETRIES)  # Put back what a test changes.
    return tmp_path


def test_a_narrow_terminal_gets_help_all_the_same(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1")
    assert data_cli.main(["--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert os.environ["COLUMNS"] == "1"


@pytest.fixture
def with_tensorflow(monkeypatch):
    """Make the command believe that TensorFlow is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if name == "tensorflow" else find(name)
    )


def stand_in_builder(monkeypatch, download_and_prepare):
    """Replace TFDS's stock builders; return the list that collects what they were asked for."""
    asked = []

    def builder(name, *, data_dir, file_format):
        asked.append((name, Path(data_dir), file_format))
        return SimpleNamespace(download_and_prepare=download_and_prepare)

    monkeypatch.setattr(tfds, "builder", builder)
    return asked


def one_sentence(capsys) -> str:
    """Return what was written to stderr, having checked that it is one line of the program's own."""
    text = capsys.readouterr().err
    assert text.startswith("lopt-data: ")
    assert text.count("\n") == 1
    return text


def test_prepare_digits_makes_what_load_dataset_reads(data_dir, capsys):
    assert data_cli.main(["prepare", "digits"]) == 0
    path = data_dir / "sklearn_digits" / "1.0.0"
    assert f"digits is ready in {path}: train 1150" in capsys.readouterr().out
    written = (path / "dataset_info.json").stat().st_mtime_ns
    assert load_dataset("digits").size("train") == 1150
    assert data_cli.main(["prepare", "digits"]) == 0  # Again: nothing to do.
    assert (path / "dataset_info.json").stat().st_mtime_ns == written


def test_data_dir_overrides_the_environment(data_dir, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert data_cli.main(["prepare", "digits", "--data-dir", str(elsewhere)]) == 0
    assert (elsewhere / "sklearn_digits").is_dir()
    assert not any(data_dir.iterdir())


def test_a_piped_list_has_each_data_set_on_a_line(data_dir, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    where = "mnist/" + "a-long-version-" * 4
    monkeypatch.setattr(data_table, "_row", lambda name, _: [name, "ready", where, "11.6 MB", *["10"] * 4])
    assert data_cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(where in line for line in lines) == len(DATASETS)


def test_list_tells_prepared_unprepared_tfrecord_and_damaged_apart(data_dir, capsys):
    def rows():
        assert data_cli.main(["list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line.split()[:1]}

    before = rows()
    assert set(DATASETS) <= set(before)
    assert before["digits"] == "automatic - - - - - -"
    assert before["mnist"] == before["lm1b"] == "download - - - - - -"
    path = write_mnist(data_dir)
    capsys.readouterr()
    assert re.fullmatch(r"convert mnist/3.0.1 \d+\.\d MB 40 5 5 10", rows()["mnist"])
    info = path / "dataset_info.json"
    written = json.loads(info.read_text())
    info.write_text(json.dumps(written | {"fileFormat": "tfrecord"}))
    assert re.fullmatch(r"download \(is tfrecord\) .* 40 5 5 10", rows()["mnist"])
    info.write_text(json.dumps({"fileFormat": "array_record", "splits": "?"}))
    assert re.fullmatch(r"damaged: delete it .* - - - -", rows()["mnist"])
    info.write_text(json.dumps(written))
    assert load_dataset("mnist").size("train") == 40
    assert re.fullmatch(r"ready lopt/mnist 0\.\d MB 40 5 5 10", rows()["mnist"])


def test_examples_are_counted_as_tfds_counts_them(data_dir):
    assert data_cli.main(["prepare", "digits"]) == 0
    made = {"digits": data_dir / "sklearn_digits" / "1.0.0", "mnist": write_mnist(data_dir)}
    for name, path in made.items():
        splits = tfds.builder_from_directory(path).info.splits
        assert count_examples(name, path) == {
            split: splits[Parts().of(split).instruction].num_examples for split in SPLITS
        }


def test_a_stock_dataset_without_tensorflow_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert data_cli.main(["prepare", "mnist"]) == 1
    assert "`pip install 'lopt[prepare]'`" in one_sentence(capsys)


def test_prepare_asks_tfds_for_array_record_of_the_pinned_version(
    data_dir, monkeypatch, with_tensorflow, capsys
):
    asked = stand_in_builder(monkeypatch, lambda **_: write_mnist(data_dir))
    assert data_cli.main(["prepare", "mnist"]) == 0
    assert asked == [("mnist:3.0.1", data_dir, "array_record")]
    assert "train 40, inner_valid 5, outer_valid 5, test 10" in capsys.readouterr().out


def test_prepare_puts_array_record_beside_a_tfrecord_directory(data_dir, monkeypatch, with_tensorflow):
    info = write_mnist(data_dir) / "dataset_info.json"
    tfrecord = json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"})
    info.write_text(tfrecord)
    asked = stand_in_builder(monkeypatch, lambda **_: write_mnist(data_dir / "array_record"))
    assert data_cli.main(["prepare", "mnist"]) == 0
    assert asked == [("mnist:3.0.1", data_dir / "array_record", "array_record")]
    assert info.read_text() == tfrecord
    assert load_dataset("mnist").size("test") == 10


def test_without_a_network_it_fails_in_one_sentence_after_one_retry(monkeypatch, with_tensorflow, capsys):
    def offline(**_):
        raise requests.ConnectionError("Max retries exceeded\nwith many lines")

    stand_in_builder(monkeypatch, offline)
    assert data_cli.main(["prepare", "fashion_mnist"]) == 1
    assert "could not download 'fashion_mnist' (ConnectionError)" in one_sentence(capsys)
    assert downloader.MAX_RETRIES == 1


@pytest.mark.parametrize("error", [OSError("Not enough disk space.\nNeeded: 2 GiB"), AssertionError()])
def test_any_other_failure_of_tfds_is_one_sentence_too(error, monkeypatch, with_tensorflow, capsys):
    def fail(**_):
        raise error

    stand_in_builder(monkeypatch, fail)
    assert data_cli.main(["prepare", "mnist"]) == 1
    assert f"could not prepare 'mnist': {type(error).__name__}" in one_sentence(capsys)


def test_a_directory_in_the_way_is_not_overwritten(data_dir, with_tensorflow, capsys):
    (data_dir / "mnist" / "3.0.1").mkdir(parents=True)
    assert data_cli.main(["prepare", "mnist"]) == 1
    assert "in the way" in one_sentence(capsys)


def test_an_unwritable_directory_is_one_sentence(data_dir, capsys):
    (data_dir / "file").touch()
    assert data_cli.main(["prepare", "digits", "--data-dir", str(data_dir / "file")]) == 1
    assert "cannot prepare data set 'digits'" in one_sentence(capsys)


def test_an_unknown_name_gets_the_nearest_one(capsys):
    assert data_cli.main(["prepare", "minst"]) == 2
    assert "did you mean 'mnist' or 'mnist_8'?" in one_sentence(capsys)


@pytest.mark.parametrize("args", [[], ["prepare"], ["remove"], ["frobnicate"], ["list", "--nonsense"]])
def test_bad_usage_exits_with_2(args, capsys):
    assert data_cli.main(args) == 2
    assert capsys.readouterr().err


def test_help_names_every_command_and_data_set(capsys):
    assert data_cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert {"list", "prepare", "remove"} <= set(text.split())
    assert data_cli.main(["prepare", "--help"]) == 0
    text = capsys.readouterr().out
    assert "lopt-data list shows the names" in text
    assert "--data-dir" in text


def test_several_are_prepared_and_removed_without_a_trace(data_dir, monkeypatch, with_tensorflow, capsys):
    stand_in_builder(monkeypatch, lambda **_: write_mnist(data_dir))
    assert data_cli.main(["prepare", "mnist", "mnist_8", "digits"]) == 0
    assert load_dataset("mnist_8").images["train"].shape == (40, 8, 8, 1)
    (data_dir / "mnist" / "incomplete.XYZ_3.0.1").mkdir()  # what a killed process leaves
    (data_dir / "lopt" / ".mnist-abc").mkdir()
    capsys.readouterr()
    assert data_cli.main(["remove", "mnist_8", "cifar10"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"mnist_8: removed \S+/lopt/mnist_8, 0.\d MB", said)
    assert "cifar10: there is nothing to remove" in said
    assert load_dataset("mnist").size("train") == 40  # the other name's files are its own
    assert data_cli.main(["remove", "mnist", "digits"]) == 0
    assert not [path for path in data_dir.rglob("*") if path.is_file()]
    assert {path.name for path in data_dir.iterdir()} == {"mnist", "sklearn_digits", "lopt", "downloads"}
    assert not [path for name in ("mnist", "lopt") for path in (data_dir / name).iterdir()]


def test_one_unknown_name_prepares_nothing(data_dir, capsys):
    assert data_cli.main(["prepare", "digits", "minst"]) == 2
    assert "did you mean 'mnist'" in one_sentence(capsys)
    assert not any(data_dir.iterdir())


@pytest.mark.parametrize("at", range(1, 9))
def test_an_interruption_while_files_are_written_leaves_nothing_half_made(data_dir, monkeypatch, capsys, at):
    write_mnist(data_dir)
    saved, save = [], np.save

    def interrupted(path, array):
        saved.append(path)
        if len(saved) == at:
            raise KeyboardInterrupt
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        assert data_cli.main(["prepare", "mnist"]) == 130
    assert not any((data_dir / "lopt").iterdir())
    if at == 8:
        assert data_cli.main(["prepare", "mnist"]) == 0
        assert load_dataset("mnist").size("train") == 40


def test_damaged_files_are_refused(data_dir):
    write_mnist(data_dir)
    assert load_dataset("mnist").size("test") == 10
    file = data_dir / "lopt" / "mnist" / "test.images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    datasets._load_cached.cache_clear()
    with pytest.raises(DatasetNotPreparedError, match=r"test.images.npy is damaged: delete .*prepare mnist"):
        load_dataset("mnist")
    file.write_bytes(content[:100])
    with pytest.raises(DatasetNotPreparedError, match="is damaged"):
        load_dataset("mnist")


def test_files_of_another_form_are_made_anew(data_dir, monkeypatch):
    write_mnist(data_dir)
    assert load_dataset("mnist_8").images["train"].shape[1] == 8
    datasets._load_cached.cache_clear()
    monkeypatch.setitem(DATASETS, "mnist_8", dataclasses.replace(DATASETS["mnist_8"], side=7))
    assert load_dataset("mnist_8").images["train"].shape[1] == 7


def test_ctrl_c_exits_with_130_and_a_sentence(data_dir, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.data.digits_builder.SklearnDigits.download_and_prepare", interrupted)
    assert data_cli.main(["prepare", "digits"]) == 130
    assert capsys.readouterr().err.startswith("Stopped")
    assert not any(data_dir.iterdir())
