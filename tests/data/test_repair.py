"""One bad structure stops nothing: the others are written with everything the user wrote."""

import gzip

import ase
import ase.db
import numpy as np
import pytest

from lrpot import InputError
from lrpot.data import Keys, read_data, read_structures, write_usable

GOOD = """2
Lattice="5 0 0 0 6 0 0 0 7" Properties=species:S:1:pos:R:3:forces:R:3:spin:R:1 energy={energy} \
stress="1 2 3 2 4 5 3 5 6" total_charge=1 weight=2.5 config_type="rock salt" pbc="T T T"
Na 0.1 0.2 0.3  0.5 0 0  0.25
Cl 2.5 0.2 0.3 -0.5 0 0 -0.25
"""
LEFT = GOOD.replace("5 0 0 0 6 0 0 0 7", "0 6 0 5 0 0 0 0 7")
NAN = GOOD.replace("0.1 0.2", "nan 0.2")
SHORT = "3\nenergy=1\nNa 0 0 0\nCl 2.5 0 0\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "data.xyz"
    frames = [GOOD, NAN, LEFT, SHORT, GOOD, GOOD]
    energies = [-1, -2, -3, -4, -5, -1]
    text = "".join(one.format(energy=e) for one, e in zip(frames, energies, strict=True))
    path.write_text(text)
    return path


def test_skip_copies_the_good_structures_and_tells_the_others(source, tmp_path):
    done = write_usable(source, tmp_path / "good.xyz")
    assert [one.split(":")[0] for one in done[:3]] == [f"Left out structure {n}" for n in (1, 2, 3)]
    for sentence, word in zip(done, ("not finite", "left-handed", "3 atoms"), strict=False):
        assert word in sentence
    assert done[3] == f"Wrote 3 of 6 structures to {tmp_path / 'good.xyz'}."
    expected = "".join(GOOD.format(energy=energy) for energy in (-1, -5, -1))
    assert (tmp_path / "good.xyz").read_text() == expected


def test_fix_reverses_left_handed_cells_and_leaves_copies_out(source, tmp_path):
    done = write_usable(source, tmp_path / "fixed.xyz", repair=True)
    assert done[0] == "Reversed the cell vectors of structure 2, which were left-handed."
    assert "Left out structure 5: it equals structure 0 in every character." in done
    contents = read_data(tmp_path / "fixed.xyz")
    assert not contents.problems
    assert [float(one.energy) for one in contents.structures] == [-1, -3, -5]
    assert {one.name for one in contents.usage.unused} == {"spin", "config_type"}
    one = contents.structures[1]
    cell = np.asarray(one.system.cell)
    np.testing.assert_array_equal(cell, [[0, -6, 0], [-5, 0, 0], [0, 0, -7]])
    np.testing.assert_array_equal(one.system.positions, [[0.1, 0.2, 0.3], [2.5, 0.2, 0.3]])
    np.testing.assert_array_equal(one.stress, [[1, 2, 3], [2, 4, 5], [3, 5, 6]])
    np.testing.assert_array_equal(one.forces, [[0.5, 0, 0], [-0.5, 0, 0]])
    assert (one.weight, float(one.system.total_charge)) == (2.5, 1.0)


def test_names_that_only_some_structures_have_do_not_hinder_a_repair(tmp_path):
    text = GOOD.replace(" energy=", " E_ref=").format(energy=0) + LEFT.format(energy=1)
    (tmp_path / "data.xyz").write_text(text)
    write_usable(
        tmp_path / "data.xyz", tmp_path / "fixed.xyz", repair=True, keys=Keys(energy="E_ref")
    )
    assert len(read_structures(tmp_path / "fixed.xyz", ignore=["E_ref"])) == 2


def test_what_cannot_be_repaired_is_left_out_by_fix_too(tmp_path):
    text = GOOD.format(energy=0) + LEFT.format(energy=1).replace("0.1 0.2", "nan 0.2")
    (tmp_path / "data.xyz").write_text(text)
    done = write_usable(tmp_path / "data.xyz", tmp_path / "fixed.xyz.gz", repair=True)
    assert len(done) == 2
    assert done[0].startswith("Left out structure 1: ")
    packed = gzip.decompress((tmp_path / "fixed.xyz.gz").read_bytes())
    assert packed.decode() == GOOD.format(energy=0)


def test_structures_whose_charges_do_not_fit_are_left_out(tmp_path):
    frame = "1\nProperties=species:S:1:pos:R:3:charges:R:1 total_charge={}\nNa 0 0 0 1.0\n"
    (tmp_path / "data.xyz").write_text(frame.format(1) + frame.format(0))
    done = write_usable(tmp_path / "data.xyz", tmp_path / "good.xyz")
    assert "its charges sum to 1.0000 e but its total charge is 0 e" in done[0]
    assert len(read_structures(tmp_path / "good.xyz")) == 1


def test_other_formats_are_written_with_their_keys(tmp_path):
    with ase.db.connect(tmp_path / "data.db") as database:
        for handed in (1, -1):
            atoms = ase.Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]], cell=[5, 6, 7 * handed], pbc=True)
            atoms.cell[2, 2] = 7 * handed
            database.write(atoms, total_charge=1, weight=2.5, ref_energy=-3.0 * handed)
    write_usable(tmp_path / "data.db", tmp_path / "fixed.xyz", repair=True)
    contents = read_data(tmp_path / "fixed.xyz", ignore=["ref_energy"])
    assert [one.weight for one in contents.structures] == [2.5, 2.5]
    assert [float(one.system.total_charge) for one in contents.structures] == [1, 1]
    assert "ref_energy" in {one.name for one in contents.usage.unused}


def test_nothing_left_and_the_source_as_target_are_refused(tmp_path, source):
    before = source.read_text()
    with pytest.raises(InputError, match="is the file that is read"):
        write_usable(source, source)
    assert source.read_text() == before
    (tmp_path / "bad.xyz").write_text(SHORT)
    with pytest.raises(InputError, match=r"None of the 1 structures of .* can be used"):
        write_usable(tmp_path / "bad.xyz", tmp_path / "good.xyz")
    assert not (tmp_path / "good.xyz").exists()
