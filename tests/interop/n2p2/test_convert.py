"""`lrpot convert` says what of a file of structures it used, and what it did not write."""

import lzma

import ase
import ase.db
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from lrpot import InputError
from lrpot.data import Keys, read_structures
from lrpot.interop import n2p2
from lrpot.interop.n2p2.convert import convert

FRAME = """2
Properties=species:S:1:pos:R:3:{forces}:R:3 {energy}=-1.5 total_charge=1 {more}
O 0.0 0.0 0.0  0.5 0.0 0.0
H 0.96 0.0 0.0  -0.5 0.0 0.0
"""


@pytest.fixture
def source(tmp_path):
    """A function from names to a file of two structures."""

    def write(name="source.xyz", energy="energy", forces="forces", more=""):
        text = FRAME.format(energy=energy, forces=forces, more=more)
        (tmp_path / name).write_text(text + text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("target", ["input.data", "target.xyz"])
def test_labels_of_another_name_are_named_or_ignored(source, tmp_path, target):
    path, target = source(energy="REF_energy", forces="REF_forces"), tmp_path / target
    remedy = "--key energy=REF_energy --key forces=REF_forces"
    with pytest.raises(InputError, match=f"the key `REF_energy` and no `energy`.*{remedy}"):
        convert(path, target)
    assert not target.exists()


def test_labels_that_are_missing_are_told_and_become_no_zeros(source, tmp_path):
    path, target = source(energy="REF_energy", forces="REF_forces"), tmp_path / "input.data"
    said = convert(path, target, ignore=["REF_energy", "REF_forces"])
    assert "Not used: key `REF_energy` (nearest known: `energy`)" in said
    for label in ("energy", "forces", "charges"):
        assert f"2 of 2 structures have no {label}: zeros are written" in said
    convert(target, tmp_path / "back.xyz")
    for one in (n2p2.read_structures(target)[0], read_structures(tmp_path / "back.xyz")[0]):
        assert one.energy is None
        assert one.forces is None
        assert one.charges is None
        assert float(one.system.total_charge) == 1.0


def test_labels_that_are_named_are_converted(source, tmp_path):
    path, target = source(energy="REF_energy", forces="REF_forces"), tmp_path / "input.data"
    said = convert(path, target, keys=Keys(energy="REF_energy", forces="REF_forces"))
    assert "no energy" not in said
    found = n2p2.read_structures(target)[0]
    np.testing.assert_allclose(found.energy, -1.5, rtol=1e-14)
    np.testing.assert_allclose(found.forces, [[0.5, 0, 0], [-0.5, 0, 0]], rtol=1e-14)


def test_what_an_input_data_has_no_room_for_is_told(source, tmp_path):
    cell = 'Lattice="6 0 0 0 6 0 0 0 6" stress="1 0 0 0 1 0 0 0 1"'
    said = convert(source(more=f'{cell} dipole="1 2 3" weight=4'), tmp_path / "input.data")
    assert "has no room for them: stress (of 2), dipole (of 2), weight (of 2)." in said
    assert "(bohr, Ha)" in said


@pytest.mark.parametrize("name", ["source.txt", "SOURCE.XYZ", "a@2", "noext"])
def test_a_source_is_told_by_its_content(source, tmp_path, name):
    convert(source(name), tmp_path / "input.data")
    assert len(n2p2.read_structures(tmp_path / "input.data")) == 2
    (tmp_path / "input.data").rename(tmp_path / "structures")
    convert(tmp_path / "structures", tmp_path / "back.xyz.xz")
    assert lzma.decompress((tmp_path / "back.xyz.xz").read_bytes()).startswith(b"2\n")
    assert read_structures(tmp_path / "back.xyz.xz")[1].energy == pytest.approx(-1.5, abs=1e-12)


@pytest.mark.parametrize("name", ["set.db", "set.traj"])
def test_other_files_of_ase_become_extended_xyz_or_input_data(tmp_path, name):
    atoms = ase.Atoms("OH", [[0, 0, 0], [0.96, 0, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5)
    atoms.info["charge"] = 1
    if name.endswith("db"):
        with ase.db.connect(tmp_path / name) as rows:
            rows.write(atoms, total_charge=1)
    else:
        atoms.write(tmp_path / name)
    convert(tmp_path / name, tmp_path / "all.xyz")
    convert(tmp_path / name, tmp_path / "input.data")
    for (one,) in (
        read_structures(tmp_path / "all.xyz"),
        n2p2.read_structures(tmp_path / "input.data"),
    ):
        assert float(one.system.total_charge) == 1.0
        assert float(one.energy) == pytest.approx(-1.5, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("what.foo", "some words\n", {}, "Cannot tell what kind of file"),
        ("input.data", "begin\nend\n", {"format": "vasp"}, "`format` cannot be used"),
        ("a.lrpot", "", {"ignore": ["force"]}, "`ignore` cannot be used"),
        ("bad.xyz", "1\nenergy=nan\nH 0 0 0\n", {}, "`energy` is not finite"),
        ("a.xyz", "1\n\nH 0 0 0\n", {"pbc": (True, True, False)}, "`pbc` is for structures in an"),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path, name, content, options, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        convert(tmp_path / name, tmp_path / "out", **options)
