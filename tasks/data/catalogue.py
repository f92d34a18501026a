"""The data sets that lopt prepares: where each is in TFDS, and in which form it is kept.

Needs neither JAX nor TFDS.
"""

import dataclasses
import difflib
from typing import Any, Literal, NamedTuple

from ..errors import UsageError

Split = Literal["train", "inner_valid", "outer_valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "inner_valid", "outer_valid", "test")


class UnknownDatasetError(UsageError):
    """There is no data set of that name."""


class Part(NamedTuple):
    """A part of a split of TFDS, from its beginning to its end in percent."""

    whole: str
    low: int = 0
    high: int = 100

    @property
    def instruction(self) -> str:
        """The part in TFDS's notation."""
        return f"{self.whole}[{self.low}%:{self.high}%]"


class Parts(NamedTuple):
    """What each of our splits is made of.

    `train` is for inner training, `inner_valid` for the meta-objective, `outer_valid` for choices about
    theta, and `test` for reports only.
    """

    train: Part = Part("train", 0, 80)
    inner_valid: Part = Part("train", 80, 90)
    outer_valid: Part = Part("train", 90, 100)
    test: Part = Part("test")

    def of(self, split: Split) -> Part:
        """Return the part of a split."""
        return getattr(self, split)


class Streaming(NamedTuple):
    """How a data set that does not fit on the device is streamed."""

    rows: int
    """Examples of the train split on the device at a time."""
    held_out_rows: int
    """Examples of each of the other splits, which stay the same."""
    every: int
    """Meta-steps until the next rows."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A data set: its place in TFDS, and the form in which it is kept.

    Attributes:
        builder: its name in TFDS, with the configuration: `imagenet_resized/16x16`.
        version: the version that is read; pinned, so that results stay comparable.
        kind: uint8 images with labels, or text as symbols of `text.ALPHABET`.
        side: height and width to which images are resized, in pixels; None keeps theirs.
        grey: whether colour images become grey.
        parts: which parts of TFDS's splits are ours: of examples, and of characters in a text.
        streaming: how it is streamed; None if it is kept on the device.
        local: whether it is prepared on first use, without a network.
    """

    builder: str
    version: str
    kind: Literal["images", "text"] = "images"
    side: int | None = None
    grey: bool = False
    parts: Parts = Parts()
    streaming: Streaming | None = None
    local: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """The importable modules for reading it."""
        needed = ("tensorflow_datasets", "array_record", "importlib_resources")
        return needed if self.local or self.kind == "text" else (*needed, "PIL")

    @property
    def form(self) -> dict[str, Any]:
        """What decides the arrays that are kept, in JSON's types."""
        decisive = ("builder", "version", "kind", "side", "grey")
        parts = {split: list(self.parts.of(split)) for split in SPLITS}
        return {name: getattr(self, name) for name in decisive} | {"parts": parts}


_IMAGENET = Parts(test=Part("validation"))
_MNIST, _FASHION = Entry("mnist", "3.0.1"), Entry("fashion_mnist", "3.0.1")
_CIFAR10, _SVHN = Entry("cifar10", "3.0.2"), Entry("svhn_cropped", "3.1.0")


def _imagenet(side: int, streaming: Streaming | None = None) -> Entry:
    return Entry(f"imagenet_resized/{side}x{side}", "0.1.0", parts=_IMAGENET, streaming=streaming)


DATASETS: dict[str, Entry] = {
    "digits": Entry("sklearn_digits", "1.0.0", local=True),
    "mnist": _MNIST,
    "mnist_8": dataclasses.replace(_MNIST, side=8),
    "fashion_mnist": _FASHION,
    "fashion_mnist_8": dataclasses.replace(_FASHION, side=8),
    "cifar10": _CIFAR10,
    "cifar10_8": dataclasses.replace(_CIFAR10, side=8),
    "cifar10_16": dataclasses.replace(_CIFAR10, side=16),
    "cifar10_grey": dataclasses.replace(_CIFAR10, grey=True),
    "cifar100": Entry("cifar100", "3.0.2"),
    "svhn": _SVHN,
    "svhn_8": dataclasses.replace(_SVHN, side=8),
    "imagenet16": _imagenet(16),
    "imagenet32": _imagenet(32),
    "imagenet64": _imagenet(64, Streaming(rows=8192, held_out_rows=1024, every=50)),
    "tiny_shakespeare": Entry(
        "tiny_shakespeare",
        "1.0.0",
        kind="text",
        parts=Parts(Part("train"), Part("validation", 0, 50), Part("validation", 50, 100)),
    ),
    "imdb": Entry("imdb_reviews/plain_text", "1.0.0", kind="text"),
    "lm1b": Entry("lm1b", "1.1.0", kind="text", streaming=Streaming(rows=8192, held_out_rows=1024, every=50)),
}
"""The data sets by name. The names with a side in pixels are made of the same files as those without."""


def find_entry(name: str) -> Entry:
    """Look up a data set by name; raise `UnknownDatasetError` with the nearest names if there is none."""
    if name in DATASETS:
        return DATASETS[name]
    nearest = " or ".join(repr(near) for near in difflib.get_close_matches(name, DATASETS))
    hint = f"did you mean {nearest}?" if nearest else f"choose one of {', '.join(DATASETS)}."
    raise UnknownDatasetError(f"unknown data set {name!r}: {hint}")
