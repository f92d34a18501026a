"""A run on streamed data: exact after an interruption, compiled once, and no larger than its pools."""

import weakref

import jax
import numpy as np
import pytest

import tasks
from meta_train import RunDirectory, Trainer

from .small_runs import SMALL_RUN, train_here

ROWS, HELD_OUT, SHAPE = 24, 8, (3, 3, 1)


class Counting(tasks.Source):
    """Random rows; counts what it was asked for, and how many of its arrays exist at the same time."""

    def __init__(self, size=ROWS, odd=None):
        self.asked, self.alive, self.most, self.size, self.odd = [], [], 0, size, odd

    def rows(self, split, turn):
        self.asked.append((split, turn))
        draws = np.random.default_rng([tasks.SPLITS.index(split), turn])
        rows = (self.size if split == "train" else HELD_OUT) + (turn == self.odd)
        images = draws.integers(0, 256, (rows, *SHAPE), dtype=np.uint8)
        if split == "train":
            self.alive.append(turn)
            weakref.finalize(images, self.alive.remove, turn)
            self.most = max(self.most, len(self.alive))
        return images, draws.integers(0, 2, rows, dtype=np.int32)

    @property
    def turns(self):
        return [turn for split, turn in self.asked if split == "train"]


class Nearest(tasks.Task):
    """Find the mean of some images: the smallest task with data."""

    data: tasks.Dataset

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jax.random.normal(key, SHAPE)

    def batch(self, instance, key, split):
        return self.data.batch(key, split, 4)[0]

    def loss(self, instance, params, batch, key):
        return ((batch - params[None]) ** 2).mean()

    @property
    def ceiling(self):
        return 100.0


def streamed(source, every=5):
    return Nearest(tasks.stream_dataset(source, every, num_classes=2))


@pytest.fixture
def registry():
    before = dict(tasks.TASKS)
    yield
    tasks.TASKS.clear()
    tasks.TASKS.update(before)


@pytest.fixture
def source(registry):
    """The source of the tasks `streamed` and `streamed-too`, which share its pool."""
    source = Counting()
    task = streamed(source)
    tasks.register("streamed")(lambda: task)
    tasks.register("streamed-too")(lambda: task)
    return source


def configured(**changes):
    """A new configuration, whose problem has not built its tasks."""
    few = {"task": ("streamed",), "checkpoint_every": 4, "reference_rates": 0, "hysteresis_particles": 0}
    return SMALL_RUN.replace(**few | changes)


def drive(path, stop_at=None, crash=False, **changes):
    """Run, or go on with a run, up to a meta-step; return its trainer and its end."""
    run, directory = configured(**changes).run(), RunDirectory(path)
    directory.open(run, "lopt-train")
    trainer = Trainer(run, directory)

    def stop():
        if crash and trainer.meta_step >= stop_at:
            raise MemoryError
        return stop_at is not None and trainer.meta_step >= stop_at

    try:
        for _ in trainer.records(stop):
            pass
    except MemoryError:
        pass
    finally:
        trainer.close()
    return trainer, jax.device_get((trainer.theta, trainer._particles))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The end of an uninterrupted run."""
    before = dict(tasks.TASKS)
    tasks.register("streamed")(lambda: streamed(Counting()))
    _, end = drive(tmp_path_factory.mktemp("whole"))
    tasks.TASKS.clear()
    tasks.TASKS.update(before)
    return end


@pytest.mark.parametrize(("stop_at", "crash"), [(7, False), (9, True)])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(source, whole, tmp_path, stop_at, crash):
    stopped, _ = drive(tmp_path, stop_at, crash)
    assert stopped.meta_step == stop_at
    _, end = drive(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, end, whole)
    assert source.turns[-1] == 2  # of 12 meta-steps, five each


def test_the_length_of_calls_decides_nothing_and_the_pool_something(source, whole, tmp_path):
    _, end = drive(tmp_path / "calls", steps_per_call=3)
    jax.tree.map(np.testing.assert_array_equal, end, whole)
    task = tasks.build("streamed")
    tasks.register("fixed")(lambda: task.replace(data=task.data.replace(stream=None)))
    _, end = drive(tmp_path / "fixed", task=("fixed",))
    assert not np.array_equal(end[0].log_learning_rate, whole[0].log_learning_rate)


def test_an_exchange_compiles_nothing_and_validation_has_fixed_rows(source, tmp_path, caplog):
    compiled = {True: [], False: []}
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run = configured(measured_on="inner_valid", validate_every=3, steps_per_call=1).run()
        directory = RunDirectory(tmp_path)
        directory.open(run, "lopt-train")
        trainer = Trainer(run, directory)
        for record in trainer.records():
            found = [text for text in caplog.messages if text.startswith("Compiling")]
            compiled[record.meta_step < 4] += found  # the first exchange is after five
            caplog.clear()
        trainer.close()
    assert source.turns == [0, 1, 2]  # none is read twice, and none in vain
    assert compiled[True]
    assert not compiled[False]
    assert {ask for ask in source.asked if ask[0] != "train"} == {(split, 0) for split in tasks.SPLITS[1:]}
    assert len(source.asked) == 3 + 3


def test_there_are_three_pools_on_the_device_and_no_more_on_the_host(registry, tmp_path):
    source = Counting(size=37)  # the size is its own: other tests' pools may live still
    tasks.register("streamed")(lambda: streamed(source, every=2))
    run, directory, most = configured().run(), RunDirectory(tmp_path), 0
    directory.open(run, "lopt-train")
    trainer = Trainer(run, directory)
    for _ in trainer.records():
        live = {x.unsafe_buffer_pointer() for x in jax.live_arrays() if x.shape == (37, *SHAPE)}
        most = max(most, len(live))
    trainer.close()
    assert source.turns == list(range(6))
    assert 2 <= most <= 3  # that of the validation, the present one, and the next
    assert source.most <= 3  # on a CPU the device's arrays are the host's


def test_tasks_that_share_a_source_share_its_pool(source, tmp_path):
    trainer, _ = drive(tmp_path, task=("streamed", "streamed-too"))
    assert source.turns == [0, 1, 2]
    pools = [x for x in jax.tree.leaves(trainer._feed.at(11)) if x.shape == (ROWS, *SHAPE)]
    assert len(pools) == 2
    assert pools[0] is pools[1]


@pytest.mark.parametrize(
    "placement", [{"devices": 2}, {"backend": "vmap"}, {"backend": "pmap", "devices": 2}]
)
def test_several_devices_and_other_backends_have_the_same_pool(source, whole, tmp_path, placement):
    trainer, end = drive(tmp_path, **placement)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), end, whole)
    if placement == {"devices": 2}:
        pool = trainer._feed.at(11)["streamed"].task.data.images["train"]
        assert len(pool.sharding.device_set) == 2
        assert pool.is_fully_replicated


def test_rows_of_another_shape_end_the_run_in_one_sentence(registry, tmp_path, capsys):
    tasks.register("streamed")(lambda: streamed(Counting(odd=1)))
    options = (
        "--steps 12 --particles 2 --devices 1 --reference-rates 0 --hysteresis-particles 0 --no-progress"
    )
    run = ["tiny", "--task", "streamed", "--optimizer", "learnable-adam", "--run-dir", tmp_path / "run"]
    assert train_here(*run, *options.split()) == 1
    assert "turn 1 has uint8 [25, 3, 3, 1]" in capsys.readouterr().err
