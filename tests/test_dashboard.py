"""The W&B dashboard shows what runs log, in W&B's own form, and says in a sentence what it lacks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta_train import METRICS, Options, run_to_json
from meta_train.trackers import dashboard
from meta_train.trackers.dashboard import SECTIONS, Subject, panel_metrics
from meta_train.trackers.metrics import Scope
from meta_train.trackers.metrics import names_of as names_of_scope

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / "scripts" / "dashboard.py"
LOGGED = [
    {"meta_step": 0, "meta/loss": 1.0, "tasks/b/curve": {}, "tasks/a/curve": {}, "tasks/a/final_loss": 1.0},
    {"meta_step": 10, "meta/loss": 0.5, "theta/histogram/w.0": {}, "theta/value/rate": 0.1},
]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("dashboard_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "config.json").write_text(
        run_to_json(Options.of(task=("a",), wandb_project="mine", wandb_entity="us").run())
    )
    (tmp_path / "run.json").write_text('{"id": "abcd1234"}')
    lines = [json.dumps(record) for record in LOGGED]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"meta_step": 20, "theta/va')
    return tmp_path


# --- the names -------------------------------------------------------------------------------------------


def test_panels_show_nothing_but_what_runs_log():
    assert panel_metrics() <= set(METRICS)


def test_all_that_runs_log_is_shown():
    assert set(METRICS) <= panel_metrics()


def test_what_is_known_takes_the_place_of_its_pattern(run_dir):
    subject = dashboard.read_subject(run_dir).with_tasks(["c", "a"])
    plain = {name for name in METRICS if "{" not in name}
    assert panel_metrics(subject) - plain == {
        *(f"tasks/{task}/curve" for task in "abc"),
        *(f"tasks/{task}/final_loss" for task in "ac"),
        *("theta/histogram/w.0", "theta/value/rate"),
    }


def test_only_a_name_of_its_pattern_is_matched():
    names = ["tasks/a/b/curve", "xtasks/a/curve", "tasks/a/curves", "tasks//curve", "theta/norm"]
    assert dashboard.match_templates(names) == {"tasks/{task}/curve": ("tasks/a/b/curve",)}


def test_sections_come_in_the_order_in_which_they_are_read():
    assert [section.name for section in SECTIONS] == [
        *("meta", "tasks", "estimator", "theta", "tuned", "time", "robust")
    ]
    for section in SECTIONS:
        own = {name for panel in section.panels for name in panel.metrics}
        assert all(name.startswith(f"{section.name}/") for name in own)


# --- where they come from ----------------------------------------------------------------------------------


def test_a_run_says_what_its_dashboard_is_about(run_dir):
    subject = dashboard.read_subject(run_dir)
    assert (subject.project, subject.entity, subject.run_id) == ("mine", "us", "abcd1234")
    assert subject.positive
    (run_dir / "config.json").write_text(run_to_json(Options.of(task=("z",), objective="mean-log").run()))
    for name in ("metrics.jsonl", "run.json"):
        (run_dir / name).unlink()
    assert dashboard.read_subject(run_dir) == Subject(
        "lopt",
        "",
        {"tasks/{task}/curve": ("tasks/z/curve",), "tasks/{task}/final_loss": ("tasks/z/final_loss",)}
        | dict.fromkeys((*names_of_scope(Scope.MEMBER), *names_of_scope(Scope.TRIALS), "tuned/{leaf}"), ()),
        None,
        positive=False,
    )


def test_the_dashboard_of_a_mixture_has_each_task_and_what_it_is_judged_on(run_dir, script, capsys):
    for name in ("metrics.jsonl", "run.json"):
        (run_dir / name).unlink()
    config = Options.of(task=("a", "b"), validate_on=("a:40", "c"))
    (run_dir / "config.json").write_text(run_to_json(config.run()))
    shown = panel_metrics(dashboard.read_subject(run_dir))
    tasks = {name for name in shown if name.startswith("tasks/")}
    assert len(tasks) == 2 * len(names_of_scope(Scope.MEMBER)) + 2 * 4
    assert {"tasks/a/scale", "tasks/b/loss", "tasks/a-40/curve", "tasks/c/tuned_adam"} <= tasks
    view = printed(script, capsys, "--run-dir", str(run_dir), "--only", "workspace")["workspace"]
    scales = [panel["config"] for panel in panels_of(view) if "tasks/a/scale" in names_of([panel])]
    assert [config["metrics"] for config in scales] == [["tasks/a/scale", "tasks/b/scale"]]


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '"x"'])
def test_what_is_no_run_is_told(tmp_path, text, script, capsys):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert script.main(["--run-dir", str(tmp_path), "--print"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"dashboard: {tmp_path} is not a run directory")
    assert printed.err.count("\n") == 1


ODD = [b"", b"[]", b'{"id": 7}', b'{"id": "../../x"}', b"\xff\xfe\n{", b"[" * 10_000]


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"id": 7}', b'{"id": "../../x"}', b"\xff\xfe\n{", b"[" * 10_000]
)
def test_odd_files_beside_the_configuration_are_passed_over(run_dir, name, content):
    whole = dashboard.read_subject(run_dir)
    (run_dir / name).write_bytes(content)
    odd = dashboard.read_subject(run_dir)
    assert odd.run_id == (None if name == "run.json" else whole.run_id)
    assert odd.project == whole.project


def test_options_go_before_what_the_run_says(run_dir, script):
    given = script.parse(["--run-dir", str(run_dir), "--project", "other", "--task", "b", "--task", "c"])
    subject = script.find_subject(given)
    assert (subject.project, subject.entity) == ("other", "us")
    assert subject.known["tasks/{task}/final_loss"] == tuple(f"tasks/{task}/final_loss" for task in "abc")


# --- W&B's form ------------------------------------------------------------------------------------------


def printed(script, capsys, *arguments):
    pytest.importorskip("wandb")
    pytest.importorskip("wandb_workspaces")
    assert script.main(["--print", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def panels_of(view):
    return [
        panel
        for section in view["spec"]["section"]["panelBankConfig"]["sections"]
        for panel in section["panels"]
    ]


def names_of(panels):
    return {
        name
        for panel in panels
        for name in (
            *panel["config"].get("metrics", ()),
            *panel["config"].get("mediaKeys", ()),
            *((panel["config"].get("xAxis"),) if panel["config"].get("xAxis") != "meta_step" else ()),
        )
    } - {None}


def test_the_workspace_that_is_printed_is_wandbs_and_shows_every_metric(script, run_dir, capsys):
    view = printed(script, capsys, "--run-dir", str(run_dir), "--only", "workspace")["workspace"]
    from wandb_workspaces.workspaces import Workspace, internal

    read = Workspace._from_model(internal.View.model_validate(view | {"spec": view["spec"]}))
    assert (read.entity, read.project) == ("us", "mine")
    assert [section.name for section in read.sections] == [section.name for section in SECTIONS]
    assert names_of(panels_of(view)) == panel_metrics(dashboard.read_subject(run_dir))


def test_train_validation_and_adam_share_a_panel_on_either_axis(script, run_dir, capsys):
    view = printed(script, capsys, "--run-dir", str(run_dir))["workspace"]
    (first, second, *_) = panels_of(view)
    assert first["config"]["metrics"] == ["meta/loss", "meta/valid_objective", "meta/tuned_adam"]
    assert first["config"]["yLogScale"] is True
    assert first["config"]["overrideMarks"] == {"abcd1234:meta/tuned_adam": "dashed"}
    assert (first["config"]["xAxis"], second["config"]["xAxis"]) == ("meta_step", "inner_steps")
    assert second["config"]["metrics"] == first["config"]["metrics"]
    media = [panel for panel in panels_of(view) if panel["viewType"] == "Media Browser"]
    assert [panel["config"]["mediaKeys"] for panel in media] == [["tasks/a/curve"], ["tasks/b/curve"]]


def test_an_objective_without_logarithm_has_none(script, run_dir, capsys):
    (run_dir / "config.json").write_text(run_to_json(Options.of(objective="mean-log").run()))
    view = printed(script, capsys, "--run-dir", str(run_dir))["workspace"]
    assert not any(panel["config"].get("yLogScale") for panel in panels_of(view))


def test_without_names_numbers_are_found_by_a_pattern(script, capsys):
    view = printed(script, capsys, "--only", "workspace")["workspace"]
    patterns = [p["config"]["metricRegex"] for p in panels_of(view) if "metricRegex" in p["config"]]
    each = ("final_loss", "valid_objective", "tuned_adam")
    each += ("loss", "objective", "diverged", "particle_norm", "scale")
    assert patterns == [*(f"tasks/.+/{name}" for name in each), "theta/value/.+"]
    assert not any("{" in name for name in names_of(panels_of(view)))


def test_the_report_explains_what_it_shows(script, run_dir, capsys):
    report = printed(script, capsys, "--run-dir", str(run_dir), "--only", "report")["report"]
    from wandb_workspaces.reports.v2 import internal

    internal.ReportViewspec.model_validate(report | {"spec": json.dumps(report["spec"])})
    blocks = report["spec"]["blocks"]
    grids = [block["metadata"]["panelBankSectionConfig"] for block in blocks if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["panels"]]
    assert names_of(panels) == panel_metrics(dashboard.read_subject(run_dir))
    text = json.dumps([block for block in blocks if block["type"] == "list"])
    assert all(json.dumps(metric.about)[1:-1] in text for name, metric in METRICS.items() if "/" in name)
    for grid in grids:
        places = [(p["layout"]["x"], p["layout"]["y"]) for p in grid["panels"]]
        assert len(set(places)) == len(places)
        assert all(p["layout"]["x"] + p["layout"]["w"] <= 24 for p in grid["panels"])


class Server:
    """W&B, as far as saving needs it; an instance is what `wandb.Api()` gives."""

    default_entity = "default"
    app_url = "https://wandb.test"

    def __init__(self):
        self.saved = []
        self._service_api = self

    def projects(self, entity):
        return []

    def create_project(self, project, entity):
        pass

    def execute_graphql(self, query, variables):
        self.saved.append(variables)
        names = {"entityName": variables["entityName"], "name": variables["projectName"]}
        given = {key: variables[key] for key in ("name", "displayName", "description", "spec")}
        return {"upsertView": {"view": given | {"id": "id", "project": names}, "inserted": True}}


@pytest.fixture
def server(monkeypatch):
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("wandb_workspaces")
    one = Server()
    monkeypatch.setattr(wandb, "login", lambda prompt: not prompt)
    monkeypatch.setattr(wandb, "Api", lambda: one)
    return one


def test_saving_sends_both_and_prints_their_addresses(script, server, capsys):
    assert script.main(["--project", "mine", "--task", "a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("?")[0].split("reports")[0] for line in lines] == [
        "workspace: https://wandb.test/default/mine",
        "report: https://wandb.test/default/mine/",
    ]
    assert [sent["type"] for sent in server.saved] == ["project-view", "runs"]
    assert all((sent["entityName"], sent["projectName"]) == ("default", "mine") for sent in server.saved)
    assert all("tasks/a/curve" in sent["spec"] for sent in server.saved)


def test_only_one_is_saved_where_one_is_asked_for(script, server):
    assert script.main(["--entity", "us", "--only", "report"]) == 0
    assert [(sent["type"], sent["entityName"]) for sent in server.saved] == [("runs", "us")]


def test_what_wandb_refuses_is_told_in_a_sentence(script, server, monkeypatch, capsys):
    def refuse(*arguments, **options):
        raise ConnectionError("no route to host\nand much else")

    monkeypatch.setattr(server, "execute_graphql", refuse)
    assert script.main([]) == 1
    assert capsys.readouterr().err == "dashboard: W&B rejected the workspace: no route to host\n"


# --- without what it needs -------------------------------------------------------------------------------


def run(tmp_path, *arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    folders = dict.fromkeys(("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), str(tmp_path))
    return subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *arguments],
        env=kept | folders | {"WANDB_ERROR_REPORTING": "false"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )


def test_without_an_api_key_it_says_what_to_do(tmp_path):
    pytest.importorskip("wandb_workspaces")
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "wandb login" in done.stderr
    assert "--print" in done.stderr


def test_without_an_api_key_it_prints(tmp_path):
    pytest.importorskip("wandb_workspaces")
    done = run(tmp_path, "--print", "--only", "report")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout).keys() == {"report"}


def test_without_the_package_it_names_the_command(script, monkeypatch, capsys):
    for name in ("wandb_workspaces", "wandb_workspaces.reports.v2", "wandb_workspaces.workspaces"):
        monkeypatch.setitem(sys.modules, name, None)
    assert script.main(["--print"]) == 1
    error = capsys.readouterr().err
    assert "pip install wandb-workspaces" in error
    assert error.count("\n") == 1
