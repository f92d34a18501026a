"""The house keeps its shape: imports go down, files stay small, every public name is documented."""

import ast
import graphlib
import importlib
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FLOORS = {"lopt": 0, "tasks": 0, "meta_train": 1, "eval": 2}
LONGEST_FILE = 400
LONGEST_FUNCTION = 80  # lines, its docstring apart
NAMELESS = {"utils", "util", "common", "misc", "helpers", "helper"}
HEAVY = {
    "lopt": ["wandb", "tensorflow_datasets", "matplotlib", "orbax", "tyro", "sklearn"],
    "tasks": ["wandb", "tensorflow_datasets", "matplotlib"],
    "meta_train": ["wandb", "tensorflow_datasets", "matplotlib"],
    "eval": ["wandb", "tensorflow_datasets", "matplotlib"],
}


def is_built(package: str, root: Path = REPOSITORY) -> bool:
    """Tell whether a package has more than a docstring in its root."""
    init = root / package / "__init__.py"
    return init.exists() and any(not _is_docstring(node) for node in ast.parse(init.read_text()).body)


def built(package: str) -> str:
    """Give the package back, or skip the test while it is not there."""
    if not is_built(package):
        pytest.skip(f"{package} is not built yet")
    return package


def sources(root: Path = REPOSITORY) -> list[Path]:
    """List the Python files of the four packages."""
    return sorted(path for package in FLOORS for path in (root / package).rglob("*.py"))


# --- rooms -----------------------------------------------------------------------------------------------


def rooms(package: str) -> list[Path]:
    """List the folders of a package that hold code."""
    return sorted(path for path in (REPOSITORY / package).iterdir() if (path / "__init__.py").is_file())


def rooms_used(package: str, room: Path) -> set[str]:
    """List the other rooms that a room's files import, whenever they do."""
    names = {one.name for one in rooms(package)}
    imported = {
        node.module.split(".")[0]
        for path in room.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module
    }
    return imported & names


@pytest.mark.parametrize("package", ["tasks", "meta_train", "eval"])
def test_rooms_depend_on_one_another_without_a_circle(package):
    graph = {room.name: rooms_used(package, room) for room in rooms(package)}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", ["tasks", "meta_train", "eval"])
def test_every_room_says_what_lies_where(package):
    for room in rooms(package):
        text = (room / "README.md").read_text()
        names = {path.stem for path in room.glob("*.py")} - {"__init__"}
        unnamed = sorted(name for name in names if name not in text)
        assert not unnamed, f"{room.name}/README.md does not name {', '.join(unnamed)}"


# --- imports ---------------------------------------------------------------------------------------------


def import_violations(root: Path) -> list[str]:
    """List every import that goes up, sideways, past a package root, or through its own package."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {complaint}"
        for path in sources(root)
        for tree in [ast.parse(path.read_text())]
        for node in ast.walk(tree)
        for complaint in _complaints(node, tree, path, root)
    ]


def _complaints(node: ast.AST, tree: ast.Module, path: Path, root: Path) -> Iterator[str]:
    own = path.relative_to(root).parts[0]
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield from _absolute(alias.name, _attributes(tree, alias.asname or alias.name), own, root)
        case ast.ImportFrom(level=0, module=str(module), names=names):
            yield from _absolute(module, [alias.name for alias in names], own, root)
        case ast.ImportFrom(level=level, module=module, names=names) if level:
            yield from _relative(level, module, [alias.name for alias in names], path, root)


def _attributes(tree: ast.Module, variable: str) -> list[str]:
    """List the names that a file takes from a module which it imports whole."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
    ]


def _absolute(module: str, names: list[str], own: str, root: Path) -> Iterator[str]:
    package, _, below = module.partition(".")
    if package not in FLOORS:
        return
    if package == own:
        yield f"imports its own package absolutely ({module}): import the sibling relatively"
    elif FLOORS[package] >= FLOORS[own]:
        yield f"floor {FLOORS[own]} ({own}) imports floor {FLOORS[package]} ({package})"
    elif below:
        yield f"imports {module}: across packages, import from the root ({package})"
    elif unknown := sorted(set(names) - public_names(root / package)):
        yield f"uses {', '.join(unknown)}, not in {package}.__all__"


def _relative(level: int, module: str | None, names: list[str], path: Path, root: Path) -> Iterator[str]:
    base = path.parents[level - 1]
    if not base.is_relative_to(root / path.relative_to(root).parts[0]):
        yield "reaches out of its package by a relative import"
        return
    target = base.joinpath(*module.split(".")) if module else base
    if target.name == "__init__" or target == path.parent or target in path.parent.parents:
        modules = {child.stem for child in target.glob("*") if child.suffix == ".py" or child.is_dir()}
        if own := sorted(set(names) - modules):
            yield f"imports {', '.join(own)} from its own package's __init__: name the module that defines it"


def public_names(package: Path) -> set[str]:
    """Read a package root's `__all__` without importing it."""
    for node in ast.parse((package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def test_imports_go_down_and_through_package_roots():
    assert not import_violations(REPOSITORY)


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("lopt/a.py", "import meta_train"),
        ("lopt/a.py", "from tasks import Task"),
        ("tasks/a.py", "from lopt import load"),
        ("meta_train/a.py", "from eval import suites"),
        ("meta_train/a.py", "from lopt.base import load"),
        ("meta_train/a.py", "import lopt.base"),
        ("meta_train/a.py", "import lopt\nlopt.hidden"),
        ("meta_train/a.py", "import lopt as optimizers\noptimizers.hidden"),
        ("meta_train/a.py", "from lopt import hidden"),
        ("meta_train/a.py", "def f():\n    from lopt.base import load"),
        ("lopt/a.py", "from lopt.base import load"),
        ("lopt/a.py", "from lopt import load"),
        ("lopt/a.py", "from . import load"),
        ("lopt/a.py", "from .__init__ import load"),
        ("lopt/a.py", "from .. import tasks"),
        ("meta_train/estimators/a.py", "from .. import train"),
        ("meta_train/estimators/a.py", "from ..estimators import PES"),
        ("meta_train/estimators/a.py", "from . import PES"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, path, statement):
    violations = import_violations(_house(tmp_path, path, statement))
    assert [line.partition(":")[0] for line in violations] == [path]


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("lopt/a.py", "from .base import load"),
        ("lopt/a.py", "from . import base"),
        ("meta_train/a.py", "from lopt import load"),
        ("meta_train/a.py", "import lopt as optimizers\noptimizers.load"),
        ("meta_train/a.py", "from .estimators import PES"),
        ("meta_train/estimators/a.py", "from .base import PES"),
        ("meta_train/estimators/a.py", "from ..base import train"),
        ("meta_train/estimators/a.py", "from .. import base"),
        ("eval/a.py", "from meta_train import train"),
        ("eval/a.py", "import jax\nfrom jax import numpy"),
    ],
)
def test_a_right_import_passes(tmp_path, path, statement):
    assert not import_violations(_house(tmp_path, path, statement))


def deep_imports(folder: Path, public: dict[str, set[str]]) -> list[str]:
    """Find what tests and scripts take from inside a package although its root offers it."""
    return [
        f"{path.name}:{node.lineno}: import {', '.join(names)} from {package}"
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for package, dot, _ in [(node.module or "").partition(".")]
        if dot
        and (names := sorted(public.get(package, set()) & {alias.name for alias in node.names}))
        and not any((REPOSITORY / node.module.replace(".", "/") / f"{name}.py").exists() for name in names)
    ]


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_public_names_are_imported_from_package_roots(folder):
    public = {package: public_names(REPOSITORY / package) for package in FLOORS}
    assert not deep_imports(REPOSITORY / folder, public)


def test_a_deep_import_is_found(tmp_path):
    (tmp_path / "a.py").write_text("from lopt.base import load, hidden\nfrom lopt import load")
    assert deep_imports(tmp_path, {"lopt": {"load"}}) == ["a.py:1: import load from lopt"]


def _house(root: Path, path: str, statement: str) -> Path:
    exports = {
        "lopt": "load",
        "tasks": "Task",
        "meta_train": "train",
        "meta_train/estimators": "PES",
        "eval": "suites",
    }
    for folder, name in exports.items():
        (root / folder).mkdir()
        (root / folder / "base.py").write_text("")
        (root / folder / "__init__.py").write_text(f"from .base import {name}\n__all__ = ['{name}']\n")
    (root / path).write_text(statement)
    return root


# --- sizes and names -------------------------------------------------------------------------------------


def size_violations(path: Path) -> list[str]:
    """List what is too long in a file."""
    text = path.read_text()
    lines = len(text.splitlines())
    found = [f"{path.name}: {lines} lines"] if lines > LONGEST_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _length(node)
            if length > LONGEST_FUNCTION:
                found.append(f"{path.name}:{node.lineno}: {node.name} has {length} lines")
    return found


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstrings = [node for node in function.body[:1] if _is_docstring(node)]
    spans = [function, *docstrings]
    whole, *inside = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in spans]
    return whole - sum(inside)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_no_file_and_no_function_is_too_long():
    assert not [violation for path in sources() for violation in size_violations(path)]


def test_too_long_a_file_and_too_long_a_function_are_found(tmp_path):
    path = tmp_path / "a.py"
    body = "    x = 1\n" * LONGEST_FUNCTION
    docstring = '    """' + "many\n" * 50 + '    """\n'
    path.write_text("def at_the_limit():\n" + docstring + body[: -len("    x = 1\n")])
    assert not size_violations(path)
    path.write_text("def f():\n" + body)
    assert len(size_violations(path)) == 1
    path.write_text("x = 1\n" * (LONGEST_FILE + 1))
    assert len(size_violations(path)) == 1


def test_no_file_is_named_for_nothing():
    folders = {parent for path in sources() for parent in path.parents}
    assert not [path for path in [*sources(), *folders] if path.stem in NAMELESS]


# --- documentation ---------------------------------------------------------------------------------------


def undocumented(module) -> list[str]:
    """List the public names of a module that are missing, or lack a docstring of their own."""
    return [
        name for name in module.__all__ if not hasattr(module, name) or not _documented(getattr(module, name))
    ]


def _documented(value: object) -> bool:
    if not (inspect.ismodule(value) or callable(value)) or inspect.getmodule(value) is None:
        return True  # a constant
    if not inspect.ismodule(value) and getattr(value, "__module__", "").partition(".")[0] not in FLOORS:
        return True  # an alias of somebody else's
    if isinstance(value, type) and (value.__doc__ or "").startswith(f"{value.__name__}("):
        return False  # what dataclasses write by themselves
    return bool((value.__doc__ or "").strip())


@pytest.mark.parametrize("package", FLOORS)
def test_every_public_name_exists_and_is_documented(package):
    module = importlib.import_module(built(package))
    assert module.__all__
    assert not undocumented(module)


@pytest.mark.parametrize("package", FLOORS)
def test_public_classes_are_abstract_or_final(package):
    module = importlib.import_module(built(package))
    classes = [value for name in module.__all__ if isinstance(value := getattr(module, name), type)]
    bases = {base for one in classes for base in one.__mro__[1:] if not issubclass(one, Exception)}
    assert not [one for one in classes if one in bases and not inspect.isabstract(one)]


def test_an_undocumented_name_is_found(tmp_path, monkeypatch):
    (tmp_path / "meta_train_example.py").write_text(
        textwrap.dedent(
            '''
            import dataclasses
            __all__ = ["A_CONSTANT", "Bare", "Config", "Documented", "absent", "bare"]
            A_CONSTANT = 1
            class Documented:
                """Say what."""
            class Bare(Documented): ...
            @dataclasses.dataclass
            class Config:
                size: int
            def bare(): ...
            '''
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FLOORS, "meta_train_example", 1)
    module = importlib.import_module("meta_train_example")
    assert undocumented(module) == ["Bare", "Config", "absent", "bare"]


# --- what an import costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("package", FLOORS)
def test_importing_a_package_leaves_heavy_libraries_alone(package):
    program = f"import json, sys, {built(package)}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert package in loaded
    assert not loaded & set(HEAVY[package])
