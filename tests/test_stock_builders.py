"""TFDS's stock builders run end to end: from the makers' archives to data on the device."""

import sys
from collections import Counter

import numpy as np
import pytest

import tasks
from tasks import SPLITS, load_corpus, load_dataset
from tasks.data import data_cli
from tasks.data.catalogue import DATASETS
from tasks.data.image_forms import in_form
from tasks.data.symbols import encode

from .stock_archives import install_tensorflow, write_archives

IMAGES = [name for name, entry in DATASETS.items() if entry.kind == "images" and not entry.local]
TEXTS = [name for name, entry in DATASETS.items() if entry.kind == "text"]


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A function that writes a data set's archives to the place where TFDS looks for them."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    install_tensorflow(monkeypatch)
    return lambda name: write_archives(DATASETS[name].builder, tmp_path / "downloads" / "manual", monkeypatch)


def rows(images, labels):
    return Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


# One name for each way of reading, and one in each form; the others are made of the same files.
@pytest.mark.parametrize("name", [name for name in IMAGES if name not in ("mnist_8", "svhn_8", "cifar10_8")])
def test_images_are_those_of_the_archives_in_their_form(name, archives, monkeypatch, capsys):
    entry = DATASETS[name]
    made = archives(name)
    assert data_cli.main(["prepare", name]) == 0
    assert f"{name} is ready in" in capsys.readouterr().out
    if entry.streaming is None:
        # It is read from its own files: neither TFDS nor TensorFlow is needed any more.
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        monkeypatch.setitem(sys.modules, "tensorflow", None)
    data = load_dataset(name)
    found = {split: rows(np.asarray(data.images[split]), data.labels[split]) for split in SPLITS}
    expected = {split: rows(in_form(x, entry.side, entry.grey), y) for split, (x, y) in made.items()}
    assert found["train"] + found["inner_valid"] + found["outer_valid"] == expected["train"]
    assert found["test"] == expected[entry.parts.test.whole]
    side, colours = entry.side or int("".join(filter(str.isdigit, name)) or 32), 3
    if "mnist" in name:
        side, colours = entry.side or 28, 1
    side = 32 if name in ("cifar10", "cifar100", "cifar10_grey") else side
    assert data.images["train"].shape == (16, side, side, 1 if entry.grey else colours)
    assert data.num_classes == {"cifar100": 100}.get(name, 1000 if "imagenet" in name else 10)
    scaled = np.asarray(data.images["train"], np.float64) / 255
    assert (data.mean, data.std) == (pytest.approx(scaled.mean()), pytest.approx(scaled.std()))
    assert (data.stream is None) == (name != "imagenet64")
    if name == "imagenet64":
        assert tasks.build("imagenet64-conv").dataset is data


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_those_of_the_archives(name, archives, monkeypatch):
    made = archives(name)
    assert data_cli.main(["prepare", name]) == 0
    text = load_corpus(name)
    symbols = {split: np.asarray(text.symbols[split]) for split in SPLITS}
    assert all(part.dtype == np.uint8 and part.max() < 64 for part in symbols.values())
    if DATASETS[name].streaming is not None:
        assert text.stream is not None
        assert tasks.build(f"{name}-transformer").text is text
        return  # what is on the device is a part, repeated: test_sources.py
    assert text.stream is None
    joined = [np.concatenate([encode(line + "\n") for line in lines]) for lines in made.values()]
    assert Counter(np.concatenate(list(symbols.values())).tolist()) == Counter(
        np.concatenate(joined).tolist()
    )
    if name == "tiny_shakespeare":
        np.testing.assert_array_equal(symbols["train"], joined[0])
        np.testing.assert_array_equal(
            np.concatenate([symbols["inner_valid"], symbols["outer_valid"]]), joined[1]
        )


def test_resized_images_are_means_of_areas_and_grey_ones_weigh_the_colours():
    ramp = np.arange(36, dtype=np.uint8).reshape(1, 6, 6, 1)
    np.testing.assert_array_equal(in_form(ramp, 3, False)[0, 0, :, 0], [4, 6, 8])  # 3.5, 5.5, 7.5: to even
    whole = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    np.testing.assert_allclose(in_form(whole, 8, False).mean((1, 2)), whole.mean((1, 2)), atol=0.5)
    np.testing.assert_array_equal(in_form(np.full_like(whole, 77), 8, True), np.full((3, 8, 8, 1), 77))
    red = np.array([255, 0, 0], np.uint8).reshape(1, 1, 1, 3)
    assert in_form(red, None, True).tolist() == [[[[76]]]]


@pytest.mark.parametrize(("task", "name"), [("imagenet64-conv", "imagenet64"), ("lm1b-gru", "lm1b")])
def test_a_task_without_its_data_names_them_the_directories_and_the_command(
    task, name, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(tasks.DatasetNotPreparedError) as raised:
        tasks.build(task)
    said = str(raised.value)
    assert said.startswith(
        f"data set {name!r} is not prepared, neither in {tmp_path} nor in {tmp_path}/array_record"
    )
    assert f"`lopt-data prepare {name}`" in said


def test_a_text_is_no_image_and_the_other_way_round():
    with pytest.raises(ValueError, match=r"'imdb' is a text: read it with `tasks.load_corpus\('imdb'\)`"):
        load_dataset("imdb")
    with pytest.raises(ValueError, match="'svhn' consists of images"):
        load_corpus("svhn")
