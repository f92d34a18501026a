"""The notebooks run as they are, keep their outputs small, and install lopt where it is missing."""

import json
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LARGEST = 200_000  # bytes, with pictures


def code_cells(name):
    return [cell for cell in nbformat.read(FOLDER / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]


def test_there_are_three():
    assert NOTEBOOKS == ["meta_train", "truncation_bias", "your_model"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_stored_with_its_outputs_and_they_are_small(name):
    nbformat.validate(json.loads((FOLDER / f"{name}.ipynb").read_text()))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST
    first, *others = code_cells(name)
    assert "%pip install" in first.source
    assert not first.outputs
    assert [cell.execution_count for cell in (first, *others)] == list(range(1, len(others) + 2))
    outputs = [output for cell in others for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name, tmp_path, monkeypatch, default_promotion):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "false")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
