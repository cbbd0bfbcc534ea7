"""Every example runs and its assertions hold."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where all examples run, so that they share the potential that the first one trains."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-gw") else base  # one for all workers
    (shared / "examples").mkdir(exist_ok=True)
    return shared / "examples"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, folder):
    done = subprocess.run(
        [sys.executable, example],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_active_learning_learns(folder):
    """Two minutes, with xTB as the reference."""
    pytest.importorskip("tblite", reason="needs tblite: pip install lrpot[xtb]")
    example = EXAMPLES[0].parent / "active_learning.py"
    done = subprocess.run([sys.executable, example], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_are_seven_examples():
    assert len(EXAMPLES) == 7
