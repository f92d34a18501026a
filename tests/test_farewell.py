"""What a command says to type next can be typed, and scripts that are said to be commands are."""

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from eval import SUITES
from meta_train import Launch, Options, RunDirectory, get_preset
from meta_train.commands.farewell import again, farewell, suite_for
from meta_train.commands.session import wandb_options

REPOSITORY = Path(__file__).parents[1]

KIND = "optimizer"


@pytest.mark.parametrize("path", ["runs/mine", "runs/my run", "lr=[1,2]; rm x", "it's $HOME", "-x", "~", "ü"])
@pytest.mark.parametrize("imports", [(), ("mine.py",), ("my tasks.py", "b.module")])
def test_the_next_commands_name_the_run_and_the_imports(path, imports):
    launch, tasks = Launch(imports=imports), ("digits-mlp",)
    said = farewell(10, True, Path(path), KIND, launch, "lopt-train", tasks)
    _, show, evaluate, export = said.splitlines()
    expected = ["--import", *imports] if imports else []
    given = "./-x" if path == "-x" else path
    assert shlex.split(show) == ["lopt-runs", "show", given]
    assert shlex.split(export) == ["lopt-export", given, "OUT_DIR", *expected]
    assert shlex.split(evaluate) == ["lopt-eval", given, "--suite", "digits", *expected]


def test_the_suite_has_the_training_task_if_any_has():
    for name in SUITES:
        assert suite_for([f"ones-own-{name}"]) in SUITES
    held = {entry.task for suite in SUITES.values() for entry in suite.entries}
    for task in ("quadratic", "digits-mlp", "digits-mlp-family", "mnist-mlp-family", "char-gru", "wine-mlp"):
        assert task in held
        assert task in {entry.task for entry in SUITES[suite_for([task])].entries}
    assert suite_for(["quadratic", "noisy-quadratic"]) == "quadratics"
    assert suite_for(["digits-mlp-family", "fashion-mnist-mlp-family"]) == "images"
    assert suite_for(get_preset("small").problem.names) == "in-distribution"
    assert suite_for(["my-own"]) == "digits"


def test_a_shell_reads_the_path_that_was_meant(tmp_path):
    path = "it's $HOME [a]*"
    line = farewell(10, True, Path(path), KIND, Launch(), "").splitlines()[1]
    shown = line.replace("lopt-runs show", "printf '%s\\n'")
    done = subprocess.run(["sh", "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == path


def test_a_stopped_run_is_resumed_by_what_was_typed_and_a_job_by_its_launcher():
    assert farewell(10, False, Path("run"), KIND, Launch(), "lopt-train x").endswith(
        "resume with\n  lopt-train x"
    )
    several = Launch(distributed=True)
    assert (
        farewell(10, False, Path("run"), KIND, several, "x")
        == f"stopped at meta-step 10; {again(several, 'x')}"
    )
    assert "the same job continues" in again(several, "x")


def test_wandb_name_is_the_runs_unless_a_flag_says_otherwise(monkeypatch, tmp_path):
    directory = RunDirectory(tmp_path / "mine")
    monkeypatch.delenv("WANDB_NAME", raising=False)
    assert wandb_options(Options().run(), directory).name == "mine"
    monkeypatch.setenv("WANDB_NAME", "theirs")
    assert wandb_options(Options().run(), directory).name == "theirs"
    assert wandb_options(Options.of(wandb_name="flag").run(), directory).name == "flag"
    assert wandb_options(Options().run(), directory).project is None


def test_scripts_that_are_typed_without_python_can_be_run():
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    programs = [ast.parse(file.read_text()) for file in REPOSITORY.glob("scripts/*.py")]
    texts = [page.read_text() for page in pages] + [ast.get_docstring(one) or "" for one in programs]
    typed = {name for text in texts for name in re.findall(r"(?<!python )\bscripts/(\w+\.(?:py|sh))", text)}
    commands = {name for name in typed if not name.endswith(".py") or "__main__" in _read(name)}
    assert {"soak.py", "dashboard.py"} <= commands
    for name in commands:
        assert os.access(REPOSITORY / "scripts" / name, os.X_OK), name
        assert _read(name).startswith("#!"), name


def _read(name):
    return (REPOSITORY / "scripts" / name).read_text()
