"""Parts of a suite are counted apart, and the report says what was meta-trained on."""

import dataclasses
import math

import jax
import pytest

from eval import BASELINES, Results, Row, TaskResult, print_results, run_keys, seconds_per_step
from eval.report.markdown import render
from eval.report.origins import MARK, duration, origin_sentences, trained_horizon, trained_tasks
from eval.report.quoting import in_words
from eval.report.suite_parts import groups, parts_table
from eval.report.tables import detail_table, main_table, sweep_table
from tasks import Quadratic


def row(name, mean, final, speed_ups, blown=(False, False)):
    kind = {"adam": "tuned", "adam-1e-3": "untuned"}.get(name, "learned")
    return Row(
        optimizer=name,
        label={"adam": "tuned Adam", "adam-1e-3": "Adam 1e-3"}.get(name, name),
        kind=kind,
        rate=None if kind == "learned" else 0.01,
        sweep=((0.001, 2.0), (0.01, 1.0), (0.1, 3.0)) if kind == "tuned" else (),
        mean_loss=(mean, mean),
        final_loss=(final, final),
        held_out_loss=(final, final),
        steps_to_target=(1.0, 1.0),
        speed_up=speed_ups,
        diverged=blown,
        train_curves=((1.0,), (1.0,)),
        held_out_curves=((1.0,), (1.0,)),
        seconds_per_step=None if kind == "untuned" else 1e-3,
    )


def task(name, part, mean, final, speed_ups, horizon=500, declared=1.0, blown=(False, False)):
    """Make a task on which Adam loses 1 throughout, and untuned Adam 2."""
    rows = (
        row("mine", mean, final, speed_ups, blown),
        row("same", 1.0, 1.0, (1.0, 1.0)),
        row("adam", 1.0, 1.0, (1.0, 1.0)),
        row("adam-1e-3", 2.0, 2.0, (0.5, None)),
    )
    return TaskResult(name, horizon, (1.0,), (horizon,), rows, declared, part)


@pytest.fixture
def results():
    tasks = (
        task("family", "in", 0.5, 2.5, (4.0, 2.0)),
        task("other", "in", 0.8, 0.5, (1.0, 1.0)),
        task("other", "wrong", 1.5, 0.5, (0.5, None), declared=0.5),
        task("other", "wrong", 1.0, 1.0, (1.0, 1.0), declared=2.0),
        task("family", "longer", math.inf, math.inf, (None, None), horizon=2000, blown=(True, True)),
    )
    origin = {
        "tasks": ["family", "elsewhere"],
        "horizon": [200, 500],
        "meta_steps": 900,
        "inner_steps": 576000,
        "seconds": 3725.0,
        "devices": ["2 x cpu"],
    }
    return Results(
        suite="joined",
        tests="All.",
        subjects=("mine", "same"),
        reference="adam",
        seeds=2,
        seed=0,
        held_out="test",
        tasks=tasks,
        origins={"mine": origin},
        environment={},
    )


def test_groups_are_parts_horizons_and_what_was_not_meta_trained_on(results):
    found = {group.name: group.tasks for group in groups(results, "mine")}
    assert found == {
        "in": (0, 1),
        "wrong": (2, 3),
        "longer": (4,),
        "up to 500 steps, as meta-trained": (0, 1, 2, 3),
        "more than 500 steps": (4,),
        "not meta-trained on": (1, 2, 3),
        "all": (0, 1, 2, 3, 4),
    }
    assert [group.name for group in groups(results, "same")] == ["in", "wrong", "longer", "all"]


def test_each_part_has_its_wins_speed_up_and_divergence(results):
    table = parts_table(results)
    rows = {cells[:2]: cells[2:] for cells in table.rows}
    assert table.header[2:] == (
        "won on mean loss", "won on final loss", "speed-up", "runs that diverged", "against Adam 1e-3",
        "worst task (times lower in loss)",
    )  # fmt: skip
    assert rows["in", "mine"][:2] == ("2/2", "1/2")
    # Of four runs, 4, 2, 1 and 1, the middle two.
    assert rows["in", "mine"][2].startswith("1.50x [")
    assert rows["in", "mine"][3:] == ("0/4", "2/2, 1/2", "other (1.25)")
    assert rows["wrong", "mine"][:2] == ("0/2", "1/2")
    assert rows["wrong", "mine"][4:] == ("2/2, 2/2", "other (declared 0.5x) (0.667)")
    assert rows["longer", "mine"] == (
        *("0/1", "0/1", "0.00x [0.00, 0.00]", "2/2"),
        *("0/1, 0/1", "family (2000 steps) (0.00)"),
    )
    assert rows["all", "mine"][:2] == ("2/5", "2/5")
    assert rows["up to 500 steps, as meta-trained", "mine"][:2] == ("2/4", "2/4")


def test_what_equals_adam_has_a_speed_up_of_one_and_wins_nothing_in_every_part(results):
    own = [cells for cells in parts_table(results).rows if cells[1] == "same"]
    assert len(own) == 4
    for _, _, mean, final, speed_up, diverged, _, worst in own:
        assert mean.startswith("0/")
        assert final.startswith("0/")
        assert (speed_up, diverged.partition("/")[0]) == ("1.00x [1.00, 1.00]", "0")
        assert worst.endswith("(1.00)")
    assert parts_table(dataclasses.replace(results, subjects=("adam",))).rows == ()
    alone = parts_table(dataclasses.replace(results, subjects=("same", "adam")))
    assert alone.header[:2] == ("tasks", "won on mean loss")
    assert alone.rows == tuple((cells[0], *cells[2:]) for cells in own)


def test_one_part_has_no_table_of_its_own(results):
    tasks = tuple(dataclasses.replace(one, part="in") for one in results.tasks[:2])
    alone = dataclasses.replace(results, tasks=tasks, origins={})
    assert parts_table(alone).rows == ()
    assert "## Part by part" not in render(alone)
    assert "## Part by part" in render(results)


def test_tasks_are_marked_where_the_optimizer_was_meta_trained_on_them(results):
    marked = {cells[:3] for cells in main_table(results).rows if MARK in cells[0]}
    assert marked == {
        (f"family {MARK}", "500", "mine"),
        (f"family {MARK}", "2000", "mine"),
    }
    text = render(results)
    assert f"{MARK}: the optimizer was meta-trained on this task or family." in text
    nothing = render(dataclasses.replace(results, origins={}))
    assert MARK not in nothing


def test_the_report_says_what_the_meta_training_was_and_what_is_not_known(results):
    assert [*map(in_words, origin_sentences(results))] == [
        f"mine was meta-trained on family, elsewhere (marked {MARK}); meta-steps: 900, inner steps: 576,000, "
        "horizon: 200 to 500, wall time: 1 h 2 min, devices: 2 x cpu.",
        "same was meta-trained on unknown tasks; meta-steps: unknown, inner steps: unknown, "
        "horizon: unknown, wall time: unknown, devices: unknown.",
    ]
    untrained = dataclasses.replace(results, origins={"mine": {"meta_steps": 0}})
    assert (
        in_words(origin_sentences(untrained)[0]) == "mine was not meta-trained: its theta is as initialised."
    )
    single = dataclasses.replace(results, origins={"mine": {"tasks": "family", "horizon": [200, 200]}})
    assert trained_tasks(single, "mine") == ("family",)
    assert trained_horizon(single, "mine") == 200
    assert "horizon: 200, wall" in in_words(origin_sentences(single)[0])


def test_the_report_says_what_was_set_by_hand_after_meta_training(results):
    changed = {"weight_decay": 0.02, "pacing.controller.growth": 0.2}
    one = dataclasses.replace(results, origins={"mine": {"tasks": "family", "changed_after": changed}})
    sentence = in_words(origin_sentences(one)[0])
    assert sentence.endswith("unknown; set by hand afterwards: weight_decay, pacing.controller.growth.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_declared_horizons_are_told_apart_and_tuning_is_told_once(results):
    rows = [(cells[0].removesuffix(f" {MARK}"), cells[1]) for cells in main_table(results).rows]
    assert list(dict.fromkeys(rows)) == [
        *(("family", "500"), ("other", "500"), ("other (declared 0.5x)", "500")),
        *(("other (declared 2x)", "500"), ("family", "2000")),
    ]
    names = ["family (500 steps)", "other", "other (declared 0.5x)", "other (declared 2x)"]
    names.append("family (2000 steps)")
    assert list(dict.fromkeys(cells[0] for cells in detail_table(results).rows)) == names
    assert [cells[0] for cells in sweep_table(results).rows] == [
        "family (500 steps)",
        "other",
        "family (2000 steps)",
    ]
    assert len({one.stem for one in results.tasks}) == 5


def test_the_terminal_has_parts_within_eighty_columns(results, capsys):
    print_results(results)
    text = capsys.readouterr().out
    short = text.partition("Part by part\n")[2].partition("mine was meta-trained")[0]
    assert "wrong" in short
    assert max(map(len, text.partition("mine was meta-trained")[0].splitlines())) <= 80
    print_results(dataclasses.replace(results, tasks=results.tasks[:1], origins={}))
    assert "Part by part" not in capsys.readouterr().out


def test_a_step_takes_time_and_more_work_takes_more():
    """The gradient of a quadratic in 600 dimensions is 360,000 multiplications; in 2 it is 4."""
    adam = {"adam": BASELINES["adam"].rule(1e-3)}
    seconds = [
        seconds_per_step(adam, Quadratic(dimension=size), 8, run_keys(0, 1, "q"), rounds=2)["adam"]
        for size in (2, 600)
    ]
    assert 0 < 5 * seconds[0] < seconds[1]
    assert jax.numpy.isfinite(seconds[1])
