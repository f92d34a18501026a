"""Archives as the makers of the data sets publish them, with a few random examples of full shape.

TFDS's stock builders read them like the real ones, with TensorFlow or with a stand-in for the four functions
of it that they call.
"""

import gzip
import importlib.util
import io
import os
import tarfile
import zipfile
from glob import glob
from types import SimpleNamespace

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.features import image_feature
from tensorflow_datasets.core.utils import lazy_imports_utils
from tensorflow_datasets.image_classification import mnist

TRAIN, TEST = 20, 6


def install_tensorflow(monkeypatch):
    """Let the stock builders run: with TensorFlow if it is installed, else with a stand-in."""
    find = importlib.util.find_spec
    if find("tensorflow") is not None:
        return
    known = lambda name, *package: object() if name == "tensorflow" else find(name, *package)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", known)
    gfile = SimpleNamespace(GFile=open, glob=glob, isdir=os.path.isdir)
    # TFDS's own name for TensorFlow, which imports it when it is used.
    lazy = vars(lazy_imports_utils.tensorflow)
    monkeypatch.setitem(lazy, "io", SimpleNamespace(gfile=gfile))
    monkeypatch.setitem(lazy, "compat", SimpleNamespace(as_text=str, as_bytes=_bytes))
    monkeypatch.setattr(image_feature._ImageEncoder, "_encode_image", lambda _, pixels: _png(pixels))


def write_archives(name, folder, monkeypatch):
    """Write the archives of a builder; return what they hold, by TFDS's split.

    Args:
        name: the builder's name and configuration in TFDS.
        folder: where TFDS looks for archives that were downloaded by hand.
        monkeypatch: lets TFDS accept other checksums than the real ones.
    """
    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "_register_or_validate_checksums", lambda *_, **__: None)
    folder.mkdir(parents=True)
    builder, _, config = name.partition("/")
    if builder in ("mnist", "fashion_mnist"):
        monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", TRAIN)
        monkeypatch.setattr(mnist, "_TEST_EXAMPLES", TEST)
        return _mnist(folder)
    writers = {"imagenet_resized": lambda folder: _imagenet(folder, int(config.partition("x")[0]))}
    writers |= {"cifar10": _cifar10, "cifar100": _cifar100, "svhn_cropped": _svhn}
    writers |= {"tiny_shakespeare": _shakespeare, "lm1b": _lm1b, "imdb_reviews": _imdb}
    return writers[builder](folder)


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
    return file.getvalue()


def _draw(shape, classes, seed, count):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, classes, count)


def _both(shape, classes, test="test"):
    return {"train": _draw(shape, classes, 0, TRAIN), test: _draw(shape, classes, 1, TEST)}


def _tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _mnist(folder):
    made = _both((28, 28, 1), 10)
    for prefix, (images, labels) in {"train": made["train"], "t10k": made["test"]}.items():
        image_file, label_file = f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"
        (folder / image_file).write_bytes(gzip.compress(bytes(16) + images.tobytes()))
        (folder / label_file).write_bytes(gzip.compress(bytes(8) + labels.astype(np.uint8).tobytes()))
    return made


def _planes(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _cifar10(folder):
    made = _both((32, 32, 3), 10)
    rows = {s: np.column_stack([y, _planes(x)]).astype(np.uint8) for s, (x, y) in made.items()}
    names = "\n".join(f"class {n}" for n in range(10)).encode()
    files = {"batches.meta.txt": names, "test_batch.bin": rows["test"].tobytes()}
    files |= {f"data_batch_{n + 1}.bin": part.tobytes() for n, part in enumerate(np.split(rows["train"], 5))}
    _tar(folder / "cifar-10-binary.tar.gz", {f"cifar-10-batches-bin/{n}": f for n, f in files.items()})
    return made


def _cifar100(folder):
    made = _both((32, 32, 3), 100)
    rows = {s: np.column_stack([y // 5, y, _planes(x)]).astype(np.uint8) for s, (x, y) in made.items()}
    names = {"coarse": 20, "fine": 100}
    files = {f"{k}_label_names.txt": "\n".join(f"c{i}" for i in range(n)).encode() for k, n in names.items()}
    files |= {f"{split}.bin": its.tobytes() for split, its in rows.items()}
    _tar(folder / "cifar-100-binary.tar.gz", {f"cifar-100-binary/{n}": f for n, f in files.items()})
    return made


def _svhn(folder):
    made = _both((32, 32, 3), 10) | {"extra": _draw((32, 32, 3), 10, 2, 3)}
    for split, (images, labels) in made.items():
        ones = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": ones})
    return made


def _imagenet(folder, side):
    made = _both((side, side, 3), 1000, test="validation")
    halves = {"train_part1": slice(0, 9), "train_part2": slice(9, None)}
    parts = {"train": slice(None)} if side < 64 else halves
    files = {f"{part}_npz": (made["train"], its) for part, its in parts.items()}
    for name, ((images, labels), its) in (files | {"val_npz": (made["validation"], slice(None))}).items():
        content = io.BytesIO()
        np.savez(content, data=_planes(images)[its], labels=labels[its] + 1)
        with zipfile.ZipFile(folder / f"Imagenet{side}_{name}.zip", "w") as archive:
            archive.writestr(f"{name}_batch.npz", content.getvalue())
    return made


def _sentences(count, seed):
    words = ["to be", "or not", "The question", "whether", "'tis nobler", "in the mind, to suffer"]
    draws = np.random.default_rng(seed)
    return [f"{n} {' '.join(draws.choice(words, 5))} ." for n in range(count)]


def _shakespeare(folder):
    text = "\n".join(_sentences(100, 0))
    (folder / "input.txt").write_text(text)
    nine = int(len(text) * 0.9)
    middle = nine + int((len(text) - nine) * 0.5)
    return {"train": [text[:nine]], "validation": [text[nine:middle]], "test": [text[middle:]]}


def _lm1b(folder):
    made = {"train": _sentences(60, 0), "test": _sentences(30, 1)}
    top = "1-billion-word-language-modeling-benchmark-r13output"
    path = {
        "train": "training-monolingual.tokenized.shuffled/news.en-00001-of-00100",
        "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050",
    }
    files = {f"{top}/{path[split]}": "\n".join(lines).encode() for split, lines in made.items()}
    _tar(folder / f"{top}.tar.gz", files)
    return made


def _imdb(folder):
    made = {"train": _sentences(30, 0), "test": _sentences(30, 1)}
    files = {
        f"aclImdb/{split}/{('neg', 'pos')[n % 2]}/{n}_1.txt": line.encode()
        for split, lines in made.items()
        for n, line in enumerate(lines)
    }
    _tar(folder / "aclImdb_v1.tar.gz", files | {"aclImdb/train/unsup/0_0.txt": b"nobody said"})
    return made
