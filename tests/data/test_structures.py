"""Reading labelled structures: every label, and a message for everything that can be wrong."""

import numpy as np
import pytest

from lrpot import InputError, System
from lrpot.data import Keys, Structure, read_structures, system_from_atoms, write_structures

WATER = """3
Properties=species:S:1:pos:R:3:forces:R:3:charge:R:1 energy=-5.5 total_charge=-1 dipole="1 2 3"
O 0.0 0.0 0.0  0.1 0.2 0.3  -0.8
H 0.96 0.0 0.0  0.4 0.5 0.6  -0.15
H -0.24 0.93 0.0  -0.5 -0.7 -0.9  -0.05
"""

SALT = """2
Lattice="4 0 0 0 5 0 0.5 0 6" Properties=species:S:1:pos:R:3 {info} pbc="{pbc}"
Na 0.0 0.0 0.0
Cl 2.0 2.5 3.0
"""


@pytest.fixture
def file(tmp_path):
    """A function from the text of a file to its path."""

    def write(text):
        path = tmp_path / "data.xyz"
        path.write_text(text)
        return path

    return write


def salt(info="energy=1", pbc="T T T"):
    return SALT.format(info=info, pbc=pbc)


def test_a_structure_with_all_labels_is_read_as_it_stands(file):
    (found,) = read_structures(file(WATER), require=("energy", "forces", "charges", "dipole"))
    np.testing.assert_array_equal(found.system.numbers, [8, 1, 1])
    np.testing.assert_array_equal(found.system.positions[1], [0.96, 0, 0])
    assert found.system.cell is None
    assert float(found.system.total_charge) == -1.0
    assert found.energy == -5.5
    np.testing.assert_array_equal(found.forces[2], [-0.5, -0.7, -0.9])
    np.testing.assert_array_equal(found.charges, [-0.8, -0.15, -0.05])
    np.testing.assert_array_equal(found.dipole, [1, 2, 3])
    assert found.stress is None
    assert "data.xyz, structure 0" in found.name


@pytest.mark.parametrize("key", ["charge", "charges"])
@pytest.mark.parametrize("column", ["charge", "charges"])
def test_a_column_charge_is_found_whatever_ase_makes_of_its_name(file, key, column):
    path = file(WATER.replace("charge:R", f"{column}:R").replace("total_charge", "charge"))
    (found,) = read_structures(path, keys=Keys(charges=key), require=("charges",))
    np.testing.assert_array_equal(found.charges, [-0.8, -0.15, -0.05])
    assert float(found.system.total_charge) == -1.0


def test_a_file_without_a_total_charge_is_neutral_whatever_its_column_is_called(file):
    neutral = WATER.replace(" total_charge=-1", "").replace("-0.05\n", "0.95\n")
    (found,) = read_structures(file(neutral), require=("charges",))
    assert float(found.system.total_charge) == 0.0
    np.testing.assert_array_equal(found.charges, [-0.8, -0.15, 0.95])


def test_the_charge_of_a_single_ion_is_read_from_its_column(file):
    ion = "1\nProperties=species:S:1:pos:R:3:charge:R:1 energy=0 total_charge=1\nH 0 0 0 1.0\n"
    (found,) = read_structures(file(ion), require=("charges",))
    np.testing.assert_array_equal(found.charges, [1.0])
    assert float(found.system.total_charge) == 1.0


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        ("stress", "0.1 0.6 0.5 0.6 0.2 0.4 0.5 0.4 0.3"),
        ("dft_stress", "0.1 0.6 0.5 0.6 0.2 0.4 0.5 0.4 0.3"),
        ("dft_stress", "0.1 0.2 0.3 0.4 0.5 0.6"),
    ],
    ids=["usual key, nine numbers", "nine numbers", "six numbers"],
)
def test_stress_is_read_as_a_symmetric_matrix(file, key, numbers):
    path = file(salt(f'{key}="{numbers}"'))
    (found,) = read_structures(path, keys=Keys(stress=key), require=("stress",))
    np.testing.assert_allclose(found.stress, [[0.1, 0.6, 0.5], [0.6, 0.2, 0.4], [0.5, 0.4, 0.3]])
    np.testing.assert_array_equal(found.system.cell, [[4, 0, 0], [0, 5, 0], [0.5, 0, 6]])


@pytest.mark.parametrize(
    "numbers", ["1 4 5 4 2 6 5 6 9", "1 2 9 6 5 4"], ids=["nine numbers", "six numbers"]
)
def test_a_quadrupole_is_the_traceless_part_of_second_moments(file, tmp_path, numbers):
    text = WATER.replace('dipole="1 2 3"', f'quadrupole="{numbers}" weight=2.5')
    (found,) = read_structures(file(text), require=("quadrupole",))
    np.testing.assert_allclose(found.quadrupole, [[-3, 4, 5], [4, -2, 6], [5, 6, 5]], atol=1e-14)
    assert found.weight == 2.5
    write_structures(tmp_path / "again.xyz", [found])
    (again,) = read_structures(tmp_path / "again.xyz")
    np.testing.assert_allclose(again.quadrupole, found.quadrupole, atol=1e-7)
    assert again.weight == 2.5


@pytest.mark.parametrize(
    ("moments", "message"),
    [(np.eye(3), "symmetric and traceless, and is not by 3 e Å²"), ([[0, 1, 0]] * 3, "traceless")],
)
def test_a_quadrupole_with_a_trace_is_refused(moments, message):
    with pytest.raises(InputError, match=f"mine: `quadrupole` must be .*{message}"):
        Structure(System([[0, 0, 0]], [1]), quadrupole=np.array(moments, float), name="mine")


@pytest.mark.parametrize("weight", ["-1", "nan"])
def test_a_weight_is_a_positive_number(file, weight):
    text = WATER.replace('dipole="1 2 3"', f"weight={weight}")
    with pytest.raises(
        InputError, match=r"structure 0: .*weight.* (negative, got -1|not finite: .*nan)"
    ):
        read_structures(file(text))


def test_labels_are_found_under_names_of_their_own(file):
    text = WATER.replace("energy=", "dft_energy=").replace("forces:", "dft_forces:")
    text = text.replace("charge:R", "bader:R").replace("total_charge", "ionised")
    keys = Keys(energy="dft_energy", forces="dft_forces", charges="bader", total_charge="ionised")
    (found,) = read_structures(file(text), keys=keys, require=("energy", "forces", "charges"))
    assert found.energy == -5.5
    assert float(found.system.total_charge) == -1.0
    np.testing.assert_array_equal(found.forces[0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(found.charges, [-0.8, -0.15, -0.05])


def test_all_structures_of_a_file_are_read_in_turn(file):
    found = read_structures(file(WATER + salt() + WATER.replace("-5.5", "-7.5")))
    assert [one.system.n_atoms for one in found] == [3, 2, 3]
    assert [float(one.energy) for one in found] == [-5.5, 1.0, -7.5]
    assert [one.name.rsplit(" ", 1)[1] for one in found] == ["0", "1", "2"]


def test_a_cell_that_is_not_periodic_is_left_out(file):
    (found,) = read_structures(file(salt(pbc="F F F")))
    assert found.system.cell is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no data file .*nowhere\.xyz\."):
        read_structures(tmp_path / "nowhere.xyz")


def test_a_file_that_is_not_xyz_is_named(file):
    message = r"data\.xyz, structure 0: line 1 should be a number of atoms, and is 'these are'"
    with pytest.raises(InputError, match=message):
        read_structures(file("these are\nnot the atoms\nyou are looking for\n"))


def test_a_damaged_row_is_an_input_error(file):
    with pytest.raises(InputError, match=r"data\.xyz, structure 0: ASE cannot read it: .*nought"):
        read_structures(file(WATER.replace("0.96", "nought")))


def test_an_empty_file_is_an_input_error(file):
    with pytest.raises(InputError, match=r"data\.xyz"):
        read_structures(file(""))


def test_a_misnamed_label_names_the_nearest_key_and_says_how_to_name_it(file):
    message = (
        r"structure 0 has no energy: there is no `energy`\. Did you mean `Energy`\?.*"
        r"`Keys\(energy=\.\.\.\)`"
    )
    with pytest.raises(InputError, match=message):
        read_structures(file(WATER.replace("energy=", "Energy=")), require=("energy",))


def test_a_missing_label_names_the_structure_and_lists_what_there_is(file):
    text = WATER + WATER.replace("forces:R:3", "velo:R:3")
    with pytest.raises(InputError, match=r"structure 1 has no forces.*Known: .*`velo`.*forces"):
        read_structures(file(text), require=("energy", "forces"))


def test_a_key_of_ones_own_is_not_replaced_by_a_usual_one(file):
    message = r"No structure of .* has charges: there is no `mulliken`\. Did you mean `charge`"
    with pytest.raises(InputError, match=message):
        read_structures(file(WATER), keys=Keys(charges="mulliken"), require=("charges",))


def test_an_unknown_label_names_the_nearest(file):
    with pytest.raises(InputError, match=r"Unknown label `force`\. Did you mean `forces`\?"):
        read_structures(file(WATER), require=("force",))


def test_charges_must_sum_to_the_total_charge(file):
    text = WATER.replace("total_charge=-1", "total_charge=1")
    message = (
        r"structure 0: its charges sum to -1\.0000 e but its total charge is 1 e.*`total_charge`"
    )
    with pytest.raises(InputError, match=message):
        read_structures(file(text))
    (found,) = read_structures(file(text), charge_tolerance=2.5)
    assert float(found.system.total_charge) == 1.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.96", "nan", r"structure 0: The position of atom 1 is not finite"),
        ("0.5 0.6", "inf 0.6", r"structure 0: `forces` is not finite"),
        ("energy=-5.5", "energy=nan", r"structure 0: `energy` is not finite"),
        ('dipole="1 2 3"', 'dipole="1 2"', r"structure 0: `dipole` must have shape \(3,\), got"),
        ("energy=-5.5", "energy=unknown", r"structure 0: `energy` is not numeric: 'unknown'"),
        ("total_charge=-1", "total_charge=minus", r"structure 0: `total_charge` is not numeric"),
        ("total_charge=-1", 'total_charge="1 2"', r"structure 0: `total_charge` must be a single"),
        ("forces:R:3:charge:R:1", "dx:R:1:forces:R:2:charge:R:1", r"`forces` must have shape"),
    ],
    ids=[
        "NaN position",
        "infinite force",
        "NaN energy",
        "short dipole",
        "energy in words",
        "charge in words",
        "two charges",
        "two-dimensional forces",
    ],
)
def test_wrong_values_name_the_structure(file, old, new, message):
    assert old in WATER
    with pytest.raises(InputError, match=message):
        read_structures(file(WATER.replace(old, new)), require=("energy",))


def test_a_file_says_which_vectors_of_the_cell_are_periods(file, tmp_path):
    text = WATER + salt(pbc="T T F") + salt(pbc="F T F").replace("0.5 0 6", "0 0 0")
    structures = read_structures(file(text))
    boundaries = [(False,) * 3, (True, True, False), (False, True, False)]
    assert [one.system.pbc for one in structures] == boundaries
    np.testing.assert_array_equal(structures[1].system.cell[2], [0.5, 0, 6])
    np.testing.assert_array_equal(structures[2].system.cell[2], [0, 0, 1])
    write_structures(tmp_path / "again.xyz", structures)
    again = read_structures(tmp_path / "again.xyz")
    for one, other in zip(structures, again, strict=True):
        assert one.system.pbc == other.system.pbc
        if one.system.cell is not None:
            np.testing.assert_array_equal(one.system.cell, other.system.cell)


def test_a_left_handed_cell_names_the_structure(file):
    text = salt().replace("4 0 0 0 5 0 0.5 0 6", "0 5 0 4 0 0 0.5 0 6")
    with pytest.raises(InputError, match=r"structure 1: The cell is left-handed"):
        read_structures(file(WATER + text))


def test_a_flat_cell_names_the_structure(file):
    text = salt().replace("0 5 0 0.5 0 6", "0 5 0 4 5 0")
    with pytest.raises(InputError, match=r"structure 0: The cell is flat"):
        read_structures(file(text))


def test_a_stress_without_a_cell_is_an_input_error(file):
    text = salt('stress="1 0 0 0 1 0 0 0 1"', pbc="F F F")
    with pytest.raises(InputError, match="structure 0: it has a stress but no cell"):
        read_structures(file(text))


@pytest.mark.parametrize(
    ("label", "shape"),
    [
        ("quadrupole", (6,)),
        ("energy", (1,)),
        ("forces", (3, 2)),
        ("charges", (2, 1)),
        ("dipole", (2,)),
        ("stress", (9,)),
    ],
)
def test_labels_of_the_wrong_shape_are_refused(label, shape):
    system = System(np.eye(3)[:2], [1, 1], cell=4 * np.eye(3))
    with pytest.raises(InputError, match=rf"mine: `{label}` must have shape .*, got \({shape[0]},"):
        Structure(system, **{label: np.zeros(shape)}, name="mine")


def test_atoms_of_ase_become_a_system():
    import ase

    cell = [[4, 0, 0], [1, 4, 0], [0, 1, 5]]
    atoms = ase.Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=cell, pbc=True)
    system = system_from_atoms(atoms, -1.0)
    np.testing.assert_array_equal(system.cell, cell)
    np.testing.assert_array_equal(system.numbers, [11, 17])
    assert float(system.total_charge) == -1.0


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("field", {"field": [0.0, 0.0, 0.1]}),
        ("applied", {"applied": [0.1, 0.0]}),
        ("fragments", {"fragments": [0, 0]}),
    ],
)
def test_a_file_does_not_lose_what_it_cannot_hold(tmp_path, name, conditions):
    system = System([[0, 0, 0], [0.97, 0, 0]], [8, 1], **conditions)
    with pytest.raises(InputError, match=f"has `{name}`, which .*extended XYZ.* cannot use"):
        write_structures(tmp_path / "out.xyz", [Structure(system)])
    assert not (tmp_path / "out.xyz").exists()
