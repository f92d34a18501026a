"""What pip installs: lopt alone stays light, clashes with no module of yours, and says what else there is."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import jax
import pytest
from hatchling.builders.wheel import WheelBuilder

from lopt import platform

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("eval", "meta_train", "tasks")
LIBRARIES = Path(jax.__file__).parents[1]
THEIRS = "MINE = True\n"
TAKE = "from lopt.platform import eval, meta_train, tasks"


def names(requirements):
    """Return the distributions' names, in their normal form."""
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line).group()).lower() for line in requirements}


TRAIN = names(PROJECT["project"]["optional-dependencies"]["train"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("wheel"))
    return Path(next(WheelBuilder(str(ROOT)).build(directory=directory, versions=["standard"])))


@pytest.fixture(scope="module")
def site(wheel):
    """Unpack the wheel, which is all that installing it does to the packages."""
    zipfile.ZipFile(wheel).extractall(wheel.parent / "site")
    return wheel.parent / "site"


@pytest.fixture
def folder(tmp_path):
    """A user's folder, with modules of their own."""
    for name in ("tasks.py", "eval.py"):
        (tmp_path / name).write_text(THEIRS)
    for name in ("meta_train", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(THEIRS)
    return tmp_path


def run(program, site, cwd, *arguments, status=0):
    """Run a program that finds its folder's modules first, then the wheel's, then all libraries.

    `-S` keeps out the checkout, which the development environment has on its path.
    """
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (cwd, site, LIBRARIES)))}
    line = [sys.executable, "-S", "-c", program, *arguments]
    done = subprocess.run(line, cwd=cwd, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def command(name):
    return f"import sys; from lopt.platform import {name}; sys.exit({name}())"


# --- what is in a wheel ----------------------------------------------------------------------------------


def test_a_wheel_has_one_name_at_the_top(wheel):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lopt"}


def test_a_wheel_has_every_file_of_the_packages(wheel):
    homes = {"lopt": "lopt", "checkpoints": "lopt/checkpoints"}
    homes |= {name: f"lopt/_platform/{name}" for name in PACKAGES}
    files = {
        f"{home}/{path.relative_to(ROOT / name).as_posix()}"
        for name, home in homes.items()
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files == {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert any(name.startswith("lopt/_platform/eval/tuned/") for name in files)


def test_lopt_alone_asks_for_what_it_imports_and_no_more(wheel):
    wanted = set()
    for path in (ROOT / "lopt").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                wanted.add(node.module.partition(".")[0])
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA"))
    required = Parser().parsestr(zipfile.ZipFile(wheel).read(metadata).decode()).get_all("Requires-Dist")
    on_request = names(r for r in required if r.endswith("extra == 'hub'"))
    imported = names(wanted - sys.stdlib_module_names)
    assert names(r for r in required if "extra ==" not in r) | on_request == imported
    assert names(r for r in required if r.endswith("extra == 'train'")) == TRAIN


def test_the_lock_pins_the_platform_and_what_developers_need():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = names(line for line in lines if line[:1] not in " #")
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert TRAIN | names(wanted) <= locked


def test_the_commands_look_for_each_package_of_the_extra():
    homes = importlib.metadata.packages_distributions()
    assert names(home for module in platform._NEEDED for home in homes[module]) == TRAIN


# --- lopt alone ------------------------------------------------------------------------------------------


def test_lopt_leaves_modules_of_its_users_alone(site, folder):
    program = f"""
import sys
before = [*sys.path]
import lopt, tasks, eval, meta_train, tests
assert lopt.__file__.startswith({str(site)!r})
assert all(module.MINE for module in (tasks, eval, meta_train, tests))
assert lopt.as_optax("small", horizon=100)
assert sys.path == before
"""
    run(program, site, folder)


WITHOUT = "import sys; sys.modules.update(dict.fromkeys(['wandb', 'tyro']))\n"
COMMANDS = {
    "train": "lopt-train",
    "export": "lopt-export",
    "evaluate": "lopt-eval",
    "runs": "lopt-runs",
    "data": "lopt-data",
}


def test_the_rest_says_in_one_sentence_what_to_install(site, tmp_path):
    calls = "; ".join(f"platform.{name}()" for name in COMMANDS)
    assert run(f"{WITHOUT}from lopt import platform; {calls}", site, tmp_path).splitlines() == [
        f"{name}: tasks, meta_train and eval need packages that lopt alone does without (tyro, wandb): "
        "type `pip install 'lopt[train]'`"
        for name in COMMANDS.values()
    ]
    run(WITHOUT + command("train"), site, tmp_path, status=1)
    assert "pip install 'lopt[train]'" in run(WITHOUT + TAKE, site, tmp_path, status=1)


# --- the platform ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("train", ["tiny", "--help"], "--run-dir"),
        ("export", ["--help"], "lopt-export"),
        ("evaluate", ["--help"], "OPTIMIZER"),
        ("data", ["list"], "fashion_mnist"),
    ],
)
def test_commands_run_beside_modules_of_their_users(name, arguments, says, site, folder):
    assert says in run(command(name), site, folder, *arguments)


def test_a_command_refuses_a_namesake_that_is_imported_already(site, folder):
    said = run("import tasks\n" + command("train"), site, folder, "--help", status=1)
    assert said.startswith("lopt-train: lopt's package 'tasks' can't be imported, since ")
    assert said.endswith("/tasks.py has the same name: rename it, or use lopt's in a separate program\n")
    assert said.count("\n") == 1


def test_one_line_brings_the_packages(site, tmp_path):
    (tmp_path / "eval").mkdir()  # a mere folder, of results say, is not a module
    program = f"""
import importlib.util, sys, lopt
assert importlib.util.find_spec("tasks") is None
{TAKE}
import meta_train.commands.train, eval.training.suites, tasks.registry
assert tasks.__file__.startswith({str(site / "lopt" / "_platform")!r})
assert sys.path.count(sys.path[0]) == 1
"""
    run(program, site, tmp_path)


@pytest.mark.parametrize("own", ["tasks.py", "meta_train/__init__.py"])
@pytest.mark.parametrize("before", ["", "import {0}\n"])
def test_the_line_refuses_to_hide_a_module_of_its_user(own, before, site, tmp_path):
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text(THEIRS)
    name = own.partition("/")[0].removesuffix(".py")
    said = run(before.format(name) + TAKE, site, tmp_path, status=1)
    assert f"lopt's package {name!r} can't be imported, since {tmp_path / own} has the same name" in said


def test_a_checkout_needs_nothing_and_the_line_works_there(tmp_path):
    program = f"import sys; before = [*sys.path]\n{TAKE}\nassert tasks.build\nassert sys.path == before"
    run(program, ROOT, tmp_path)


def test_the_line_has_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'tsaks'"):
        platform.tsaks  # noqa: B018


# --- pip itself ------------------------------------------------------------------------------------------


def pip(environment, *arguments):
    there = ["--python", environment / "bin" / "python", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *there, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def write_wheel(directory):
    """Write another project's wheel that has a `tasks` of its own at the top."""
    path, info = directory / "other-1-py3-none-any.whl", "other-1.dist-info"
    files = {
        "tasks/__init__.py": THEIRS,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: other\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_pip_keeps_lopt_and_another_projects_tasks_apart(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    pip(environment, "install", "--no-index", "--no-deps", wheel, write_wheel(tmp_path))
    (packages / "libraries.pth").write_text(f"{LIBRARIES}\n")
    for name in ("lopt-train", "lopt-eval"):
        done = subprocess.run([environment / "bin" / name, "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{name} " in done.stdout
    (packages / "libraries.pth").unlink()
    pip(environment, "uninstall", "--yes", "lopt")
    assert not (packages / "lopt").exists()
    assert (packages / "tasks" / "__init__.py").read_text() == THEIRS
