"""What the command line says of files of RuNNer and n2p2."""

import sys

import ase.build
import numpy as np
import pytest

import lrpot
from lrpot import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """A function that runs a command in a folder: exit status, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["lrpot", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr()
        return end.value.code or 0, output.out, output.err

    return command


@pytest.fixture
def slab(tmp_path):
    """A slab of copper in an input.data, in Å and eV."""
    atoms = ase.build.fcc111("Cu", (1, 1, 4), vacuum=12.0, periodic=True)
    lines = [f"lattice {a} {b} {c}" for a, b, c in np.asarray(atoms.cell)]
    lines += [f"atom {x} {y} {z} Cu 0 0 0.1 0 0" for x, y, z in atoms.positions]
    content = "\n".join(["begin", *lines, "energy -3.0", "charge 0.0", "end"]) + "\n"
    (tmp_path / "input.data").write_text(content)
    return ("input.data", "out.xyz", "--length", "angstrom", "--energy", "eV")


def test_a_slab_is_told_in_one_line_and_pbc_says_what_it_is(run, slab, tmp_path):
    status, _, told = run("convert", *slab)
    assert status == 0
    (line,) = told.splitlines()
    assert line.startswith("Warning: input.data: structures have a vacuum of up to 24.0 Å")
    assert line.endswith('--pbc "T T T" says that they are crystals.')
    for pbc in ("T T F", "ttf"):
        status, _, told = run("convert", *slab, "--pbc", pbc)
        assert (status, told) == (0, "")
        (found,) = lrpot.read_structures(tmp_path / "out.xyz")
        assert found.system.pbc == (True, True, False)


@pytest.mark.parametrize("pbc", ["T T", "T T X", "1 1 0"])
def test_other_words_for_periods_are_refused(pbc, run, slab):
    status, _, told = run("convert", *slab, "--pbc", pbc)
    assert status == 1
    assert '--pbc takes three letters T or F, such as "T T F"' in told


def test_periods_of_anything_but_an_input_data_are_refused(run, tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n")
    status, _, told = run("convert", "a.xyz", "input.data", "--pbc", "T T F")
    assert status == 1
    assert "`pbc` is for structures in an input.data, and a.xyz is none" in told


def test_info_tells_misspelt_and_lists_unknown_keywords(run, samples, tmp_path):
    folder = samples["4g"].write(tmp_path / "potential")
    with (folder / "input.nn").open("a") as file:
        file.write("four_pi_epsilonn 2.0\n")
    status, output, told = run("info", "potential")
    assert status == 0
    assert "`four_pi_epsilonn` is no keyword and changes nothing" in told
    assert "unknown keywords  four_pi_epsilonn, unknown_keyword_of_runner" in output
