"""`input.data`: labels that are missing, slabs, units, and numbers as C and Fortran write them."""

import warnings

import ase
import ase.build
import numpy as np
import pytest

from lrpot import InputError, System
from lrpot.data import Structure
from lrpot.errors import InputWarning
from lrpot.interop.n2p2 import missing_labels, not_written, read_structures, write_structures
from lrpot.units import BOHR, HARTREE

POSITIONS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
FORCES = np.array([[0.1, 0.2, 0.0], [-0.1, 0.0, 0.3], [0.0, -0.2, -0.3]])
WATER = System(POSITIONS, [8, 1, 1])


def text(*, energy="-17.2", rows=None, extra=(), lattice=None):
    """One water molecule in bohr and Ha."""
    charged = zip("OHH", POSITIONS / BOHR, ("-0.6", "0.3", "0.3"), FORCES, strict=True)
    rows = rows or [
        f"atom {x} {y} {z} {symbol} {charge} 0.0 {fx} {fy} {fz}"
        for symbol, (x, y, z), charge, (fx, fy, fz) in charged
    ]
    vectors = [f"lattice {' '.join(map(str, row))}" for row in (() if lattice is None else lattice)]
    return "\n".join(
        ["begin", *extra, *vectors, *rows, f"energy {energy}", "charge 0.0", "end", ""]
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "input.data"


def test_labels_that_are_missing_come_back_as_missing(path):
    written = [
        Structure(WATER),
        Structure(WATER, energy=np.array(-1.5)),
        Structure(WATER, forces=FORCES),
        Structure(WATER, energy=np.array(0.0), forces=np.zeros((3, 3)), charges=np.zeros(3)),
        Structure(WATER, energy=np.array(2.0), forces=FORCES, charges=np.array([-0.6, 0.3, 0.3])),
    ]
    write_structures(written, path)
    for one, other in zip(read_structures(path), written, strict=True):
        for label in ("energy", "forces", "charges"):
            found, wanted = getattr(one, label), getattr(other, label)
            assert (found is None) == (wanted is None)
            if wanted is not None:
                np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-15)
    assert missing_labels(written) == {"energy": 2, "forces": 2, "charges": 3}


def test_complete_structures_are_written_without_a_mark(path):
    full = Structure(WATER, energy=np.array(2.0), forces=FORCES, charges=np.array([-0.6, 0.3, 0.3]))
    write_structures([full, Structure(WATER, energy=np.array(2.0), forces=FORCES)], path)
    assert "lrpot: labels" not in path.read_text()


def test_what_the_format_has_no_room_for_is_counted(path):
    crystal = System(POSITIONS, [8, 1, 1], cell=np.eye(3) * 5)
    written = [
        Structure(crystal, stress=np.eye(3), dipole=np.ones(3), weight=4.0),
        Structure(WATER, dipole=np.ones(3), quadrupole=np.zeros((3, 3))),
    ]
    assert not_written(written) == {
        "stress": 1,
        "dipole": 2,
        "quadrupole": 1,
        "weight": 1,
    }
    assert not_written([Structure(WATER, energy=np.array(1.0))]) == {}


def test_a_field_is_not_left_out(path):
    field = Structure(System(POSITIONS, [8, 1, 1], field=[0, 0, 0.1]))
    with pytest.raises(InputError, match=r"has `field`, which an input\.data .* cannot use"):
        write_structures([field], path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("comment lrpot: labels", "line 2: the names of the labels are missing"),
        ("comment lrpot: labels energies", "line 2: unknown label `energies`"),
        ("comment lrpot: labels none\ncomment lrpot: labels none", "line 3: .*named twice"),
    ],
)
def test_damaged_marks_are_refused(mark, message, path):
    path.write_text(text(extra=[mark]))
    with pytest.raises(InputError, match=message):
        read_structures(path)


def test_zeros_of_a_whole_file_are_read_and_told(path):
    rows = [f"atom {x} {y} {z} H 0 0 0 0 0" for x, y, z in POSITIONS / BOHR]
    path.write_text(2 * text(rows=rows, energy="0.0"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = read_structures(path)
    messages = [str(one.message) for one in told]
    assert any("all energies are exactly zero" in one for one in messages)
    assert any("all forces are exactly zero" in one for one in messages)
    assert float(found[0].energy) == 0
    np.testing.assert_array_equal(found[0].forces, np.zeros((3, 3)))
    path.write_text(text(rows=rows, energy="0.0") + text())
    read_structures(path)  # zero by symmetry, perhaps: no word


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.0d0", 1.0),
        ("-2.5D-03", -0.0025),
        ("+.5E+1", 5.0),
        ("3.", 3.0),
        ("1.25-101", 1.25e-101),
        ("7", 7.0),
    ],
)
def test_numbers_of_c_and_fortran_are_read(written, value, path):
    path.write_text(text(energy=written))
    assert float(read_structures(path)[0].energy) == pytest.approx(value * HARTREE, rel=1e-15)


@pytest.mark.parametrize(
    "written",
    [
        "1_2.0",
        "0x10",
        "1e",
        "--1",
        "1,5",
        "١٢",
        "1.0f0",
        "e5",
        ".",
        "1 2",
        "-17-2",
        "1.5-10",
        "3-101",
        "nan",
        "1e999",
    ],
)
def test_other_numbers_are_refused_with_their_line(written, path):
    path.write_text(text(energy=written))
    with pytest.raises(InputError, match=r"input\.data, line 5: .*(number|takes 1 values)"):
        read_structures(path)


@pytest.mark.parametrize("column", [1, 5, 6, 7])
def test_every_column_of_an_atom_is_a_number(column, path):
    words = "atom 0.0 0.0 0.0 O -0.6 0.0 0.1 0.0 0.0".split()
    words[column] = "x"
    path.write_text(text(rows=[" ".join(words)]))
    with pytest.raises(InputError, match="line 2: expected a number, got 'x'"):
        read_structures(path)


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        (lambda one: b"\xef\xbb\xbf" + one.encode(), "a byte order mark"),
        (lambda one: one.replace("\n", "\r\n").encode(), "lines of Windows"),
        (lambda one: one.replace("water", "für Å").encode("latin-1"), "Latin-1"),
        (lambda one: one.replace("water", "a\x0bb\u2028c").encode(), "separators of lines"),
    ],
)
def test_files_of_other_systems_are_read(encoded, name, path):
    path.write_bytes(encoded(text(extra=["comment water"])))
    (found,) = read_structures(path)
    np.testing.assert_allclose(found.system.positions, POSITIONS, rtol=1e-14)
    assert float(found.energy) == pytest.approx(-17.2 * HARTREE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no structures"),
        (text().encode("utf-16"), "zero bytes, as binary files and UTF-16 do"),
        (b"begin now\n", "line 1: `begin` stands alone"),
    ],
)
def test_files_that_are_no_text_or_empty_are_refused(content, message, path):
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_structures(path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read as text: Is a directory"):
        read_structures(tmp_path)


def test_sets_of_n2p2_are_read(path):
    path.write_text(text().replace("begin", "begin set=test"))
    assert len(read_structures(path)) == 1


def slab():
    """Four layers of copper with 12 Å of vacuum on both sides, 24 Å in all, by ASE."""
    return ase.build.fcc111("Cu", (1, 1, 4), vacuum=12.0, periodic=True)


def of_atoms(path, atoms):
    """A file in Å and eV, written by hand."""
    rows = [
        f"atom {x} {y} {z} {symbol} 0 0 0 0 0.1"
        for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    path.write_text(text(rows=rows, lattice=np.asarray(atoms.cell), energy="-3.0"))
    return dict(length="angstrom", energy="eV")


def test_a_slab_is_told_and_periodicity_is_an_argument(path):
    units = of_atoms(path, slab())
    with pytest.warns(InputWarning, match=r"vacuum of up to 24\.0 Å along lattice vector c"):
        (crystal,) = read_structures(path, **units)
    assert crystal.system.pbc == (True, True, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = read_structures(path, **units, pbc=(True, True, False))
        (same,) = read_structures(path, **units, pbc=(True, True, True))
    assert found.system.pbc == (True, True, False)
    assert same.system.pbc == (True, True, True)
    np.testing.assert_allclose(found.system.positions, slab().positions, rtol=1e-14)


def test_a_crystal_of_any_size_has_no_vacuum(path):
    atoms = ase.build.bulk("Cu", cubic=True).repeat((1, 1, 6))
    units = of_atoms(path, atoms)
    assert read_structures(path, **units)[0].system.pbc == (True, True, True)


def test_periodicity_needs_three_values_and_leaves_molecules_alone(path):
    path.write_text(text())
    assert read_structures(path, pbc=(True, True, False))[0].system.pbc == (False, False, False)
    with pytest.raises(InputError, match="`pbc` needs three values"):
        read_structures(path, pbc=(True, True))


@pytest.mark.parametrize(
    ("atoms", "energy"),
    [
        (ase.build.molecule("CH3CH2OH"), -4217.0),  # with all electrons, in eV
        (ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True), -27.0),
        (ase.build.bulk("Fe", cubic=True), -16.5),
    ],
    ids=["ethanol", "rock salt", "iron"],
)
def test_other_units_are_told_and_right_ones_are_not(atoms, energy, path):
    rows = [
        f"atom {x} {y} {z} {symbol} 0 0 0 0 0.1"
        for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    path.write_text(text(rows=rows, energy=str(energy)))
    read_structures(path, length="angstrom", energy="eV")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_structures(path)
    messages = [str(one.message) for one in told]
    assert any('length="angstrom" (--length angstrom)' in one for one in messages)
    assert any('energy="eV" (--energy eV)' in one for one in messages) == (energy == -4217.0)
