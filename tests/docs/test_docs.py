"""What the pages show runs: Python in order, configurations and commands are understood."""

import re
import shlex
import shutil
import tomllib
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest
import typer

import lrpot
from lrpot.cli import app
from lrpot.config import from_mapping
from lrpot.descriptors import default_acsf
from lrpot.training import charge_stage, energy_stage
from lrpot.training.config import TrainSettings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def blocks(page, language):
    """Line number and text of every block of a language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: found.start(2)].count("\n"), found[2])
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def having(language):
    pages = [page for page in PAGES if blocks(page, language)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.stem)


@pytest.fixture(scope="module")
def quickstart_model(tmp_path_factory):
    """A stand-in for the potential of the quickstart, hardly trained."""
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as data:
        structures = lrpot.read_structures(data / "carbon_train.xyz")[::20]
    descriptor = default_acsf(("C", "H"), cutoff=4.0, shells=1, zetas=(1.0,))
    potential = lrpot.hdnnp_4g(
        ("C", "H"), descriptor=descriptor, hidden=(4,), hardness=10.0, key=jax.random.key(0)
    )
    stages = charge_stage(epochs=20), energy_stage(epochs=20)
    path = tmp_path_factory.mktemp("quickstart") / "4g.lrpot"
    lrpot.save(path, lrpot.fit(potential, structures, stages=stages, progress=False).potential)
    return path


@pytest.fixture
def clone(tmp_path, monkeypatch, quickstart_model):
    """A folder that looks like a clone after `make quickstart`."""
    with resources.as_file(resources.files("lrpot") / "quickstart_data") as data:
        shutil.copytree(data, tmp_path / "lrpot" / "quickstart_data")
    (tmp_path / "quickstart").mkdir()
    shutil.copy(quickstart_model, tmp_path / "quickstart" / "4g.lrpot")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@having("python")
def test_python_runs_from_top_to_bottom(page, clone):
    names = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(page), "exec"), names)


def test_the_loop_of_jax_md_makes_a_list_that_overflows_anew(clone):
    """With room for too few neighbours it ends where it ends with enough."""
    start = "done, room = 0, 0\n"
    ends = {}
    for before in ("", "neighbors = neighbor_fn.allocate(1.6 * system.positions)\n"):
        names = {"__name__": "readme"}
        for _, code in blocks(ROOT / "README.md", "python"):
            exec(compile(code.replace(start, before + start), "README.md", "exec"), names)
            if start in code:
                break
        ends[names["room"] > 0] = names["state"].position
    np.testing.assert_allclose(ends[True], ends[False], atol=1e-10)


@having("toml")
def test_configurations_are_understood(page, clone):
    for _, text in blocks(page, "toml"):
        if "structure" in tomllib.loads(text):  # of molecular dynamics
            Path("run.toml").write_text(text)
            given = (
                typer.main.get_command(app)
                .commands["md"]
                .make_context("md", ["--config", "run.toml"])
            )
            assert given.params["model"].exists()
            assert given.params["structure"].exists()
            continue
        settings = from_mapping(TrainSettings, tomllib.loads(text))
        files = [settings.data.train, settings.data.validation, settings.data.test]
        assert all(Path(file).exists() for file in files if file is not None)


@having("bash")
def test_commands_exist_with_their_options(page):
    commands = typer.main.get_command(app).commands
    for _, text in blocks(page, "bash"):
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["lrpot"]:
                name, *arguments = words[1:]
                commands[name].make_context(name, arguments)
            elif words[:1] == ["make"]:
                assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_reference_of_a_docstring_is_in_the_bibliography():
    listed = set(re.findall(r"\*\*\[(\w+:\d\d)\]\*\*", (ROOT / "docs/references.md").read_text()))
    source = "".join(path.read_text() for path in (ROOT / "lrpot").rglob("*.py"))
    theory = (ROOT / "docs/theory.md").read_text()
    cited = set(re.findall(r"\b([a-z]+:\d\d)\b(?=[\],;])", source + theory))
    assert cited >= {"behler:07", "ko:21"}
    assert cited <= listed
