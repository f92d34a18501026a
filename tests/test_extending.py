"""What docs/extending.md shows is run: its files, and its commands."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from meta_train import import_all

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(\w+\.py)`\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^lopt-\w+ .*$", PAGE.replace("\\\n", " "), re.MULTILINE)
CONTRACT = r"python -m pytest -p (\w+) (tests/\w+\.py) -k ([\w-]+)"
CONTRACTS = re.findall(CONTRACT, PAGE)
BRIEFLY = {
    "lopt-train": "--steps 2 --particles 2 --reference-rates 0 --hysteresis-particles 0 --no-progress",
    "lopt-eval": "--horizon 8 --seeds 2",
    "lopt-export": "",
}
ENDS = """
import jax, numpy as np
import meta_train, partial_pes
from tests.dynamics import ScalarLinear

draws = np.random.default_rng(0)
dynamics = ScalarLinear(*(jax.numpy.asarray(draws.normal(size=20), "float32") for _ in range(2)))
theta = jax.numpy.float32(0.3)


def estimates(name, **options):
    horizon = meta_train.ConstantHorizon(20)
    it = meta_train.create_estimator(name, window=5, horizon=horizon, sigma=0.1, phase="lockstep", **options)
    state, found = it.init(dynamics, theta), []
    for i in range(4):
        state, estimate = it.step(dynamics, theta, state, jax.random.key(i), jax.numpy.int32(i))
        found.append(float(estimate.gradient))
    return found


pes, truncated = estimates("pes"), estimates("truncated-es")
assert not np.allclose(pes, truncated)
np.testing.assert_allclose(estimates("partial-pes", past_weight=1.0), pes, rtol=1e-5)
np.testing.assert_allclose(estimates("partial-pes", past_weight=0.0), truncated, rtol=1e-5)
"""
USED = """
import jax.numpy as jnp, lopt, tiny_mlp
assert lopt.as_optax("rings-mlp").init({"w": jnp.ones(3)})
"""

pytestmark = pytest.mark.usefixtures("default_promotion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("extending")
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


def run(arguments, folder, status=0):
    """Run what registers names in a process of its own, so that no other test sees them."""
    bin_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = {"PATH": bin_path, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        arguments, cwd=folder, env=os.environ | paths, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_has_a_file_of_each_kind():
    assert len(FILES) == 5
    assert [command.split()[0] for command in COMMANDS] == [
        "lopt-train",
        "lopt-eval",
        "lopt-export",
        "lopt-train",
    ]
    assert len(CONTRACTS) == 3


def test_the_commands_train_benchmark_and_export_what_the_files_register(folder):
    said = [run(shlex.split(f"{command} {BRIEFLY[command.split()[0]]}"), folder) for command in COMMANDS]
    assert "rings-mlp" in said[2]
    assert "done: 2 meta-steps in runs/descent" in said[3]
    run(["lopt-export", "runs/descent", "tuned", "--import", "descent.py"], folder)
    assert {"theta.safetensors", "config.json"} == {path.name for path in (folder / "tuned").iterdir()}
    report = (folder / "runs" / "eval" / "rings" / "report.md").read_text()
    assert "tuned AdaBelief" in report
    run([sys.executable, "-c", USED], folder)
    said = run(["lopt-export", "runs/rings", "again"], folder, status=1)
    assert "unknown estimator 'partial-pes'" in said
    assert "it was trained with --import: the same files are needed here" in said
    assert "rings" in run(["lopt-train", "--list", "--import", "rings.py"], folder)


@pytest.mark.parametrize(("module", "tests", "name"), CONTRACTS)
def test_what_the_page_shows_passes_the_contract_tests(module, tests, name, folder):
    options = ["-p", module, "-p", "no:cacheprovider", "-q", "--rootdir", str(ROOT), str(ROOT / tests)]
    said = run([sys.executable, "-m", "pytest", *options, "-k", name], folder)
    assert re.search(r"\d+ passed", said)


def test_the_estimator_lies_between_the_two_that_it_names(folder):
    run([sys.executable, "-c", ENDS], folder)


def test_files_are_imported_once_and_found_under_their_own_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_me.py").write_text("TIMES = []")
    (tmp_path / "counts_itself.py").write_text("import beside_me\nbeside_me.TIMES.append(1)")
    monkeypatch.chdir(tmp_path)
    import_all(["counts_itself.py", "counts_itself", str(tmp_path / "counts_itself.py")])
    assert sys.modules.pop("beside_me").TIMES == [1]
    sys.modules.pop("counts_itself")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("missing.py", None, "there is no such file"),
        ("no_such_module_at_all", None, "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raises.py", "x = 1\nx.y", "AttributeError: 'int' object has no attribute 'y' (line 2)"),
        ("cant_be_read.py", "x = (", "SyntaxError: '(' was never closed"),
        ("random.py", "x = 1", "another module is called 'random': rename the file"),
        ("exits.py", "import sys\nsys.exit(3)", "SystemExit: 3 (line 2)"),
        ("exits_silently.py", "raise SystemExit", "SystemExit (line 1)"),
        ("is_stopped.py", "raise KeyboardInterrupt", "stopped while it was imported"),
        ("says_much.py", "raise OSError('a\\nb\\x1b[2J')", r"OSError: a\nb\x1b[2J (line 1)"),
        *(
            (f"registers_{i}.py", f"import tasks\n{text}", f"UsageError: {says}")
            for i, (text, says) in enumerate(
                [
                    ("tasks.register('n')(3)", "the object registered as task 'n' is not a function"),
                    ("tasks.register('n')(int)", "the object registered as task 'n' is not a Task: <class"),
                    ("@tasks.register('n')\ndef f(x): ...", "the object registered as task 'n' must take"),
                    (
                        "@tasks.register('n')\nclass T(tasks.Task): 0",
                        "the object registered as task 'n' lacks",
                    ),
                    ("@tasks.register\ndef f(): ...", "<function f at "),
                    ("tasks.register('')", "'' is not a name to register: write @register('NAME')"),
                ]
            )
        ),
        *(
            (f"{package}_{i}.py", f"import {package}\n{text}", f"UsageError: {says}")
            for package, base in (("lopt", "LearnedOptimizer"), ("meta_train", "Estimator"))
            for i, (text, says) in enumerate(
                [
                    (
                        f"{package}.register('n')(3)",
                        f"the object registered as 'n' is not a subclass of {base}: 3",
                    ),
                    (
                        f"{package}.register('n')(int)",
                        f"the object registered as 'n' is not a subclass of {base}: <class",
                    ),
                    (
                        f"{package}.register('n')(print)",
                        f"the object registered as 'n' is not a subclass of {base}: <built",
                    ),
                    (f"@{package}.register('n')\nclass C({package}.{base}): 0", "C, registered as 'n', lack"),
                    (f"{package}.register(int)", "<class 'int'> is not a name to register: write @register("),
                ]
            )
        ),
    ],
)
def test_a_file_that_cant_be_imported_is_told_in_one_sentence(name, text, says, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"--import {name}: {says}")) as caught:
        import_all([name])
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_builder_that_returns_no_task_is_told_when_it_is_built(monkeypatch):
    monkeypatch.setattr("tasks.registry.TASKS", dict(tasks.TASKS))
    tasks.register("no-task")(lambda: 3)
    with pytest.raises(ValueError, match="task 'no-task' is not a Task: its builder returned int"):
        tasks.build("no-task")


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("meta_train.commands.train tiny --run-dir run", 130, "stopped before anything was started\n"),
        ("meta_train.commands.train --list", 1, "lopt-train: --import endless.py: stopped while it was"),
        ("meta_train.commands.export run out", 1, "lopt-export: --import endless.py: stopped while it was"),
    ],
)
def test_ctrl_c_ends_an_import_that_does_not_end(command, status, says, tmp_path):
    (tmp_path / "endless.py").write_text("import time\nprint('here', flush=True)\nwhile True: time.sleep(1)")
    module, *arguments = command.split()
    program = f"import sys; from {module} import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--import", "endless.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (status, 1), errors
    assert errors.startswith(says)
