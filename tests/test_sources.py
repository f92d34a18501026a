"""Streamed rows are a pure function of their turn, each is seen once an epoch, and few are read at a time."""

import gc
import weakref
import zlib

import jax
import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

import tasks
from tasks.data.permutation import permuted, rows_of_turn
from tasks.data.symbols import ALPHABET, encode

from .test_datasets import mnist_arrays, multiset, write_mnist

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.integers(0, 256, (60, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(60, dtype=np.int32) % 3


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    return write_mnist(tmp_path_factory.mktemp("mnist"))


def source_of(images=IMAGES, labels=LABELS, rows=10, held_out_rows=4, **options):
    """A source of arrays: 40 rows train, of 60."""
    records = tasks.divide_records(tasks.Columns(images, labels))
    return tasks.RowSource(records, lambda record: record, rows, held_out_rows, **options)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 1000])
def test_the_order_is_a_permutation_and_another_one_for_another_seed(count):
    places = np.arange(count)
    one, other = permuted(places, count, 0), permuted(places, count, 1)
    np.testing.assert_array_equal(np.sort(one), places)
    if count > 10:
        assert np.mean(one == places) < 0.1
        assert np.mean(one == other) < 0.1
        # Neighbours are as far apart as two random numbers: a third of the whole on average.
        assert 0.2 < np.abs(np.diff(one)).mean() / count < 0.45


def test_the_order_is_the_same_on_every_machine():
    order = permuted(np.arange(12345), 12345, 3, 7)
    assert zlib.crc32(order.astype("<i8").tobytes()) == 3679198527


def test_every_row_is_seen_once_an_epoch_whatever_the_number_of_rows():
    turns = [rows_of_turn(21, 6, turn, seed=0) for turn in range(7)]
    seen = np.concatenate(turns)
    assert np.array_equal(np.sort(seen[:21]), np.arange(21))
    assert np.array_equal(np.sort(seen[21:]), np.arange(21))
    assert not np.array_equal(seen[:21], seen[21:])
    np.testing.assert_array_equal(turns[5], rows_of_turn(21, 6, 5, seed=0))


def test_turns_are_pure_and_their_splits_share_nothing():
    source, again = source_of(), source_of()
    turns = [source.rows("train", turn) for turn in range(5)]
    same(turns[3], again.rows("train", 3))
    same(turns[0], source.rows("train", 0))
    whole = multiset(IMAGES, LABELS)
    train = [multiset(*turn) for turn in turns[:4]]
    others = [multiset(*source_of(held_out_rows=99).rows(s, 0)) for s in tasks.SPLITS[1:]]
    assert [len(rows) for rows in others] == [5, 6, 6]
    held_out = sum(others, [])
    first_epoch = sum(train, [])
    assert len(first_epoch) == 40
    assert set(first_epoch) <= set(whole)
    assert not set(first_epoch) & set(held_out)
    assert turns[0][0].dtype == np.uint8
    assert turns[0][1].dtype == np.int32
    assert not np.array_equal(turns[0][0], turns[1][0])


def test_memory_mapped_arrays_are_read_by_row(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    same(source_of(images=mapped).rows("train", 2), source_of().rows("train", 2))


def test_a_directory_of_tfds_is_streamed(mnist):
    records = tasks.tfds_records(mnist)
    source = tasks.RowSource(records, lambda r: (r["image"], int(r["label"])), rows=20, held_out_rows=5)
    seen = multiset(*map(np.concatenate, zip(source.rows("train", 0), source.rows("train", 1), strict=True)))
    stored = mnist_arrays()
    assert len(set(seen)) == 40
    assert set(seen) < set(multiset(*stored["train"]))
    assert set(multiset(*source.rows("test", 0))) < set(multiset(*stored["test"]))
    data = tasks.stream_dataset(source, every=3, num_classes=10)
    assert data.stream == tasks.Stream(source, 3)
    assert [data.size(split) for split in tasks.SPLITS] == [20, 5, 5, 5]
    scaled = np.asarray(data.images["train"], np.float64) / 255
    assert data.mean == pytest.approx(scaled.mean(), rel=1e-9)


def test_array_record_files_are_streamed(tmp_path):
    path = str(tmp_path / "rows.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")
    for image, label in zip(IMAGES, LABELS, strict=True):
        writer.write(bytes([label]) + image.tobytes())
    writer.close()

    def decode(record):
        return np.frombuffer(record, np.uint8, offset=1).reshape(4, 4, 1), record[0]

    records = tasks.divide_records(ArrayRecordDataSource([path]))
    source = tasks.RowSource(records, decode, rows=10, held_out_rows=4)
    same(source.rows("train", 3), source_of().rows("train", 3))


def test_texts_are_joined_and_have_a_fixed_length():
    lines = [f"line {ALPHABET[3 + n % 26] * 5}" for n in range(60)]
    source = tasks.TextSource(tasks.divide_records(lines), str, rows=10, held_out_rows=2, symbols=95)
    (one,), (other,) = source.rows("train", 0), source.rows("train", 1)
    assert one.shape == other.shape == (95,)
    assert source.rows("test", 0)[0].shape == (19,)
    known = {encode(line + "\n").tobytes() for line in lines}
    assert {
        part + encode("\n").tobytes() for part in one.tobytes().split(encode("\n").tobytes())[:-1]
    } <= known
    longer = tasks.TextSource(tasks.divide_records(lines), str, rows=10, held_out_rows=2, symbols=250)
    (repeated,) = longer.rows("train", 0)
    np.testing.assert_array_equal(repeated[110:220], repeated[:110])  # ten lines of eleven symbols
    text = tasks.stream_text(source, every=4)
    assert text.batch(jax.random.key(0), "train", 3, 7).inputs.shape == (3, 7)


def test_few_records_are_in_memory_at_a_time():
    alive, most = weakref.WeakSet(), []

    class Record:
        pass

    class Many:
        def __len__(self):
            return 5000

        def __getitem__(self, number):
            record = Record()
            alive.add(record)
            return record

    def decode(record):
        most.append(len(alive))
        return np.zeros((2, 2, 1), np.uint8), 0

    gc.collect()
    source = tasks.RowSource(tasks.divide_records(Many()), decode, rows=3000, held_out_rows=1)
    assert source.rows("train", 0)[0].shape == (3000, 2, 2, 1)
    assert max(most) <= 2 * 256 + 1


def odd_shapes(record):
    image, label = record
    return image[: 2 + label], label


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: source_of(rows=49), r"the split train has 43 rows, and a pool of 49 can't be filled"),
        (lambda: source_of(rows=0), "a pool of 0 can't be filled"),
        (lambda: source_of(held_out_rows=0), "the split inner_valid has 5 rows, and a pool of 0"),
        (lambda: tasks.Columns(IMAGES, LABELS[1:]), "arrays of a stream have one length, .* 60, 59"),
        (lambda: tasks.Columns(), "these have none"),
        (
            lambda: tasks.RowSource(
                tasks.divide_records(tasks.Columns(IMAGES, LABELS)), odd_shapes, 9, 2
            ).rows("train", 0),
            r"rows of a pool have one shape, and these have \[2, 4, 1\] and \[3, 4, 1\]",
        ),
        (lambda: tasks.stream_dataset(source_of(IMAGES / 255), 3, 3), "images are uint8 .* float64"),
        (lambda: tasks.stream_dataset(source_of(labels=LABELS + 0.5), 3, 3), "labels are int32"),
        (lambda: tasks.stream_dataset(source_of(), 3, 2), "classes from 0 to 1, and one is 2"),
        (lambda: tasks.stream_dataset(source_of(), 0, 3), "exchanged every meta-step or less often, not"),
        (lambda: tasks.tfds_records("/nowhere/1.0.0"), "is not a directory that TFDS prepared"),
    ],
)
def test_what_can_not_be_streamed_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(tasks.UsageError, match=sentence) as raised:
        make()
    assert "\n" not in str(raised.value)
