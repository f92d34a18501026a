"""A tuned baseline that was kept is used for the very question it answers, to the bit, and for no other."""

import dataclasses
import json
import math

import numpy as np
import pytest

import eval.protocol
import eval.training.answer_files
import eval.training.tuned_cache
import tasks
from eval import (
    BASELINES,
    SUITES,
    Baseline,
    Curves,
    Entry,
    Runs,
    Suite,
    Tuned,
    TunedCache,
    benchmark,
    choose,
    families,
)
from eval.cli import main
from eval.training.baselines import adam, sgd_momentum, whole
from tasks import Quadratic

COMES_WITH_LOPT = eval.training.tuned_cache.SHIPPED
SUITE = Suite("one", "Little.", (Entry("quadratic", 8),))
TWO = {
    "adam": Baseline("tuned Adam", adam, (0.01, 0.1, 1.0)),
    "adam-1e-3": Baseline("Adam 1e-3", adam, (1e-3,)),
}
SOME = TWO | {
    "blown": Baseline("SGD-m", sgd_momentum, (0.1, 1e30)),
    "up": Baseline("", sgd_momentum, (1e30,)),
}


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path, monkeypatch):
    """Work in an empty directory, with an empty package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eval.training.tuned_cache, "SHIPPED", tmp_path / "shipped")


class Cache(TunedCache):
    """A cache that remembers what it told."""

    def __init__(self, *args, **options):
        self.told = []
        super().__init__(*args, tell=self.told.append, **options)


def runs_of(start=None, **changes):
    """Make runs whose start is given, so that nothing is compiled."""
    values = {"name": "quadratic", "task": Quadratic(), "horizon": 4, "seed": 0, "seeds": 2}
    runs = Runs(**values | {"held_out": "test"} | changes)
    vars(runs)["start"] = start or [[1.0] * runs.seeds] * 2
    return runs


def drawn(family, number=0):
    """Make up an answer, with numbers that decimals don't have."""
    rng = np.random.default_rng(number)
    curves = lambda *shape: np.exp(rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    return {
        name: Tuned(
            one.rates[0],
            Curves(curves(2, 4), curves(2, 2), np.array([False, True]), (2, 4)),
            one.rates,
            (*rng.normal(size=len(one.rates) - 1).tolist(), math.inf),
        )
        for name, one in family.items()
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        a, b = one[name], other[name]
        assert (a.rate, a.rates, a.scores, a.curves.steps) == (b.rate, b.rates, b.scores, b.curves.steps)
        for field in ("train", "held_out", "diverged"):
            x, y = getattr(a.curves, field), getattr(b.curves, field)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def fail(*_, **__):
    raise AssertionError("it is tuned anew")


def test_results_from_files_are_those_of_a_fresh_run_to_the_bit(monkeypatch):
    fresh = benchmark({}, SUITE, 2, baselines=SOME)
    written = benchmark({}, SUITE, 2, baselines=SOME, cache=TunedCache())
    monkeypatch.setattr(eval.protocol, "tune", fail)
    cache = Cache()
    read = benchmark({}, SUITE, 2, baselines=SOME, cache=cache)
    assert fresh.tasks == written.tasks == read.tasks
    assert math.inf in read.tasks[0].row("up").mean_loss
    assert read.tasks[0].row("up").diverged == (True, True)
    assert not cache.told
    assert read.environment.pop("reused_baselines") == [
        f"6 from runs/tuned (commit {written.environment['commit']})"
    ]
    assert read.to_json() == written.to_json() == fresh.to_json()


def test_what_was_tuned_for_some_serves_those_who_ask_for_more(monkeypatch):
    for name in ("adam", "sgd", "sgd-momentum"):
        monkeypatch.setitem(BASELINES, name, dataclasses.replace(BASELINES[name], rates=(0.03, 0.1)))
    names = ["sgd", "sgd-default", "sgd-momentum-default"]
    together = benchmark({}, SUITE, 2, baselines=choose(names))
    for name in names:
        one = benchmark({}, SUITE, 2, baselines=choose([name]), cache=TunedCache())
        assert [row.optimizer for row in one.tasks[0].rows] == ["adam", name]
        assert one.tasks[0].row(name) == together.tasks[0].row(name)
    monkeypatch.setattr(eval.protocol, "tune", fail)
    cache = Cache()
    assert benchmark({}, SUITE, 2, baselines=choose(names), cache=cache).tasks == together.tasks
    assert not cache.told


def test_accuracy_is_kept_and_files_from_before_there_was_one_are_used(tmp_path):
    def with_accuracy(one):
        curves = one.curves.replace(accuracy=np.array([1 / 3, 0.7], np.float32))
        return dataclasses.replace(one, curves=curves)

    cache, answer = Cache(), {name: with_accuracy(one) for name, one in drawn(TWO).items()}
    cache.get(TWO, runs_of(), lambda: answer)
    kept = cache.get(TWO, runs_of(), fail)
    for name in TWO:
        assert kept[name].curves.accuracy.dtype == np.float32
        np.testing.assert_array_equal(kept[name].curves.accuracy, answer[name].curves.accuracy)
    cache.get(TWO, runs_of(seed=1), lambda: drawn(TWO))
    assert '"accuracy"' not in (tmp_path / "runs" / "tuned" / "quadratic-4-adam.json").read_text()
    assert cache.get(TWO, runs_of(seed=1), fail)["adam"].curves.accuracy is None


def test_runs_that_start_elsewhere_are_not_used():
    """The same question of a task whose law has changed; here, by its noise."""
    task = Quadratic(dimension=3, noise=0.3)
    runs = Runs("quadratic", task, 4, 0, 2, "test")
    answer, cache = drawn(TWO), Cache()
    cache.get(TWO, runs, lambda: answer)
    assert_same(cache.get(TWO, Runs("quadratic", task, 4, 0, 2, "test"), fail), answer)
    changed = Runs("quadratic", dataclasses.replace(task, noise=0.31), 4, 0, 2, "test")
    other = drawn(TWO, 1)
    assert_same(cache.get(TWO, changed, lambda: other), other)
    said = "its runs start from other losses, so the task has changed"
    assert cache.told == [f"runs/tuned/quadratic-4-adam.json is not used: {said}"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 3}, "it is for seeds 2, not 3"),
        ({"seed": 1}, "it is for seed 0, not 1"),
        ({"held_out": "outer_valid"}, "it is for held_out test, not outer_valid"),
        ({"task": Quadratic(dimension=11)}, "its ceiling differs"),
    ],
)
def test_another_question_is_answered_anew_and_said_in_one_line(changes, said):
    cache = Cache()
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    other = drawn(TWO, 1)
    assert_same(cache.get(TWO, runs_of(**changes), lambda: other), other)
    assert cache.told == [f"runs/tuned/quadratic-4-adam.json is not used: {said}"]
    assert not cache.reused
    assert_same(cache.get(TWO, runs_of(**changes), fail), other)  # The new answer took the place of the old.


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"version": 2}, "it is for version 1, not 2"), ({"rates": (0.01, 0.1)}, "its rates")],
)
def test_another_definition_or_grid_is_tuned_anew(changes, said):
    cache = Cache()
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    family = TWO | {"adam": dataclasses.replace(TWO["adam"], **changes)}
    other = drawn(family, 1)
    assert_same(cache.get(family, runs_of(), lambda: other), other)
    assert said in cache.told[0]
    assert len(cache.told) == 1


def test_another_task_horizon_or_company_finds_no_file_that_it_may_use():
    cache = Cache()
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    other = drawn(TWO, 1)
    for runs in (runs_of(name="noisy-quadratic"), runs_of(horizon=5)):
        assert_same(cache.get(TWO, runs, lambda: other), other)
    assert not cache.told  # There is nothing to tell of.
    alone = {"adam": TWO["adam"]}
    cache.get(alone, runs_of(), lambda: {"adam": other["adam"]})
    assert "its swept_with differs" in cache.told[0]


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "a list": lambda text: "[1]",
    "no digest": lambda text: "{}",
    "a digit": lambda text: text.replace('"rate": 0.01', '"rate": 0.02'),
    "an entry": lambda text: text.replace('"diverged"', '"divergent"'),
    "format": lambda text: text.replace('"format": 1', '"format": 0'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_not_used_said_in_one_line_and_made_anew(damage, tmp_path):
    cache = Cache()
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    path = tmp_path / "runs" / "tuned" / "quadratic-4-adam.json"
    changed = damage(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    other = drawn(TWO, 1)
    assert_same(cache.get(TWO, runs_of(), lambda: other), other)
    (line,) = cache.told
    assert line.startswith("runs/tuned/quadratic-4-adam.json is not used: it is ")
    assert "\n" not in line
    assert_same(cache.get(TWO, runs_of(), fail), other)


def test_bytes_that_are_no_text_are_damage(tmp_path):
    cache = Cache()
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    (tmp_path / "runs" / "tuned" / "quadratic-4-adam-1e-3.json").write_bytes(b"\xff\x00{")
    cache.get(TWO, runs_of(), lambda: drawn(TWO))
    assert cache.told == ["runs/tuned/quadratic-4-adam-1e-3.json is not used: it is damaged"]


def test_retuning_uses_no_file_and_writes_all():
    first, second = drawn(TWO), drawn(TWO, 1)
    TunedCache().get(TWO, runs_of(), lambda: first)
    assert_same(TunedCache(retune=True).get(TWO, runs_of(), lambda: second), second)
    assert_same(TunedCache().get(TWO, runs_of(), fail), second)


def test_what_is_shipped_is_used_where_the_user_has_none_and_never_written(tmp_path):
    shipped, own = drawn(TWO), drawn(TWO, 1)
    TunedCache(tmp_path / "shipped").get(TWO, runs_of(), lambda: shipped)
    before = {path: path.read_bytes() for path in (tmp_path / "shipped").iterdir()}
    cache = Cache()
    assert_same(cache.get(TWO, runs_of(), fail), shipped)
    assert [where.partition(" (")[0] for where in cache.reused] == ["those that come with lopt"]
    assert not (tmp_path / "runs").exists()
    TunedCache(retune=True).get(TWO, runs_of(), lambda: own)
    assert_same(cache.get(TWO, runs_of(), fail), own)
    assert {path: path.read_bytes() for path in (tmp_path / "shipped").iterdir()} == before
    assert len(before) == 2
    assert sorted(cache.reused.values()) == [2, 2]


def test_the_strong_baselines_of_hyper_free_come_with_lopt():
    for entry in SUITES["hyper-free"].entries:
        asked = Runs(entry.task, tasks.build(entry.task), entry.horizon, 0, 5, "test")
        for family in map(whole, families(choose(["strong"]))):
            for name in family:
                kept = json.loads((COMES_WITH_LOPT / f"{entry.task}-{entry.horizon}-{name}.json").read_text())
                assert kept["question"] == asked.question(name, family)
                assert " /" not in kept["provenance"]["command"]  # a folder of the machine that tuned it


def test_a_directory_that_cant_be_written_costs_no_results(tmp_path):
    (tmp_path / "file").touch()
    cache, answer = Cache(tmp_path / "file"), drawn(TWO)
    assert_same(cache.get(TWO, runs_of(), lambda: answer), answer)
    assert len(cache.told) == 2
    assert all("can't be written" in line for line in cache.told)


def test_files_are_strict_json_with_provenance_and_nothing_else_is_left(tmp_path):
    TunedCache(command="lopt-eval adam").get(TWO, runs_of(), lambda: drawn(TWO))
    files = sorted((tmp_path / "runs" / "tuned").iterdir())
    assert [path.name for path in files] == ["quadratic-4-adam-1e-3.json", "quadratic-4-adam.json"]
    record = json.loads(files[1].read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["question"]["rates"] == [0.01, 0.1, 1.0]
    assert record["answer"]["scores"][-1] is None
    made = record["provenance"]
    assert made["command"] == "lopt-eval adam"
    assert {"commit", "versions", "devices", "platform", "date"} <= made.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_kept_exactly(dtype):
    bits = np.random.default_rng(0).integers(0, 2 ** (31 if dtype is np.float32 else 62), 20_000)
    values = bits.astype(f"u{dtype().itemsize}").view(dtype)
    values = np.where(np.isnan(values), np.inf, values)
    assert np.isinf(values).any() or dtype is np.float64
    text = json.dumps(eval.training.answer_files.encode_floats(values), allow_nan=False)
    back = eval.training.answer_files.decode_floats(json.loads(text)).astype(dtype)
    np.testing.assert_array_equal(back.view(f"u{dtype().itemsize}"), values.view(f"u{dtype().itemsize}"))


def test_the_command_keeps_uses_and_remakes(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SUITES, "quadratics", SUITE)
    for name in ("adam", "sgd"):
        monkeypatch.setitem(BASELINES, name, dataclasses.replace(BASELINES[name], rates=(0.03, 0.1)))
    arguments = ["adam", "--suite", "quadratics", "--seeds", "2", "--baselines", "sgd"]
    assert main(arguments) == 0
    kept = {path: path.read_text() for path in (tmp_path / "runs" / "tuned").iterdir()}
    assert [path.name for path in sorted(kept)] == [
        f"quadratic-8-{name}.json" for name in ("adam-1e-3", "adam", "sgd-default", "sgd")
    ]
    report = (tmp_path / "runs" / "eval" / "quadratics" / "eval.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(eval.protocol, "tune", fail)
        assert main([*arguments, "--held-out", "test"]) == 0
    again = (tmp_path / "runs" / "eval" / "quadratics" / "eval.json").read_text()
    assert json.loads(again)["tasks"] == json.loads(report)["tasks"]
    assert [row["optimizer"] for row in json.loads(report)["tasks"][0]["rows"]] == ["adam", "sgd"]
    capsys.readouterr()
    (tmp_path / "runs" / "tuned" / "quadratic-8-adam.json").write_text("{")
    assert main([*arguments, "--tuned", "elsewhere", "--retune"]) == 0
    assert "not used" not in capsys.readouterr().err
    assert len(list((tmp_path / "elsewhere").iterdir())) == 4
    assert main(arguments) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lopt-eval: ")]
    assert said == ["lopt-eval: runs/tuned/quadratic-8-adam.json is not used: it is damaged"]
    assert main([*arguments, "loin"]) == 1
    assert "unknown baseline 'loin'; did you mean lion" in capsys.readouterr().err
