"""`scripts/check_gpu.py` checks a machine's GPUs; whatever fails or hangs there, the rest is known."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
CASE = {"task": "mlp64", "particles": 2048, "window": 50, "hidden": 4, "batch": 128, "devices": 1}


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a script as Python does when one is started."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module


@pytest.mark.slow
def test_a_machine_without_a_gpu_says_so_and_does_everything_small(tmp_path):
    command = [sys.executable, str(SCRIPTS / "check_gpu.py"), "--smallest", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert "There is no GPU here" in done.stderr
    found = json.loads((tmp_path / "check-gpu.json").read_text())
    assert found["environment"]["backend"] == "cpu"
    assert found["bandwidth"]["highest_error"] < 1e-5
    assert found["agreement"]["default_difference"] < 1e-5
    assert found["resume"]["theta_same"]
    assert found["resume"]["metrics_same"]
    tests = found["tests"]
    assert (tests["passed"] > 0, tests["failed"], tests["whole"]) == (True, 0, True)
    assert found["devices"]["theta_difference"] < 1e-3
    case, update = found["grid"]["0"], found["updates"]["0"]
    assert case["finite"]
    step = found["inner_steps"]["0"]
    # A step reads and writes a member's state, at least.
    assert step["step_bytes"] > step["state_bytes"] > 2 * 4 * 3 * (64 * 32 + 32 + 32 * 10 + 10)
    assert update["finite"]
    assert (tmp_path / "check-gpu.md").read_text() in done.stdout


def test_a_process_that_fails_or_hangs_is_an_error_of_its_own(load, tmp_path):
    start = load("separate_process").start
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, time\ntime.sleep(json.loads(sys.argv[1]))\nprint('noise')\nprint('{\"a\": 1}')"
    )
    assert start(script, 0, 60, {}) == {"a": 1}
    assert start(script, 60, 0.5, {})["error"] == "given up after 0 s"
    assert start(script, -1, 60, {})["error"].startswith("ValueError: sleep length")


def test_results_are_written_as_they_come_and_failures_are_told(load, tmp_path):
    check = load("check_gpu").Check(tmp_path, 60, tmp_path)
    check.record("grid", {**CASE, "error": "not reached"}, 0)
    assert not check.failed
    check.record("tests", {"passed": 3, "failed": 1, "skipped": 0, "whole": False,
                           "failures": [{"test": "tests/a.py::b", "why": "1 != 2"}]})  # fmt: skip
    assert check.failed
    assert json.loads((tmp_path / "check-gpu.json").read_text())["grid"]["0"]["error"] == "not reached"
    table = (tmp_path / "check-gpu.md").read_text()
    assert "| 4 | 128 | 2,048 | 50 | not reached | - |" in table
    assert "tests: 3 passed, 1 failed, 0 skipped, stopped before the end" in table
    assert "failed: `tests/a.py::b`: 1 != 2" in table


def test_shares_of_the_bandwidth_are_bytes_over_time(load):
    case = {**CASE, "inner_steps_per_s": 1e6, "meta_step_s": 0.2}
    step = {**CASE, "particles": 64, "step_bytes": 4e5, "state_bytes": 1e5}
    found = {"bandwidth": {"copy_gb_per_s": 2000.0, "error": "-"}}
    found |= {"grid": {"0": case}, "inner_steps": {"0": step}}
    table = load("gpu_report").markdown(found)
    assert "| 20.0 % | 5.0 % |" in table  # 4e5 x 1e6 of 2e12 bytes per second


def test_a_gpu_gets_the_whole_grid_the_most_important_cases_first(load):
    plan = load("gpu_plan").plan("gpu", devices=1, cores=16, smallest=False)
    assert {(case["hidden"], case["batch"]) for case in plan.cases} == {(4, 128), (8, 128), (4, 64), (8, 64)}
    assert {case["particles"] for case in plan.cases} == {64, 512, 2048, 8192}
    assert {case["window"] for case in plan.cases} == {50}
    assert all(case["batch"] == 128 and case["hidden"] == 4 for case in plan.cases[: plan.first_cases])
    assert not plan.devices
    files = [Path(argument) for argument in plan.tests if argument.endswith(".py")]
    assert len(files) > 5
    assert all(path.is_file() for path in files)
    assert load("gpu_plan").plan("gpu", devices=8, cores=16, smallest=False).devices
