"""A report holds what was measured, survives JSON, and says what a reader should be warned of."""

import dataclasses
import json
import math
import struct
import sys

import pytest

from eval import Results, Row, TaskResult, compare, print_results, write_report
from eval.report.columns import (
    ACCURACY,
    BEST_OTHER,
    OPTIMIZER,
    OWN_LOSS,
    SECONDS,
    SPEED_UP,
    STEPS,
    TRIALS,
    Column,
    Table,
    loss_of,
)
from eval.report.markdown import render, render_table
from eval.report.number_formats import loss, ratio
from eval.report.overview import draw_overview, places
from eval.report.plots import Picture
from eval.report.quoting import as_prose, in_words
from eval.report.speed_up_bars import draw_bars
from eval.report.tables import detail_table, main_table, overall_table
from eval.report.verdicts import headlines, verdicts

BOWL = Picture("bowl-3.png", "bowl, 3 inner steps")
RATES = (1e-4, 1e-2, 1.0)
SCORES = (2.0, 0.5, math.inf)


def row(optimizer, level, kind="learned", **changes):
    """Make a row whose two seeds lose `level` and 1.5 x `level`, over three steps."""
    losses = (level, 1.5 * level)
    values = {
        "optimizer": optimizer,
        "label": {"adam": "tuned Adam", "sgd-momentum": "tuned SGD-m", "adam-1e-3": "Adam 1e-3"}.get(
            optimizer, optimizer
        ),
        "kind": kind,
        "rate": None if kind == "learned" else 1e-2 if kind == "tuned" else 1e-3,
        "sweep": tuple(zip(RATES, SCORES, strict=True)) if kind == "tuned" else (),
        "mean_loss": losses,
        "final_loss": losses,
        "held_out_loss": losses,
        "steps_to_target": (3.0, None),
        "speed_up": (1.0, None),
        "diverged": (False, False),
        "train_curves": tuple((2.0, 1.0, x) for x in losses),
        "held_out_curves": tuple((x,) for x in losses),
    }
    return Row(**values | changes)


@pytest.fixture
def results():
    """Two tasks; on the first the learned optimizer wins, on the second it blows up."""
    baselines = (
        row("adam", 0.5, "tuned", speed_up=(1.0, 1.0), steps_to_target=(3.0, 3.0), seconds_per_step=1e-3),
        row("sgd-momentum", 0.6, "tuned", rate=1.0),
        row("adam-1e-3", 1.2, "untuned"),
    )
    blown = {"diverged": (True, False), "train_curves": ((2.0, math.inf, math.inf), (2.0, 1.0, 0.5))}
    rows = [
        row("small", 0.2, speed_up=(2.0, 3.0), steps_to_target=(1.0, 1.0), held_out_accuracy=(0.5, 0.75)),
        row("small", math.inf, **blown),
    ]
    rows = [dataclasses.replace(own, seconds_per_step=2e-3) for own in rows]
    tasks = tuple(
        TaskResult(task, 3, (1.0, 2.0, 3.0), (3,), (own, *baselines))
        for task, own in zip(("bowl", "valley"), rows, strict=True)
    )
    return Results(
        suite="hills",
        tests="Whether it rolls down.",
        subjects=("small",),
        reference="adam",
        seeds=2,
        seed=7,
        held_out="test",
        tasks=tasks,
        origins={"small": {"tasks": ["digits-mlp"], "inner_steps": 100}},
        environment={"command": "lopt-eval small", "devices": ["1 x cpu"], "versions": {"jax": "0.10"}},
    )


def test_results_survive_json_which_is_strict(results):
    text = results.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert Results.from_json(text) == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "tasks": [{"rows": 3}]}'])
def test_text_that_is_no_result_is_refused(text):
    with pytest.raises(ValueError, match="not the results of a benchmark"):
        Results.from_json(text)


def test_the_main_table_has_the_losses_rates_speed_up_and_seeds_won(results):
    table = main_table(results)
    assert table.header[3:] == (
        "its loss", "tuned Adam", "tuned SGD-m", "Adam 1e-3", "speed-up", "seeds won"
    )  # fmt: skip
    cells = ("bowl", "3", "small", "0.250", "0.625 (0.01)", "0.750 (1)", "1.50", "2.00x", "2/2")
    assert table.rows[0] == cells
    assert table.rows[1] == ("valley", "3", "small", "diverged", *cells[4:7], "never", "0/2")
    assert table.best == (OWN_LOSS, loss_of("adam", ""))


def test_columns_go_by_their_ids_and_not_by_their_headings():
    steps, named = STEPS.headed("steps"), Column("named", "steps to target")
    table = Table((OPTIMIZER, named, steps), (("a", "1", "2"), ("b", "3", "4")), (steps, None))
    assert table.cells(STEPS) == ("2", "4")
    narrow = table.only(STEPS, OPTIMIZER, TRIALS)
    assert (narrow.header, narrow.rows, narrow.best) == (
        ("optimizer", "steps"), (("a", "2"), ("b", "4")), table.best
    )  # fmt: skip
    assert table.without(named) == narrow
    with pytest.raises(ValueError, match="not in tuple"):
        table.cells(TRIALS)


def test_of_many_baselines_the_main_table_has_the_reference_and_the_best_other(results, capsys):
    more = tuple(row(f"more-{at}", 2.0 + at, "untuned", label=f"More {at}") for at in range(2))
    best = row("lion", 0.1, "tuned", label="tuned Lion")
    tasks = tuple(dataclasses.replace(task, rows=(*task.rows, *more, best)) for task in results.tasks)
    many = dataclasses.replace(results, tasks=tasks)
    table = main_table(many)
    assert table.header[3:6] == ("its loss", "tuned Adam", "best other baseline")
    assert table.rows[0][3:6] == ("0.250", "0.625 (0.01)", "0.125 (Lion)")
    assert table.best == (BEST_OTHER, BEST_OTHER)
    assert {len(cells) for cells in (table.header, *table.rows)} == {8}
    own = main_table(dataclasses.replace(many, subjects=("lion", "adam")))
    assert own.rows[0][2:6] == ("lion", "0.125 (0.01)", "0.625 (0.01)", "0.750 (SGD-m)")
    assert own.rows[1][2:6] == ("adam", "0.625 (0.01)", "-", "0.125 (Lion)")
    assert own.best[:2] == (OWN_LOSS, BEST_OTHER)
    print_results(many)
    assert max(map(len, capsys.readouterr().out.partition("Over 2")[0].splitlines())) <= 80
    assert "shows the reference" in render(many)
    assert "shows the reference" not in render(results)


def test_a_baseline_that_was_asked_about_has_a_row_of_its_own(results):
    table = main_table(dataclasses.replace(results, subjects=("adam",)))
    assert table.rows[0][2:5] == ("adam", "0.625 (0.01)", "-")
    assert table.rows[0][-2:] == ("1.00x", "-")
    assert table.best[0] == OWN_LOSS


def test_all_tasks_together_have_a_row_per_optimizer_but_the_reference(results):
    table = overall_table(results)
    assert table.header == (
        "optimizer", "tasks won", "won on final loss", "speed-up", "speed-up in seconds",
        "times lower in final loss", "chance that a run is better",
        "worst task (times lower in loss)", "runs that diverged", "matches the best of k trials",
    )  # fmt: skip
    # Speed-ups 2, 3, 1, never; the ratio is 2.5 on the first task and 0 on the second; of three rates, all
    # are matched on the first and none on the second.
    assert table.rows[0] == (
        "small", "1/2", "1/2", "1.50x [1.00, 2.00]", "0.75x [0.50, 1.00]", "1.25 [1.25, 1.25]",
        "0.50 [0.50, 0.50]", "valley (0.00)", "1/4", "0 of 3",
    )  # fmt: skip
    assert [row[0] for row in table.rows] == ["small", "tuned SGD-m", "Adam 1e-3"]
    assert overall_table(results, ["small"]).rows == table.rows[:1]
    first = dataclasses.replace(results, tasks=results.tasks[:1])
    assert overall_table(first).cells(TRIALS)[0] == "all 3"


def test_the_section_on_all_tasks_says_what_its_numbers_rest_on(results):
    profiles = "Performance profiles over all tasks"
    pictures = [BOWL, Picture("profiles.png", profiles, overall=True)]
    text = render(results, pictures)
    section = text.partition("## Over all tasks\n\n")[2].partition("\n## ")[0]
    assert "against `tuned Adam`'s of the same task and seed" in section
    assert "over 2 tasks x 2 seeds; in brackets 95% intervals over seeds" in section
    assert "| small | 1/2 | 1/2 | 1.50x [1.00, 2.00] |" in section
    assert f"![{profiles}](profiles.png)" in section
    assert "bowl-3.png" not in section
    assert text.count("profiles.png") == 1


def test_one_task_one_seed_and_a_negative_loss_are_told(results):
    def cut(row):
        fields = dataclasses.asdict(row).items()
        return Row(**{k: v[:1] if isinstance(v, tuple) and k != "sweep" else v for k, v in fields})

    task = dataclasses.replace(results.tasks[0], rows=tuple(cut(row) for row in results.tasks[0].rows))
    text = render(dataclasses.replace(results, tasks=(task,), seeds=1))
    assert "over 1 task x 1 seed. A single seed gives no intervals. There is only one task" in text
    assert "| small | 1/1 | 1/1 | 2.00x | 1.00x | 2.50 | 1.00 | bowl (2.50) | 0/1 | all 3 |" in text
    assert "have no ratio" not in text
    below = dataclasses.replace(task.rows[0], final_loss=(-1.0,))
    task = dataclasses.replace(task, rows=(below, *task.rows[1:]))
    text = render(dataclasses.replace(results, tasks=(task,), seeds=1))
    assert "Tasks with a negative loss have no ratio" in text
    assert "| small | 1/1 | 1/1 | 2.00x | 1.00x | - | 1.00 | bowl (2.50) |" in text


def test_the_reference_alone_has_nothing_to_be_compared_with(results, tmp_path):
    tasks = tuple(dataclasses.replace(task, rows=(task.row("adam"),)) for task in results.tasks)
    alone = dataclasses.replace(results, tasks=tasks, subjects=("adam",))
    report = write_report(alone, tmp_path)
    assert "Over all tasks\n" not in report.markdown.read_text()
    assert "profiles.png" not in {path.name for path in report.plots}


def test_the_terminal_has_all_tasks_together_where_there_are_several(results, capsys):
    print_results(results)
    text = capsys.readouterr().out
    short = text.partition("Over 2 tasks, against tuned Adam: larger is better, and 1 is as good\n")[2]
    assert "[1.00, 2.00]" in short
    assert "SGD" not in short.partition("small has")[0]
    print_results(dataclasses.replace(results, tasks=results.tasks[:1]))
    assert "larger is better" not in capsys.readouterr().out
    print_results(dataclasses.replace(results, subjects=("adam",)))
    assert "larger is better" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.02361, "0.0236"), (1.0, "1.00"), (234.5, "234"), (math.inf, "inf")]
)
def test_ratios_have_three_digits(value, text):
    assert ratio(value) == text


def test_the_verdicts_count_wins_and_warn(results):
    outside = "an end of its grid: a better learning rate may lie outside."
    assert [*map(in_words, verdicts(results))] == [
        "small has a lower mean training loss than tuned Adam on 1 of 2 tasks, and a lower final one on 1.",
        f"Warning: tuned SGD-m is best at 1 on bowl, {outside}",
        f"Warning: tuned SGD-m is best at 1 on valley, {outside}",
        "Warning: small diverged on 1 of 2 seeds of valley.",
    ]


def test_the_first_sentence_has_the_number_and_its_interval(results):
    (said,) = headlines(results)
    assert in_words(said) == (
        "small is 1.50x as fast as tuned Adam in steps to the same loss (95% interval 1.00x to 2.00x, over "
        "2 tasks x 2 seeds)."
    )
    assert as_prose(said).startswith("`small` is **1.50x** as fast as `tuned Adam` in steps")
    text = render(results, [BOWL, Picture("overview.png", "Overview", overall=True, first=True)])
    order = (
        "**1.50x**",
        "![Overview]",
        "* `small` has",
        "Warning",
        "## Task by task",
        "## Protocol",
        "## Prov",
    )
    found = [text.index(part) for part in order]
    assert found == sorted(found)
    assert text.index("`small` was meta-trained on `digits-mlp`") > found[-1]
    never = dataclasses.replace(results.tasks[1].rows[0], final_loss=(0.25, 0.5))
    tasks = [dataclasses.replace(one, rows=(never, *one.rows[1:])) for one in results.tasks]
    (said,) = headlines(dataclasses.replace(results, tasks=tuple(tasks)))
    assert in_words(said).startswith("small is 0.50x as fast as tuned Adam")  # half of the seeds are as fast
    lost = dataclasses.replace(never, speed_up=(None, None))
    tasks = [dataclasses.replace(one, rows=(lost, *one.rows[1:])) for one in results.tasks]
    (said,) = headlines(dataclasses.replace(results, tasks=tuple(tasks)))
    assert in_words(said) == (
        "small does not reach the training loss of tuned Adam in most runs; the final loss of tuned Adam is "
        "1.75 times its own (95% interval 1.50 to 2.00, over 2 tasks x 2 seeds)."
    )
    (said,) = headlines(dataclasses.replace(results, subjects=("adam",)))
    assert in_words(said) == "tuned Adam was run alone: there is nothing to compare it with."


def test_a_single_tasks_curves_stand_on_top(results):
    one = dataclasses.replace(results, tasks=results.tasks[:1])
    text = render(one, [BOWL])
    assert text.count("bowl-3.png") == 1
    assert text.index("bowl-3.png") < text.index("## Task by task")
    assert "## Training curves" not in text


def test_names_stand_at_the_left_and_numbers_at_the_right(results):
    for table in (main_table(results), overall_table(results), detail_table(results)):
        rule = render_table(table).splitlines()[1].strip("| ").split(" | ")
        for column, mark in zip(table.columns, rule, strict=True):
            assert (mark == "---") == (column.id in ("task", "optimizer", "worst-task"))


def test_the_figure_on_top_has_the_number_of_the_first_sentence(results):
    from matplotlib.figure import Figure

    figure = Figure()
    draw_overview(figure, results, {"small": "#000000"})
    (axes,) = figure.axes
    assert [one.get_text() for one in axes.texts] == ["1.50x", "2.50x", "0.50x"]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["all 2 tasks", "bowl", "valley"]
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][:1]
    assert [2.0**x for x in intervals[0]] == pytest.approx([1.0, 2.0])
    many = [dataclasses.replace(results.tasks[0], task=f"t{at}", part="ab"[at % 2]) for at in range(13)]
    found = places(dataclasses.replace(results, tasks=tuple(many)))
    assert [(one.name, len(one.tasks)) for one in found] == [("all 13 tasks", 13), ("a", 7), ("b", 6)]


def test_the_report_states_table_protocol_and_provenance(results):
    text = render(results, [BOWL])
    for part in (
        "| bowl | 3 | small | **0.250** | 0.625 (0.01) |",
        "| valley | 3 | small | diverged | **0.625 (0.01)** |",
        "![bowl, 3 inner steps](bowl-3.png)",
        "0.250 [0.200, 0.300]",  # mean and range of the seeds
        "| bowl | tuned SGD-m | 3 from 0.0001 to 1 | 1 | 0.500 | yes |",
        "2 seeds, drawn from --seed 7",
        "decay\n  0.95 per step",
        "the lowest mean\n  training loss over the horizon, averaged over the seeds",
        "* command: `lopt-eval small`",
        "* `small` was meta-trained on `digits-mlp` (none of them here by that name); meta-steps: unknown, "
        "inner steps: 100",
        '* small: `{"tasks": ["digits-mlp"], "inner_steps": 100}`',
    ):
        assert part in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.00"), (0.09417, "0.0942"), (123.4, "123"), (1.5e-7, "1.50e-07"), (math.inf, "diverged")],
)
def test_losses_have_three_digits(value, text):
    assert loss(value) == text


def test_all_files_are_written_and_the_plots_are_pictures(results, tmp_path):
    report = write_report(results, tmp_path / "new" / "directory")
    assert Results.from_json(report.json.read_text()) == results
    names = ["bowl-3.png", "valley-3.png", "profiles.png", "speed-ups.png", "overview.png"]
    assert [path.name for path in report.plots] == names
    assert not report.note
    for path in report.plots:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert width == {"overview.png": 840}.get(path.name, 1350 if path.name in names[2:] else 1500)
        assert 200 < height < 700
        assert f"]({path.name})" in report.markdown.read_text()


def test_a_bar_is_as_long_as_the_speed_up_and_says_where_there_is_none(results):
    from matplotlib.figure import Figure

    figure, name = Figure(), results.subjects[0]
    draw_bars(figure, results, {name: "#000000"})
    (axes,) = figure.axes
    expected = [task.row(name).typical_speed_up for task in results.tasks]
    drawn = [2.0 ** patch.get_width() for patch in axes.patches]
    assert drawn == pytest.approx([0.125 if x is None else min(max(x, 0.125), 8) for x in expected])
    assert len(axes.texts) == expected.count(None)
    assert {dot for line in axes.lines[:-1] for dot in line.get_ydata()} == {0.0, 1.0}


def test_the_numbers_that_are_published_say_the_same_without_curves(results):
    bare = Results.from_json(results.without_curves().to_json())
    assert compare(bare) == compare(results)
    assert bare.environment == results.environment
    assert len(bare.to_json()) < len(results.to_json())


def test_without_matplotlib_the_rest_is_written_and_one_sentence_says_how_to_get_it(
    results, tmp_path, monkeypatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = write_report(results, tmp_path)
    assert report.note == "There are no plots without matplotlib: pip install matplotlib."
    assert report.note in report.markdown.read_text()
    assert not report.plots
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.json", "report.html", "report.md"]


def test_the_detail_table_has_accuracy_and_seconds_to_target(results):
    table = detail_table(results)
    rows = {cells[:2]: dict(zip(table.columns, cells, strict=True)) for cells in table.rows}
    small, adam = rows["bowl", "small"], rows["bowl", "tuned Adam (0.01)"]
    # A step takes twice as long as Adam's, and the median seed needs half as many.
    assert (small[STEPS], small[SPEED_UP], small[SECONDS]) == ("1", "2.00x", "0.00200 (1.00x)")
    assert adam[SECONDS] == "0.00300 (1.00x)"
    assert rows["valley", "small"][SECONDS] == "never"
    assert rows["bowl", "Adam 1e-3"][SECONDS] == "-"
    assert small[ACCURACY] == "62.5% [50.0, 75.0]"
    assert adam[ACCURACY] == "-"


def test_results_from_before_there_were_accuracy_and_times_are_read(results):
    values = json.loads(results.to_json())
    for task in values["tasks"]:
        del task["declared"], task["part"]
        for row in task["rows"]:
            del row["held_out_accuracy"], row["seconds_per_step"]
    old = Results.from_json(json.dumps(values))
    assert old.tasks[0].row("small").held_out_accuracy == ()
    assert set(detail_table(old).cells(SECONDS)) == {"-"}
    assert "| small | 1/2 | 1/2 | 1.50x [1.00, 2.00] | - |" in render(old)
