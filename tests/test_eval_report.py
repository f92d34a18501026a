"""A report holds what was measured, survives JSON, and says what a reader should be warned of."""

import dataclasses
import json
import math
import struct
import sys

import pytest

from eval import Results, Row, TaskResult, write_report
from eval.markdown import render
from eval.tables import loss, main_table, verdicts

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
        row("adam", 0.5, "tuned", speed_up=(1.0, 1.0), steps_to_target=(3.0, 3.0)),
        row("sgd-momentum", 0.6, "tuned", rate=1.0),
        row("adam-1e-3", 1.2, "untuned"),
    )
    blown = {"diverged": (True, False), "train_curves": ((2.0, math.inf, math.inf), (2.0, 1.0, 0.5))}
    rows = [
        row("small", 0.2, speed_up=(2.0, 3.0), steps_to_target=(1.0, 1.0)),
        row("small", math.inf, **blown),
    ]
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
    assert table.best == (3, 4)


def test_a_baseline_that_was_asked_about_has_a_row_of_its_own(results):
    table = main_table(dataclasses.replace(results, subjects=("adam",)))
    assert table.rows[0][2:5] == ("adam", "0.625 (0.01)", "-")
    assert table.rows[0][-2:] == ("1.00x", "-")
    assert table.best[0] == 3


def test_the_verdicts_count_wins_and_warn(results):
    outside = "an end of its grid: a better learning rate may lie outside."
    assert verdicts(results) == [
        "small has a lower mean training loss than tuned Adam on 1 of 2 tasks.",
        f"Warning: tuned SGD-m is best at 1 on bowl, {outside}",
        "Warning: small diverged on 1 of 2 seeds of valley.",
        f"Warning: tuned SGD-m is best at 1 on valley, {outside}",
    ]


def test_the_report_states_table_protocol_and_provenance(results):
    text = render(results, {("bowl", 3): "bowl-3.png"})
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
    assert [path.name for path in report.plots] == ["bowl-3.png", "valley-3.png"]
    assert not report.note
    for path in report.plots:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert (width, height) == (1500, 630)
        assert f"]({path.name})" in report.markdown.read_text()


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.json", "report.md"]
