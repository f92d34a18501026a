"""What docs/data.md shows is run, on data of its own; what is no data is refused in one sentence."""

import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tasks

from .test_datasets import write_mnist
from .test_extending import run

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "data.md").read_text()
FILES = dict(
    re.findall(r"^`(\w+\.py)`[^`]*?(?:`[^`]*`\.)?\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
)
NAMES = {
    "my_table.py": "my-table",
    "my_images.py": "my-images",
    "my_tfds.py": "my-tfds",
    "my_text.py": "my-text",
    "my_stream.py": "my-stream",
}
DRAWS = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("default_promotion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's files, and data for them."""
    path = tmp_path_factory.mktemp("data")
    place = 'os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")'
    assert place in FILES["my_tfds.py"]
    assert place in FILES["my_stream.py"]
    sizes = "rows=8192, held_out_rows=1024"
    assert sizes in FILES["my_stream.py"]
    for name, text in FILES.items():
        # The tests set TFDS_DATA_DIR themselves.
        text = text.replace("kmnist/3.0.1", "mnist/3.0.1").replace(place, repr(str(path / "tfds")))
        # A pool of more rows than a batch: the contract tests tell them apart by their shapes.
        (path / name).write_text(text.replace(sizes, "rows=40, held_out_rows=4"))
    for label, mean in {"cats": 80, "dogs": 160}.items():
        (path / "my-images" / label).mkdir(parents=True)
        for at in range(30):
            pixels = np.clip(DRAWS.normal(mean, 20, (20, 30)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path / "my-images" / label / f"{at}.png")
    words = DRAWS.choice(["lorem ", "ipsum ", "dolor ", "sit\n"], 1000)
    (path / "my-text.txt").write_text("".join(words))
    write_mnist(path / "tfds")
    return path


@pytest.fixture
def registry(monkeypatch, folder):
    """A registry that is forgotten, in that folder."""
    before = dict(tasks.TASKS)
    monkeypatch.chdir(folder)
    yield
    tasks.TASKS.clear()
    tasks.TASKS.update(before)


def test_the_page_has_a_file_of_each_kind():
    assert FILES.keys() == NAMES.keys()
    assert all(f"`{split}`" in PAGE for split in tasks.SPLITS)


@pytest.mark.parametrize("file", NAMES)
def test_its_tasks_have_four_splits_with_data_of_their_own(file, registry, folder):
    exec((folder / file).read_text(), {})
    task, key = tasks.build(NAMES[file]), jax.random.key(0)
    instance = task.sample(key)
    batches = [task.batch(instance, key, split) for split in tasks.SPLITS]
    assert len({np.asarray(batch.inputs).tobytes() for batch in batches}) == 4
    loss = task.loss(instance, task.init(instance, key), batches[0], key)
    assert np.isfinite(loss)
    assert loss < task.ceiling


@pytest.mark.slow
def test_its_tasks_pass_the_contract_tests_and_can_be_trained_on(folder):
    plugins = [part for file in NAMES for part in ("-p", file.removesuffix(".py"))]
    options = [
        "-p",
        "no:cacheprovider",
        "-q",
        "--rootdir",
        str(ROOT),
        str(ROOT / "tests/test_task_contract.py"),
    ]
    said = run([sys.executable, "-m", "pytest", *plugins, *options, "-k", "my-"], folder)
    assert re.search(r"\d{2} passed", said)
    (command,) = re.findall(r"^lopt-train .*$", PAGE, re.MULTILINE)
    run(
        [*command.split(), "--steps", "2", "--particles", "2", "--reference-rates", "0", "--no-progress"],
        folder,
    )


# --- the functions ---------------------------------------------------------------------------------------


def test_images_are_split_once_and_standardised():
    images = DRAWS.integers(0, 256, (100, 5, 4), dtype=np.uint8)
    data = tasks.make_dataset(images, np.arange(100) % 3)
    assert [data.size(split) for split in tasks.SPLITS] == [72, 9, 9, 10]
    assert data.num_classes == 3
    found = np.concatenate([np.asarray(data.images[split]) for split in tasks.SPLITS])
    assert found.shape == (100, 5, 4, 1)
    assert sorted(map(bytes, found)) == sorted(map(bytes, images))
    np.testing.assert_allclose(data.mean, np.mean(np.asarray(data.images["train"]) / 255), rtol=1e-6)


def test_a_test_split_of_ones_own_is_kept():
    images = DRAWS.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    data = tasks.make_dataset(images[:30], np.zeros(30, int), test=(images[30:], np.ones(10, int)))
    np.testing.assert_array_equal(data.images["test"], images[30:])
    assert data.num_classes == 2


IMAGES, LABELS = np.zeros((40, 2, 2), np.uint8), np.zeros(40, int)
TABLE, CLASSES = DRAWS.normal(size=(60, 2)), np.zeros(60, int)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tasks.make_dataset(IMAGES / 255, LABELS), "images are uint8 .* these are float64"),
        (lambda: tasks.make_dataset(IMAGES, LABELS[1:]), "labels are 40 integers"),
        (lambda: tasks.make_dataset(IMAGES, LABELS - 1), "labels are classes from 0 on, and one is -1"),
        (lambda: tasks.make_dataset(IMAGES[:4], LABELS[:4]), "4 images are too few for four splits"),
        (lambda: tasks.make_dataset(IMAGES, LABELS, (IMAGES[:, :1], LABELS)), "the test images have"),
        (lambda: tasks.make_table(TABLE[0], CLASSES), r"inputs \[rows, columns\]"),
        (lambda: tasks.make_table(np.where(TABLE > 2, np.nan, TABLE), CLASSES), "finite numbers"),
        (lambda: tasks.make_table(TABLE[:9], CLASSES[:9]), "9 rows are too few"),
        (lambda: tasks.make_table(TABLE, CLASSES - 1), "integer targets are classes from 0 on"),
        (lambda: tasks.make_text("too short"), "the texts are too short"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(tasks.UsageError, match=sentence) as raised:
        make()
    assert "\n" not in str(raised.value)


class NoLoss(tasks.Task):
    def sample(self, key):
        return ()


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (NoLoss, "lacks batch, ceiling, init, loss"),
        (int, "is not a Task"),
        (3, "is not a function without arguments that returns a Task: 3"),
        (lambda size: None, "must take no arguments"),
    ],
)
def test_what_is_no_task_is_not_registered(thing, sentence):
    with pytest.raises(tasks.UsageError, match=f"the object registered as task 'mine' {sentence}") as raised:
        tasks.register("mine")(thing)
    assert "\n" not in str(raised.value)
    assert "mine" not in tasks.TASKS
