"""The TFDS builder of scikit-learn's handwritten digits, and its race-free preparation.

Importing this module imports tensorflow-datasets (not TensorFlow), so import it inside functions.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8

_TEST_SIZE = 360
_SEED = 0

_DESCRIPTION = """\
The 1797 handwritten digits of 8 x 8 pixels that ship with scikit-learn: the test part of the UCI data set
"Optical Recognition of Handwritten Digits". Pixels, integers 0..16 in the source, are stored as
round(x * 255 / 16) in uint8. The source has one part only; "train" (1437) and "test" (360) are a fixed,
seeded, stratified permutation of it.
"""

_CITATION = """\
@misc{alpaydin1998optical,
  title={Optical Recognition of Handwritten Digits},
  author={Alpaydin, Ethem and Kaynak, Cenk},
  year={1998},
  publisher={UCI Machine Learning Repository},
  doi={10.24432/C50P49}
}
"""


class SklearnDigits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits, prepared from the copy inside scikit-learn: no download, no TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        # Tensor instead of Image, because encoding an Image needs TensorFlow, and decoding one needs Pillow.
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=features,
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        from sklearn.datasets import load_digits

        pixels, labels = map(np.asarray, load_digits(return_X_y=True))
        images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        train, test = stratified_split(labels, _TEST_SIZE, _SEED)
        return {
            "train": self._generate_examples(images, labels, train),
            "test": self._generate_examples(images, labels, test),
        }

    def _generate_examples(
        self, images: UInt8[np.ndarray, "n 8 8 1"], labels: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        # TFDS orders examples by a hash of their key; with the row number as key the order is reproducible.
        for row in rows.tolist():
            yield row, {"image": images[row], "label": int(labels[row])}


def stratified_split(
    labels: Int[np.ndarray, " n"], test_size: int, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Split row numbers into train and test, with every class in proportion up to one example.

    Args:
        labels: class of each row.
        test_size: number of rows to put into the test part.
        seed: seed of the permutation; the same seed gives the same split on every machine.

    Returns:
        Sorted row numbers of the train part (n - test_size) and of the test part (test_size).
    """
    # RandomState, because numpy guarantees its stream permanently; that of default_rng may change.
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Evenly spaced rows of a list sorted by class contain each class in proportion.
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[by_class[np.arange(test_size) * len(labels) // test_size]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def prepare_digits(data_dir: Path) -> Path:
    """Prepare the digits under `data_dir`; several processes may do so at the same time.

    Args:
        data_dir: the TFDS root directory, created if necessary.

    Returns:
        The prepared directory, `data_dir`/sklearn_digits/<version>.

    Raises:
        OSError: if the directory cannot be written, or exists and is not a prepared data set.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    prepared = data_dir / SklearnDigits.name / str(SklearnDigits.VERSION)
    # Next to the final directory, because a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{SklearnDigits.name}-", dir=data_dir) as scratch:
        builder = SklearnDigits(data_dir=scratch, file_format="array_record")
        # TFDS prints a banner and progress bars, which are not useful for a second's work.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        prepared.parent.mkdir(exist_ok=True)
        try:
            os.rename(builder.data_dir, prepared)
        except OSError:
            # Another process was first; its directory has the same contents, so use that.
            if not (prepared / "dataset_info.json").is_file():
                raise
    return prepared
