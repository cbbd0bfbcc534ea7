"""Every notebook runs from top to bottom and its assertions hold."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))


LONG = ("3_water_with_ions", "4_slab_with_dopant", "5_runner_to_jax_md")  # about a minute each


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LONG), id=path.stem)
        for path in NOTEBOOKS
    ],
)
def test_notebook_runs(path, tmp_path, monkeypatch):
    # What a notebook writes stays here; the data and potentials it reads are beside it.
    (tmp_path / "benchmarks_4g").symlink_to(EXAMPLES / "benchmarks_4g")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(shutil.copy(path, folder), as_version=4)
    settings = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=settings).execute()


def test_there_are_five_notebooks():
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_output(path):
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)
