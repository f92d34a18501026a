"""A benchmark that was interrupted goes on where it was, and for the very same question only."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eval.protocol
import eval.training.tuned_cache
import lopt
from eval import Baseline, Entry, PartialResults, Runs, Suite, TunedCache, benchmark, training_curves
from eval.cli import main
from eval.training.baselines import adam
from eval.training.partial_results import theta_digest
from tasks import Quadratic

KEY = jax.random.key(0)
RULE = lopt.LearnableAdam.create(KEY, learning_rate=0.1)
SUITE = Suite("two", "Little.", (Entry("quadratic", 8), Entry("noisy-quadratic", 8)))
BASELINES = {"adam": Baseline("tuned Adam", adam, (0.01, 0.1))}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty directory, with an empty package, on a machine whose steps take a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eval.training.tuned_cache, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(eval.protocol, "seconds_per_step", lambda rules, *_, **__: dict.fromkeys(rules, 1.0))


def run(optimizers, progress=None, **options):
    return benchmark(optimizers, SUITE, 2, progress=progress, baselines=BASELINES, **options)


def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(monkeypatch, tmp_path):
    whole = run({"mine": RULE})
    calls = []
    monkeypatch.setattr(
        eval.protocol,
        "training_curves",
        lambda *args, **kw: calls.append(args) or training_curves(*args, **kw),
    )
    kept = {"cache": TunedCache(), "unfinished": PartialResults(tmp_path / "partial")}

    def interrupt(done, total, what):
        if what == "adam on noisy-quadratic (3 rates)":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run({"mine": RULE}, interrupt, **kept)
    assert len(calls) == 1
    assert len(list((tmp_path / "partial").iterdir())) == 1
    pieces = []
    told = []
    kept["unfinished"] = PartialResults(tmp_path / "partial", tell=told.append)
    again = run({"mine": RULE}, lambda *piece: pieces.append(piece), **kept)
    assert again.tasks == whole.tasks
    # The first task's run is not run again.
    assert [args[1].noise for args in calls] == [0.0, 0.3]
    assert not told
    assert [done for done, _, _ in pieces] == list(range(7))
    kept["unfinished"].remove()
    assert not (tmp_path / "partial").exists()


def runs_of(**changes):
    """Make runs whose start is given, so that nothing is compiled."""
    values = {"name": "quadratic", "task": Quadratic(), "horizon": 8, "seed": 0, "seeds": 2}
    runs = Runs(**values | {"held_out": "test"} | changes)
    vars(runs)["start"] = [[1.0] * runs.seeds] * 2
    return runs


def curves(number):
    """Make up an answer."""
    losses = lambda *shape: np.exp(np.random.default_rng(number).normal(size=shape)).astype(np.float32)  # noqa: E731
    return eval.Curves(losses(2, 8), losses(2, 2), np.array([False, True]), (4, 8), losses(2))


def fail():
    raise AssertionError("it is run again")


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("train", "held_out", "diverged", "steps", "accuracy")
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"seeds": 3},
        {"horizon": 9},
        {"held_out": "outer_valid"},
        {"task": Quadratic(dimension=3), "name": "other"},
    ],
    ids=str,
)
def test_another_question_is_run_again(changes, tmp_path):
    partial = PartialResults(tmp_path)
    assert same(partial.get(RULE, runs_of(), 8, lambda: curves(0)), curves(0))
    assert same(partial.get(RULE, runs_of(), 8, fail), curves(0))
    assert same(partial.get(RULE, runs_of(**changes), 8, lambda: curves(1)), curves(1))


def test_another_theta_declared_horizon_start_or_version_is_run_again(tmp_path, monkeypatch):
    partial = PartialResults(tmp_path, tell=(told := []).append)
    partial.get(RULE, runs_of(), 8, lambda: curves(0))
    moved = jax.tree.map(lambda x: x + 1e-6, RULE)
    assert same(partial.get(moved, runs_of(), 8, lambda: curves(1)), curves(1))
    assert same(partial.get(RULE, runs_of(), 4, lambda: curves(2)), curves(2))
    assert same(partial.get(RULE, runs_of(), 8, fail), curves(0))
    elsewhere = runs_of()
    vars(elsewhere)["start"] = [[1.0, 1.01]] * 2
    assert same(partial.get(RULE, elsewhere, 8, lambda: curves(3)), curves(3))
    assert "start from other losses" in told[0]
    made = eval.training.partial_results.made_now("")
    newer = made | {"versions": made["versions"] | {"jax": "99"}}
    monkeypatch.setattr(eval.training.partial_results, "made_now", lambda command: newer)
    assert same(PartialResults(tmp_path).get(RULE, runs_of(), 8, lambda: curves(4)), curves(4))


def test_the_digest_is_of_class_static_fields_and_arrays():
    star = lopt.create("star", KEY)
    rules = [
        *(star, lopt.create("star", jax.random.key(1)), lopt.create("star", KEY, step_scale=0.5)),
        *(RULE, lopt.create("learnable-sgd", KEY)),
    ]
    assert len({theta_digest(rule) for rule in rules}) == len(rules)
    assert theta_digest(lopt.create("star", KEY)) == theta_digest(star)


def test_the_digest_does_not_depend_on_where_functions_are_in_memory():
    """Another process has them elsewhere, and reads the same file."""

    def make():
        def layout(*_):
            raise NotImplementedError

        return layout

    one, same = RULE.replace(layout=make()), RULE.replace(layout=make())
    assert str(jax.tree.structure(one)) != str(jax.tree.structure(same))
    assert theta_digest(one) == theta_digest(same) != theta_digest(RULE)


def test_entries_that_differ_in_what_is_declared_share_what_is_not_told(monkeypatch):
    """Baselines are tuned once, and so runs a rule that does not ask for the horizon."""
    entries = tuple(Entry("quadratic", 8, declared) for declared in (1.0, 0.5, 2.0))
    told, tuned = [], []
    monkeypatch.setattr(
        eval.protocol,
        "training_curves",
        lambda *a, **kw: told.append(kw["declared"]) or training_curves(*a, **kw),
    )
    tune = eval.protocol.tune
    monkeypatch.setattr(eval.protocol, "tune", lambda *a, **kw: tuned.append(a) or tune(*a, **kw))
    suite, pieces = dataclasses.replace(SUITE, entries=entries), []
    scheduled = lopt.create("learnable-adam", KEY, schedule_knots=3).replace(schedule=jnp.arange(3.0))
    assert scheduled.needs_horizon
    optimizers = {"mine": RULE, "asks": scheduled}
    results = benchmark(
        optimizers, suite, 2, progress=lambda *now: pieces.append(now[:2]), baselines=BASELINES
    )
    assert len(tuned) == 1
    assert sorted(told) == [4, 8, 8, 16]
    assert pieces == [(done, 6) for done in range(7)]
    one, half, twice = results.tasks
    assert [task.declared for task in results.tasks] == [1, 0.5, 2]
    assert one.row("adam") == half.row("adam") == twice.row("adam")
    assert one.row("mine") == half.row("mine") == twice.row("mine")
    losses = [task.row("asks").mean_loss for task in results.tasks]
    assert len(set(losses)) == 3


def test_the_command_goes_on_after_ctrl_c_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(eval.SUITES, "quadratics", SUITE)
    monkeypatch.setitem(eval.BASELINES, "adam", BASELINES["adam"])
    lopt.save(RULE, "mine")
    line = ["mine", "--suite", "quadratics", "--seeds", "2", "--baselines", "adam"]
    tune = eval.protocol.tune

    def once(family, task, *rest, **options):
        if task.noise:
            raise KeyboardInterrupt
        return tune(family, task, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(eval.protocol, "tune", once)
        assert main(line) == 130
    out = tmp_path / "runs" / "eval" / "quadratics"
    assert (
        "finished results are kept in runs/tuned and runs/eval/quadratics/partial" in capsys.readouterr().err
    )
    assert [path.name for path in out.iterdir()] == ["partial"]
    ran = []
    monkeypatch.setattr(
        eval.protocol, "training_curves", lambda *a, **kw: ran.append(a) or training_curves(*a, **kw)
    )
    assert main(line) == 0
    assert len(ran) == 1
    assert "partial" not in {path.name for path in out.iterdir()}


def test_processes_that_share_a_suite_end_as_one_that_runs_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(eval.SUITES, "quadratics", SUITE)
    monkeypatch.setitem(eval.BASELINES, "adam", BASELINES["adam"])
    lopt.save(RULE, "mine")
    line = ["mine", "--suite", "quadratics", "--seeds", "2", "--baselines", "adam"]
    assert main([*line, "--out", "alone", "--tuned", "alone/tuned"]) == 0
    with monkeypatch.context() as patch:
        for timing in ("seconds_per_step", "measure_costs"):
            patch.setattr(eval.protocol, timing, lambda *a, **kw: fail())
        for only in ("noisy-*", "quadratic-8"):
            assert main([*line, "--only", only, "--out", "shared"]) == 0
            assert [path.name for path in (tmp_path / "shared").iterdir()] == ["partial"]
    assert "kept in runs/tuned and shared/partial, for a run without --only" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        for training in ("training_curves", "tune"):
            patch.setattr(eval.protocol, training, lambda *a, **kw: fail())
        assert main([*line, "--out", "shared"]) == 0
    alone, shared = (
        eval.Results.from_json((tmp_path / out / "eval.json").read_text()) for out in ("alone", "shared")
    )
    assert shared.tasks == alone.tasks
    assert not (tmp_path / "shared" / "partial").exists()


def test_only_the_entries_that_match_are_run(capsys):
    entries = Entry("a", 8), Entry("ab", 9), Entry("a", 9), Entry("a", 8, 0.5)
    suite = Suite("some", "Some.", entries)
    assert suite.runs == ["ab-9", "a-9", "a-8"]
    chosen = lambda *patterns: [entries.index(one) for one in suite.only(patterns).entries]  # noqa: E731
    assert chosen("a") == [0, 2, 3]
    assert chosen("a-8") == [0, 3]
    assert chosen("ab", "a-9") == [1, 2]
    assert chosen("*") == [0, 1, 2, 3]
    assert main(["adam", "--suite", "quadratics", "--only", "rosenbrock"]) == 1
    assert "'quadratics' matches 'rosenbrock'; it has quadratic-200, noisy-" in capsys.readouterr().err
    assert main(["adam", "--suite", "quadratics", "--only", "q*", "--tracker", "wandb"]) == 2
