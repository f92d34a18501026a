"""Whatever the files of a run directory hold, a command repairs it or says one sentence."""

import json
import os
import shutil

import pytest

from meta_train import JsonLines, RunDirectory, RunDirectoryError
from meta_train.commands import export as export_cli
from meta_train.host.checksums import damage
from meta_train.host.files import write_whole
from meta_train.runs.files import steps_in
from meta_train.runs.references import read_references, write_references
from meta_train.runs.validation import Reference
from meta_train.trackers import read_json_lines

from .small_runs import train_here

OPTIONS = (
    "tiny --task quadratic --particles 4 --devices 1 --window 5 --horizon-high 10 --reference-rates 3 "
    "--hysteresis-particles 0 --validation-episodes 1 --steps-per-call 1 --run-dir run --no-progress --steps"
)
TEXTS = (
    *("", "\n", "{", "[]", "[1]", "{}", "null", "3", '"x"', "[" * 100_000, '{"a": ' * 50_000),
    *("\x1b[2J", "\0"),
    *('{"\x1b[2J": 1}', '{"id": 3}', '{"id": "\\u001b[2J"}', '{"options": [], "adams": []}', '{"adams": 1}'),
)
ODD = {
    **{f"text {text[:12]!r}": text.encode() for text in TEXTS},
    "latin-1": '{"a": "ü"}'.encode("latin-1"),
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "bytes": bytes(range(256)),
}
SHAPES = {
    "folder": os.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: os.symlink("/dev/zero", path),
    "dangling": lambda path: os.symlink("nowhere", path),
    "loop": lambda path: os.symlink(path.name, path),
}


def put(path, odd):
    """Put something odd in a file's place."""
    path.unlink(missing_ok=True)
    if odd in SHAPES:
        SHAPES[odd](path)
    else:
        path.write_bytes(ODD[odd])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one meta-step."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert train_here(*OPTIONS.split(), 1) == 0
    return place / "run"


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy, in the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def complaint(kind, call, *arguments):
    """Call; return the message of the error that it raised, of one kind, or nothing."""
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    return ""


def claim(run):
    """Do what a resumed run does with its files, short of training."""
    config = RunDirectory(run.path).read_config()
    run.check(config)
    with run.locked("lopt-train"):
        run.open(config, "lopt-train")


@pytest.mark.parametrize("odd", [*ODD, *SHAPES])
@pytest.mark.parametrize("name", ["config.json", "run.json", "lock.json", "checkpoints/README.txt"])
def test_an_odd_file_is_repaired_or_refused(run, capsys, name, odd):
    put(run.path / name, odd)
    message = complaint(RunDirectoryError, claim, run)
    assert message.isprintable()
    assert not message or name in message
    if name == "lock.json":
        return
    status = export_cli.main(["run", "out"])
    errors = capsys.readouterr().err
    assert (status, errors.count("\n")) in ((0, 0), (1, 1)), errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", odd) for odd in ("many", None, 1.5, True, [1], {}, "\x1b")),
        *(("devices", odd) for odd in ("all", 0.5, [], False)),
        *(("task", odd) for odd in (3, [3], None, {}, [], [None])),
        *(("optimizer_options", odd) for odd in ("a=1", [1], None)),
        *(("sigma", odd) for odd in ("0.1", None, True, [0.1])),
        *(("horizon", odd) for odd in ("long", 3, None)),
        *(("optimizer", odd) for odd in (3, None, [])),
        *(("init_from", odd) for odd in (3, [], True)),
    ],
)
def test_an_odd_value_of_the_configuration_is_refused(run, capsys, name, value):
    values = json.loads(run.config.read_text())
    groups = (*(values[group] for group in ("problem", "loop", "placement")), values["method"]["estimator"])
    place = next(group for group in groups if name in group)
    place[name] = value
    run.config.write_text(json.dumps(values))
    assert train_here(*OPTIONS.split(), 1) == 1
    assert export_cli.main(["run", "out"]) == 1
    one, other = capsys.readouterr().err.splitlines()
    assert one.startswith("lopt-train: ")
    assert other.startswith("lopt-export: ")
    assert "not the configuration of a run" in other


@pytest.mark.parametrize("odd", [*ODD, *SHAPES])
def test_an_odd_reference_is_none(tmp_path, odd):
    put(tmp_path / "reference.json", odd)
    assert read_references(tmp_path / "reference.json", {"rates": 3}, ["adam"], {"a": 2}) is None


ADAM = {"a": {"setting": 0.1, "objective": 1.0, "curve": [2.0, 1.0]}}
GOOD = {"options": {"rates": 3}, "rivals": {"adam": ADAM}}


@pytest.mark.parametrize(
    "change",
    [
        *({"options": odd} for odd in (None, [], {"rates": 4}, "x")),
        *({"rivals": odd} for odd in (None, [], {}, {"adam": None}, {"other": ADAM})),
        *({"rivals": {"adam": odd}} for odd in (None, [], {}, {"b": ADAM["a"]}, {"a": None}, {"a": []})),
        *({"rivals": {"adam": {"a": ADAM["a"] | {"setting": odd}}}} for odd in (None, "x", [], True)),
        *({"rivals": {"adam": {"a": ADAM["a"] | {"objective": odd}}}} for odd in (None, "x", {})),
        *(
            {"rivals": {"adam": {"a": ADAM["a"] | {"curve": odd}}}}
            for odd in (None, "xy", [1.0], [1.0, "x"], [1.0, None], {"0": 1.0})
        ),
    ],
)
def test_a_changed_reference_is_none(tmp_path, change):
    file = tmp_path / "reference.json"
    found = {"adam": {"a": Reference(0.1, 1.0, (2.0, 1.0))}}
    write_references(file, {"rates": 3}, found)
    assert json.loads(file.read_text()) == GOOD
    assert read_references(file, {"rates": 3}, ["adam"], {"a": 2}) == found
    file.write_text(json.dumps(GOOD | change))
    assert read_references(file, {"rates": 3}, ["adam"], {"a": 2}) is None


def test_a_run_with_odd_files_goes_on(run):
    """Those that are repaired, all at once, by the command itself."""
    put(run.reference, "text '[1]'")
    put(run.metrics, "latin-1")
    run.identity.unlink()
    put(run.path / "lock.json", "bytes")
    (run.checkpoints / "²").mkdir()
    assert train_here(*OPTIONS.split(), 2) == 0
    assert [step for step, _ in read_json_lines(run.metrics)] == [2]
    assert json.loads(run.reference.read_text())["rivals"]["tuned_adam"].keys() == {"quadratic"}
    assert steps_in(run.checkpoints)[-1] == 2


LINES = (
    *(b"", b"[]", b"3", b'{"a": 1}', b'{"meta_step": "x"}', b'{"meta_step": null, "a": 1}', b"\xff\xfe"),
    *(b'{"meta_step": 1, "a": "\xe9"}', b"[" * 100_000, b'{"meta_step": 9, "a": 1}', b'{"meta_step": 2, "a'),
)


def test_odd_lines_of_the_metrics_are_dropped(tmp_path):
    path, good = tmp_path / "metrics.jsonl", b'{"meta_step": 1, "a": 0.5}'
    path.write_bytes(b"\n".join((*LINES[:5], good, *LINES[5:])))
    JsonLines(path, resume_step=3).close()
    assert path.read_bytes() == good + b"\n"


@pytest.mark.parametrize("line", [*LINES, b'{"meta_step": 1, "a": {"steps": 1, "lines": 2}}'])
def test_an_odd_line_of_the_metrics_is_passed_over_or_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line)
    message = complaint(ValueError, lambda: list(read_json_lines(path)))
    assert not message or "line 1, is not a record of a run" in message


@pytest.mark.parametrize("odd", [*ODD, *SHAPES])
def test_odd_metrics_and_odd_checksums_are_told(tmp_path, odd):
    put(tmp_path / "checksums.json", odd)
    assert damage(tmp_path) in (None, "its checksums can't be read") or ODD[odd].startswith(b"{")
    put(tmp_path / "metrics.jsonl", odd)
    if odd in ("folder", "pipe", "device"):
        with pytest.raises(OSError, match="is not a regular file"):
            JsonLines(tmp_path / "metrics.jsonl", 1)


@pytest.mark.parametrize("name", ["²", "٣", "-5", "1_3", "+1", " 1", "12.5", "4.orbax-checkpoint-tmp"])
def test_a_stray_name_is_no_checkpoint(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / "3").mkdir()
    assert steps_in(tmp_path) == [3]


@pytest.mark.parametrize("name", ["lock.json", "config.tmp", "run.tmp", "metrics.tmp"])
def test_what_a_link_leads_to_is_left_alone(run, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(precious)
    message = complaint(RunDirectoryError, claim, run)
    assert ("lock.json can't be opened" in message) == (name == "lock.json")
    write_whole(run.path / "run.json", run.identity.read_text())
    JsonLines(run.metrics, 1).close()
    assert precious.read_text() == "precious"
