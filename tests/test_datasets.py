"""Promises of tasks/data/datasets.py: what is read is the data, all of it, once, and cheaply."""

import io
import itertools
import json
import shutil
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.datasets import load_digits

from tasks import SPLITS, Dataset, DatasetNotPreparedError, load_dataset
from tasks.data import datasets, digits_builder, prepared

MNIST_COUNTS = {"train": 50, "test": 10}
DIGITS_PATH = "sklearn_digits/1.0.0"
TRAIN_CRC = 2883690774


@pytest.fixture(autouse=True)
def private_data_dir(tmp_path, monkeypatch):
    """Keep every test away from the user's own data."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))


@pytest.fixture(scope="module")
def digits_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits")
    digits_builder.prepare_digits(path)
    return path


@pytest.fixture
def digits_copy(digits_dir, tmp_path):
    """A prepared directory that a test may damage, and that no cache knows."""
    shutil.copytree(digits_dir, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def digits(digits_dir):
    return load_dataset("digits", digits_dir)


def mnist_arrays():
    """Images and labels of a miniature MNIST: 28 x 28 noise."""
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8), np.arange(n) % 10)
        for split, n in MNIST_COUNTS.items()
    }


def write_mnist(data_dir: Path) -> Path:
    """Prepare the miniature MNIST as TFDS lays out the real one, without TensorFlow."""

    class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("3.0.1")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(*arrays) for split, arrays in mnist_arrays().items()}

        def _generate_examples(self, images, labels):
            for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                png = io.BytesIO()
                Image.fromarray(image[..., 0]).save(png, format="PNG")
                png.seek(0)
                yield row, {"image": png, "label": int(label)}

    builder = Mnist(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return data_dir / "mnist" / "3.0.1"


def edit_info(path: Path, **changes) -> None:
    """Change fields of a prepared directory's metadata."""
    file = path / "dataset_info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def multiset(images, labels):
    """The examples as a sorted list of (pixels, label): equal if and only if equal as multisets."""
    rows = zip(np.asarray(images), np.asarray(labels), strict=True)
    return sorted((image.tobytes(), int(label)) for image, label in rows)


def test_the_splits_hold_every_digit_of_scikit_learn_exactly_once(digits):
    pixels, labels = load_digits(return_X_y=True)
    expected = multiset(np.round(pixels * 255 / 16).astype(np.uint8), labels)
    found = [multiset(digits.images[split], digits.labels[split]) for split in SPLITS]
    # Equal multisets, and scikit-learn's digits are all different: so the splits are disjoint as well.
    assert sorted(itertools.chain(*found)) == expected
    assert len(set(expected)) == 1797
    assert [digits.size(split) for split in SPLITS] == [1150, 143, 144, 360]
    assert digits.images["train"].shape == (1150, 8, 8, 1)
    assert digits.images["train"].dtype == jnp.uint8
    assert digits.labels["test"].dtype == jnp.int32
    assert digits.num_classes == 10


def test_the_test_split_of_digits_is_stratified(digits):
    everything = np.bincount(load_digits(return_X_y=True)[1])
    drawn = np.bincount(digits.labels["test"])
    assert np.all(np.abs(drawn - everything * 360 / 1797) < 1)


def test_a_second_preparation_gives_the_same_order_without_network_or_tensorflow(
    digits, tmp_path, monkeypatch
):
    def no_network(*_):
        raise AssertionError("preparing digits opened a connection")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    again = load_dataset("digits", tmp_path / "elsewhere")
    assert again is not digits
    for split in SPLITS:
        np.testing.assert_array_equal(again.images[split], digits.images[split])
        np.testing.assert_array_equal(again.labels[split], digits.labels[split])
    # On every machine too: a changed order changes every benchmark.
    assert zlib.crc32(np.asarray(again.images["train"]).tobytes()) == TRAIN_CRC
    assert "tensorflow" not in sys.modules


def test_mean_and_std_are_those_of_the_scaled_train_pixels(digits):
    scaled = np.asarray(digits.images["train"], dtype=np.float64) / 255
    assert digits.mean == pytest.approx(scaled.mean(), rel=1e-12)
    assert digits.std == pytest.approx(scaled.std(), rel=1e-12)


@pytest.mark.parametrize("split", SPLITS)
def test_a_batch_holds_standardised_examples_of_its_split_with_their_labels(digits, split):
    images, labels = digits.batch(jax.random.key(0), split, 4000)
    assert images.shape == (4000, 8, 8, 1)
    assert (images.dtype, labels.dtype) == (jnp.float32, jnp.int32)
    assert abs(float(images.mean())) < 0.02
    assert abs(float(images.std()) - 1) < 0.02
    pixels = np.rint((np.asarray(images, np.float64) * digits.std + digits.mean) * 255).astype(np.uint8)
    drawn = set(multiset(pixels, labels))
    # 4000 draws from at most 1150 examples miss 3 per cent of them at most; and none comes from elsewhere.
    members = set(multiset(digits.images[split], digits.labels[split]))
    assert drawn <= members
    assert len(drawn) > 0.9 * len(members)


def test_batches_of_mapped_keys_equal_those_of_single_keys(digits):
    keys = jax.random.split(jax.random.key(1), 3)
    images, labels = jax.jit(jax.vmap(lambda key: digits.batch(key, "train", 5)))(keys)
    for row, key in enumerate(keys):
        alone = digits.batch(key, "train", 5)
        np.testing.assert_allclose(images[row], alone[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(labels[row], alone[1])
    assert not np.array_equal(images[0], images[1])


def test_mapping_over_keys_copies_neither_the_dataset_nor_a_float_version_of_it():
    n = 20_000
    images = {"train": jnp.zeros((n, 28, 28, 1), jnp.uint8)}
    data = Dataset(
        images, {"train": jnp.zeros(n, jnp.int32)}, name="zeros", num_classes=10, mean=0.0, std=1.0
    )

    def total(data, key):
        def step(carry, step_key):
            drawn, labels = data.batch(step_key, "train", 8)
            return carry + drawn.sum() + labels.sum().astype(jnp.float32), None

        return jax.lax.scan(step, jnp.float32(0), jax.random.split(key, 10))[0]

    keys = jax.random.split(jax.random.key(0), 16)
    compiled = jax.jit(jax.vmap(total, in_axes=(None, 0))).lower(data, keys).compile()
    batches = 16 * 8 * 28 * 28 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * batches  # 1.2 MB; the data are 15.7 MB.


def test_loading_is_cached_by_directory_and_honours_the_environment(digits, digits_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_dir))
    assert load_dataset("digits") is digits
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    assert prepared.resolve_data_dir() == Path("~/tensorflow_datasets").expanduser().resolve()


def test_a_dataset_first_loaded_inside_jit_is_usable_outside(digits_copy):
    inside = jax.jit(lambda: load_dataset("digits", digits_copy).labels["test"].sum())()
    assert int(inside) == int(load_dataset("digits", digits_copy).labels["test"].sum())


def test_a_stock_dataset_is_read_from_its_prepared_directory(tmp_path):
    write_mnist(tmp_path)
    mnist = load_dataset("mnist", tmp_path)
    assert [mnist.size(split) for split in SPLITS] == [40, 5, 5, 10]
    stored = mnist_arrays()
    train = [multiset(mnist.images[split], mnist.labels[split]) for split in SPLITS[:3]]
    assert sorted(itertools.chain(*train)) == multiset(*stored["train"])
    assert multiset(mnist.images["test"], mnist.labels["test"]) == multiset(*stored["test"])
    assert mnist.images["train"].shape == (40, 28, 28, 1)
    assert mnist.num_classes == 10


def test_a_directory_that_holds_other_than_its_metadata_promises_is_refused(digits_copy):
    info = json.loads((digits_copy / DIGITS_PATH / "dataset_info.json").read_text())
    for split in info["splits"]:
        if split["name"] == "test":
            split["shardLengths"] = ["400"]
    edit_info(digits_copy / DIGITS_PATH, splits=info["splits"])
    with pytest.raises(DatasetNotPreparedError, match=r"damaged.*delete that directory"):
        load_dataset("digits", digits_copy)


@pytest.mark.parametrize("harm", ["truncated", "no features", "no metadata"])
def test_a_damaged_directory_gives_one_error(digits_copy, harm):
    path = digits_copy / DIGITS_PATH
    if harm == "truncated":
        (record,) = path.glob("*-train.array_record-*")
        record.write_bytes(record.read_bytes()[:100_000])
    elif harm == "no features":
        (path / "features.json").unlink()
    else:
        (path / "dataset_info.json").write_text("{")
    with pytest.raises(DatasetNotPreparedError, match=r"damaged.*delete that directory"):
        load_dataset("digits", digits_copy)


def test_an_unprepared_dataset_names_the_directory_and_the_command(tmp_path):
    with pytest.raises(DatasetNotPreparedError) as caught:
        load_dataset("mnist", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "`lopt-data prepare mnist`" in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_a_tfrecord_directory_gets_its_own_message_until_array_record_lies_beside_it(tmp_path):
    path = write_mnist(tmp_path)
    shutil.copytree(path, tmp_path / "array_record" / "mnist" / "3.0.1")
    edit_info(path, fileFormat="tfrecord")
    assert prepared.find_prepared("mnist", tmp_path) == (tmp_path / "array_record/mnist/3.0.1", True)
    assert load_dataset("mnist", tmp_path).size("test") == 10
    (tmp_path / "array_record").rename(tmp_path / "away")
    shutil.rmtree(tmp_path / "lopt")
    datasets._load_cached.cache_clear()
    with pytest.raises(
        DatasetNotPreparedError, match=r"tfrecord.*without TensorFlow.*lopt-data prepare mnist"
    ):
        load_dataset("mnist", tmp_path)


def test_a_missing_package_gives_the_pip_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match="`pip install tensorflow-datasets`"):
        load_dataset("digits", tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match="`pip install tensorflow-datasets pillow`"):
        load_dataset("mnist", tmp_path)


def test_an_unknown_dataset_gets_the_nearest_name():
    with pytest.raises(ValueError, match="'fasion_mnist': did you mean 'fashion_mnist'"):
        load_dataset("fasion_mnist")
    with pytest.raises(ValueError, match="choose one of digits, mnist, mnist_8, fashion_mnist"):
        load_dataset("???")


def test_an_unwritable_directory_is_one_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetNotPreparedError, match=r"cannot prepare .*file.*set TFDS_DATA_DIR"):
        load_dataset("digits", tmp_path / "file")


def test_the_loser_of_a_race_uses_the_winners_directory(digits_dir, tmp_path, monkeypatch):
    prepare = digits_builder.SklearnDigits.download_and_prepare

    def overtaken(self, **options):
        prepare(self, **options)
        shutil.copytree(digits_dir, tmp_path, dirs_exist_ok=True)  # Another process gets there first.
        (tmp_path / DIGITS_PATH / "winner").touch()

    monkeypatch.setattr(digits_builder.SklearnDigits, "download_and_prepare", overtaken)
    assert (digits_builder.prepare_digits(tmp_path) / "winner").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sklearn_digits"]


def test_two_processes_may_prepare_at_the_same_moment(digits, tmp_path):
    # The builder by itself: importing the package would load JAX, twice.
    script = (
        "import sys, time, pathlib\n"
        "sys.path.append(sys.argv[1])\n"
        "import sklearn.datasets, digits_builder\n"
        "root = pathlib.Path(sys.argv[2])\n"
        "(root / sys.argv[3]).touch()\n"
        "while not (root / 'go').exists(): time.sleep(0.005)\n"
        "print(digits_builder.prepare_digits(root / 'data'))\n"
    )
    folder = str(Path(digits_builder.__file__).parent)
    command = [sys.executable, "-c", script, folder, str(tmp_path)]
    processes = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in "ab") and time.monotonic() < deadline:
        time.sleep(0.02)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1] == f"{tmp_path / 'data' / DIGITS_PATH}\n"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sklearn_digits"]
    raced = load_dataset("digits", tmp_path / "data")
    np.testing.assert_array_equal(raced.images["train"], digits.images["train"])
