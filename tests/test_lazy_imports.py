"""Public names are imported when they are asked for: help needs no JAX, and registries are whole."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from meta_train import PES, PROBLEMS, ConstantHorizon, Method, Run, run_to_json

ROOT = Path(__file__).parents[1]
PACKAGES = ("lopt", "tasks", "meta_train", "eval")


def run(program, *arguments):
    """Run a program in a process of its own; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["--help"]),
        ("train", ["small", "--help"]),
        ("tune", ["--help"]),
        ("tune", ["quadratic", "--help"]),
        ("evaluate", ["--help"]),
        ("export", ["--help"]),
        ("runs", ["--help"]),
        ("runs", ["list", "."]),
        ("data", ["--help"]),
        ("data", ["list"]),
    ],
)
def test_help_needs_neither_jax_nor_tfds(command, arguments):
    program = (
        "import sys; from lopt import platform\n"
        f"try: status = platform.{command}()\n"
        "except SystemExit as stop: status = stop.code\n"
        "heavy = {'jax', 'flax', 'optax', 'numpy', 'tensorflow_datasets', 'orbax', 'wandb'}\n"
        "print(status, sorted(heavy & set(sys.modules)))"
    )
    assert run(program, *arguments).splitlines()[-1] == "0 []"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_alone_imports_nothing_heavy_and_lists_every_name(package):
    program = (
        f"import {package}, json, sys\n"
        f"listed, heavy = dir({package}), sorted({{'jax', 'numpy', 'flax'}} & set(sys.modules))\n"
        f"print(json.dumps([listed, {package}.__all__, heavy]))"
    )
    listed, public, heavy = json.loads(run(program))
    assert heavy == []
    assert set(public) <= set(listed)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_type_checkers_see_is_what_is_public_and_what_is_loaded(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text())
    (shown,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: line.module for line in shown.body for alias in line.names}
    assert set(seen) - {"lazily"} == set(module.__all__) - {"lazily"}
    for name, home in seen.items():
        found = importlib.import_module(f"{package}.{home}" if home else package)
        assert getattr(module, name) is getattr(found, name)
        assert name in vars(module)
        # Importing a module sets its name in the package, whatever else had it.
        assert name not in {path.stem for path in Path(module.__file__).parent.iterdir()} or home is None


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_not_there_is_an_attribute_error(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        exec(f"from {package} import nonsense")


@pytest.mark.parametrize(
    "program",
    [
        "from lopt import ARCHITECTURES as names",
        "import lopt; names = lopt.ARCHITECTURES",
        "from lopt import register; import lopt.registry; names = lopt.registry.ARCHITECTURES",
        "import lopt; lopt.register; import lopt.registry; names = lopt.registry.ARCHITECTURES",
        "import lopt; lopt.load('small'); import lopt.registry; names = lopt.registry.ARCHITECTURES",
    ],
)
def test_the_registry_of_architectures_is_whole_whoever_asks(program):
    names = json.loads(run(f"{program}\nimport json; print(json.dumps(sorted(names)))"))
    assert names == [
        "adafactor-mlp", "celo", "celo-adam", "celo2", "celo2-base", "coordinatewise-lstm",
        "hierarchical-rnn", "learnable-adam", "learnable-nadamw", "learnable-sgd", "mlp", "muon-star",
        "optimus", "paced-muon", "paced-nadam", "star", "tensor-lstm", "velo"
    ]  # fmt: skip


def test_the_other_registries_are_whole_in_a_fresh_process():
    program = (
        "import json, tasks, meta_train, eval\n"
        "counts = [len(tasks.TASKS), len(meta_train.ESTIMATORS), len(meta_train.OBJECTIVES),\n"
        "          len(meta_train.PRESETS), len(eval.BASELINES), len(eval.SUITES)]\n"
        "from tasks import register\n"
        "try: register('digits-mlp')(print)\n"
        "except ValueError as error: print(json.dumps([*counts, str(error)]))"
    )
    *counts, told = json.loads(run(program))
    sources = [path.read_text() for path in (ROOT / "meta_train" / "estimators").glob("*.py")]
    assert counts[1] == sum(text.count("\n@register(") for text in sources)
    assert all(count >= 5 for count in counts)
    assert told == "a task called 'digits-mlp' is registered already"


def test_a_run_about_any_problem_is_read_in_a_fresh_process():
    written = [run_to_json(Run(kind(), Method(PES(ConstantHorizon(20), 5)))) for kind in PROBLEMS.values()]
    program = (
        "import json, sys; from meta_train import run_from_json\n"
        "print([type(run_from_json(text).problem).__name__ for text in json.loads(sys.argv[1])])"
    )
    names = [kind.__name__ for kind in PROBLEMS.values()]
    assert run(program, json.dumps(written)).strip() == str(names)


def test_every_module_that_registers_is_among_those_that_come_along():
    homes = (("lopt", "architectures"), ("tasks", "builtin"), ("meta_train/problems", "builtin"))
    for package, home in homes:
        text = (ROOT / package / f"{home}.py").read_text()
        brought = {
            alias.name
            for node in ast.parse(text).body
            if isinstance(node, ast.ImportFrom) and node.module is None
            for alias in node.names
        }
        registering = {
            path.stem
            for path in (ROOT / package).glob("*.py")
            if re.search(r"^ *@?(PROBLEMS\.)?register\(", path.read_text(), re.MULTILINE)
        }
        assert registering - {"registry"} == brought


def test_the_two_copies_are_alike():
    assert (ROOT / "lopt" / "lazy.py").read_text() == (ROOT / "tasks" / "lazy.py").read_text()
