"""Every name of a file is used, or reported with the label that it looks like."""

import dataclasses
import json

import ase
import ase.db
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from lrpot import InputError
from lrpot.data import Keys, Used, check_data, read_data, read_readable, read_structures
from lrpot.errors import InputWarning

POSITIONS = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]
FORCES = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [-0.5, -0.7, -0.9]]


def frame(keys="energy=-5.5", columns="", rows=("", "", "")):
    """A water molecule in extended XYZ."""
    text = f"3\nProperties=species:S:1:pos:R:3{columns} {keys}\n"
    for symbol, position, row in zip("OHH", POSITIONS, rows, strict=True):
        text += f"{symbol} {' '.join(map(str, position))} {row}\n"
    return text


def with_forces(name, keys="energy=-5.5"):
    rows = [" ".join(map(str, force)) for force in FORCES]
    return frame(keys, f":{name}:R:3", rows)


def with_charges(name, keys="energy=-5.5"):
    return frame(keys, f":{name}:R:1", ["-0.8", "0.4", "0.4"])


@pytest.fixture
def write(tmp_path):
    """A function from the text of a file to its path."""

    def to_file(text, name="data.xyz"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return to_file


def lost(usage):
    return {one.name: one.nearest for one in usage.lost}


@pytest.mark.parametrize(
    "name",
    ["force", "Force", "REF_forces", "forces_dft", "dftForces", "gradient", "F", "frc", "froces"],
)
def test_forces_of_another_name_are_told_and_read_when_they_are_named(write, name):
    path = write(with_forces(name))
    usage = read_data(path).usage
    assert lost(usage) == {name: "forces"}
    message = (
        f"1 of 1 structures have the column `{name}` and no `forces`: name it with "
        f'`forces = "{name}"` in `[data.keys]`'
    )
    assert message in usage.complaint()
    assert f'`ignore = ["{name}"]` in `[data]`' in usage.complaint()
    with pytest.warns(InputWarning, match=f"`{name}`"):
        (found,) = read_structures(path)
    assert found.forces is None
    (found,) = read_structures(path, ignore=[name])
    assert found.forces is None
    (found,) = read_structures(path, keys=Keys(forces=name))
    np.testing.assert_array_equal(found.forces, FORCES)


@pytest.mark.parametrize(
    "name",
    ["REF_energy", "Energy", "dft_energy", "free_energy", "total_energy", "etot", "E", "enrgy"],
)
def test_an_energy_of_another_name_is_told_and_read_when_it_is_named(write, name):
    path = write(frame(f"{name}=-5.5"))
    assert lost(read_data(path).usage) == {name: "energy"}
    with pytest.raises(InputError, match=f"has no energy: .* Did you mean `{name}`"):
        read_structures(path, require=("energy",))
    (found,) = read_structures(path, keys=Keys(energy=name), require=("energy",))
    assert found.energy == -5.5


@pytest.mark.parametrize(
    "name",
    "Charge net_charge tot_charge total_q totalcharge QTOT charges chrage mol_charge Q".split(),
)
def test_a_total_charge_of_another_name_is_never_neutral_without_a_word(write, name):
    path = write(frame(f"energy=-5.5 {name}=1"))
    assert lost(read_data(path).usage) == {name: "total_charge"}
    with pytest.warns(InputWarning, match=f"`{name}` and no `total_charge`, and count as neutral"):
        read_readable(path)
    (found,) = read_structures(path, keys=Keys(total_charge=name))
    assert float(found.system.total_charge) == 1.0


@pytest.mark.parametrize("name", ["hirshfeld_charges", "mulliken", "bader", "q", "partial_charge"])
def test_charges_of_another_name_are_told_and_read_when_they_are_named(write, name):
    path = write(with_charges(name))
    assert lost(read_data(path).usage) == {name: "charges"}
    (found,) = read_structures(path, keys=Keys(charges=name))
    np.testing.assert_array_equal(found.charges, [-0.8, 0.4, 0.4])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('energy=1 dipole_moment="1 2 3"', {"dipole_moment": "dipole"}),
        ('energy=1 mu="1 2 3"', {"mu": "dipole"}),
        ("energy=1 config_weight=2", {"config_weight": "weight"}),
        ('energy=1 quad="1 2 3 4 5 6"', {"quad": "quadrupole"}),
        ('energy=1 lattice="9 0 0 0 9 0 0 0 9"', {"lattice": "Lattice"}),
        ('energy=1 Lattice="9 0 0 0 9 0 0 0 9" PBC="T T F"', {"PBC": "pbc"}),
        ('energy=1 Lattice="9 0 0 0 9 0 0 0 9" dft_stress="1 2 3 4 5 6"', {"dft_stress": "stress"}),
        ('energy=1 Lattice="9 0 0 0 9 0 0 0 9" my_virials="1 2 3 4 5 6"', {"my_virials": "virial"}),
        ('energy=1 forces="1 2 3 4 5 6 7 8 9"', {"forces": "forces"}),
        ('energy=1 charge=1 charges="0.2 0.3 0.5"', {}),
    ],
)
def test_other_labels_of_another_name_are_told(write, keys, expected):
    assert lost(read_data(write(frame(keys))).usage) == expected


def test_names_that_are_no_labels_are_listed_and_no_more(write):
    keys = 'energy=1 config_type=water name="a b" kinetic_energy=3 max_force=2 step=4 ref_energy=7'
    usage = read_data(write(frame(keys + " Charge=0", ":magmoms:R:1:tags:I:1", ["1 2"] * 3))).usage
    assert not usage.lost
    names = {one.name for one in usage.unused}
    assert names == {"config_type", "name", "kinetic_energy", "max_force", "step", "ref_energy"} | {
        "Charge",
        "magmoms",
        "tags",
    }
    (line,) = [one for one in usage.lines() if one.startswith("Not used")]
    assert "key `ref_energy` (nearest known: `energy`)" in line
    assert "column `magmoms`," in line


def test_the_report_counts_what_only_some_structures_have(write):
    text = with_forces("forces") + with_forces("force") + with_forces("forces", "energy=1 charge=1")
    usage = read_data(write(text)).usage
    assert usage.used == (
        Used("energy", "key", "energy", 3),
        Used("forces", "column", "forces", 2),
        Used("total_charge", "key", "charge", 1),
    )
    assert usage.lines()[0].endswith(
        "data.xyz, 3 structures: energy from key `energy`, forces from column `forces` "
        "(in 2 of 3), total_charge from key `charge` (in 1 of 3)."
    )
    assert "1 of 3 structures have the column `force` and no `forces`" in usage.lines()[2]
    assert json.loads(json.dumps(usage.as_dict()))["lost"][0]["missed"] == 1


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Keys)])
def test_a_name_that_no_structure_has_is_an_error_for_every_label(write, field):
    path = write(with_forces("forces", "energy=1 total_charge=0"))
    with pytest.raises(InputError, match=f"No structure of .* has {field}: there is no `mine`"):
        read_structures(path, keys=Keys(**{field: "mine"}))


def test_a_name_that_some_structures_have_is_counted(write):
    text = frame("energy=1 ionised=-1") + frame("energy=1")
    contents = read_data(write(text), keys=Keys(total_charge="ionised"))
    assert Used("total_charge", "key", "ionised", 1) in contents.usage.used
    assert [float(one.system.total_charge) for one in contents.structures] == [-1.0, 0.0]


@pytest.mark.parametrize("name", ["virial", "virials"])
def test_a_virial_is_minus_the_stress_times_the_volume(write, name):
    text = frame(f'energy=1 Lattice="4 0 0 0 5 0 0 0 6" {name}="12 24 36 24 48 60 36 60 72"')
    (found,) = read_structures(write(text))
    stress = [[-0.1, -0.2, -0.3], [-0.2, -0.4, -0.5], [-0.3, -0.5, -0.6]]
    np.testing.assert_allclose(found.stress, stress, rtol=1e-14)


def test_a_stress_goes_before_a_virial(write):
    keys = (
        'energy=1 Lattice="4 0 0 0 5 0 0 0 6" virial="9 0 0 0 9 0 0 0 9" stress="1 0 0 0 1 0 0 0 1"'
    )
    contents = read_data(write(frame(keys)))
    np.testing.assert_array_equal(contents.structures[0].stress, np.eye(3))
    assert [one.name for one in contents.usage.unused] == ["virial"]
    assert not contents.usage.lost


@pytest.mark.parametrize(
    "keys", ['virials="1 2 3 4 5 6" Lattice="4 0 0 0 5 0 0 0 6"', 'virial="1 0 0 0 1 0 0 0 1"']
)
def test_a_virial_without_a_certain_meaning_is_refused(write, keys):
    with pytest.raises(InputError, match=r"structure 0: the virial `virials?` must have nine"):
        read_structures(write(frame(f"energy=1 {keys}")))


def test_columns_without_a_name_are_told(write):
    rows = "\n".join(f"{s} 0 0 {z} 1 2 3" for z, s in enumerate("OHH"))
    usage = read_data(write(f"3\nenergy=-5.5\n{rows}\n")).usage
    assert lost(usage) == {"unnamed columns": "forces"}
    assert 'Properties="species:S:1:pos:R:3:forces:R:3"' in usage.complaint()


def test_a_label_of_the_structure_is_not_taken_from_the_atoms(write):
    path = write(frame("charge=1", ":energy:R:1", ["1", "2", "3"]))
    (found,) = read_structures(path)
    assert found.energy is None
    assert float(found.system.total_charge) == 1.0
    message = r"has no energy: there is no `energy`\. `energy` is there, but for each atom\."
    with pytest.raises(InputError, match=message):
        read_structures(path, require=("energy",))


def test_the_same_name_may_stand_in_the_header_and_above_a_column(write):
    path = write(
        frame("charge=1 energy=-5.5", ":charge:R:1:energy:R:1", ["0.2 1", "0.3 2", "0.5 3"])
    )
    contents = read_data(path)
    assert contents.structures[0].energy == -5.5
    assert float(contents.structures[0].system.total_charge) == 1.0
    np.testing.assert_array_equal(contents.structures[0].charges, [0.2, 0.3, 0.5])
    assert [(one.kind, one.name) for one in contents.usage.unused] == [("column", "energy")]


def test_a_single_atom_keeps_its_charges_apart(write):
    columns = "species:S:1:pos:R:3:charges:R:1:forces:R:3"
    text = f"1\nProperties={columns} energy=0 charge=2\nMg 0 0 0 2 1 2 3\n"
    (found,) = read_structures(write(text))
    assert float(found.system.total_charge) == 2.0
    np.testing.assert_array_equal(found.charges, [2.0])
    np.testing.assert_array_equal(found.forces, [[1, 2, 3]])


@pytest.mark.parametrize("name", ["forces", "columns"])
def test_a_name_that_stands_twice_is_refused(write, name):
    path = write(
        frame("energy=1 energy=2")
        if name == "forces"
        else frame("energy=1", ":charge:R:1:charges:R:1", ["1 2"] * 3)
    )
    with pytest.raises(
        InputError, match=r"structure 0: (`energy` stands twice|two of the columns)"
    ):
        read_structures(path)


def database(path, *, data=None, calculator=None, **pairs):
    with ase.db.connect(path) as rows:
        atoms = ase.Atoms("OHH", POSITIONS)
        if calculator is not None:
            atoms.calc = SinglePointCalculator(atoms, **calculator)
        rows.write(atoms, data=data or {}, **pairs)


@pytest.mark.parametrize("name", ["set.db", "set.json"])
def test_labels_in_the_rows_of_a_database_are_read(tmp_path, name):
    calculator = dict(energy=-5.5, forces=np.array(FORCES), dipole=np.array([1.0, 2, 3]))
    path = tmp_path / name
    database(path, calculator=calculator, total_charge=1, weight=2.5, source="mine")
    contents = read_data(path, require=("energy", "forces", "dipole"))
    (found,) = contents.structures
    assert float(found.system.total_charge) == 1.0
    assert (found.energy, found.weight) == (-5.5, 2.5)
    np.testing.assert_array_equal(found.forces, FORCES)
    np.testing.assert_array_equal(found.dipole, [1, 2, 3])
    assert [one.name for one in contents.usage.unused] == ["source"]


def test_labels_under_other_names_are_findings_with_one_remedy_for_all(write):
    path = write(with_forces("force").replace("energy=", "ref_energy="))
    contents = read_data(path)
    assert lost(contents.usage) == {"ref_energy": "energy", "force": "forces"}
    report = check_data(contents.structures, usage=contents.usage)
    (found,) = [one for one in report.findings if one.kind == "labels under other names"]
    assert found.cases == [
        ("key `ref_energy`", "1 of 1 structures have the key `ref_energy` and no `energy`"),
        ("column `force`", "1 of 1 structures have the column `force` and no `forces`"),
    ]
    remedy = (
        'name them with `energy = "ref_energy"`, `forces = "force"` in `[data.keys]` '
        '(`Keys(energy="ref_energy", forces="force")` in Python, `--key energy=ref_energy '
        "--key forces=force` on the command line), or leave them out with `ignore = "
        '["ref_energy", "force"]` in `[data]`'
    )
    assert remedy in found.meaning
    assert remedy in contents.usage.complaint()
    keys = Keys(energy="ref_energy", forces="force")
    usage = read_data(path, keys=keys).usage
    assert usage.complaint() == ""
    kinds = [one.kind for one in check_data(contents.structures, usage=usage).findings]
    assert "labels under other names" not in kinds


def test_labels_in_the_pairs_and_data_of_a_database_are_read(tmp_path):
    path = tmp_path / "set.db"
    database(path, data={"ref_forces": np.array(FORCES), "charge": -1}, ref_energy=-5.5)
    assert lost(read_data(path).usage) == {"ref_energy": "energy", "ref_forces": "forces"}
    with pytest.raises(InputError, match="Did you mean `ref_energy`"):
        read_structures(path, require=("energy",))
    (found,) = read_structures(path, keys=Keys(energy="ref_energy", forces="ref_forces"))
    assert found.energy == -5.5
    assert float(found.system.total_charge) == -1.0
    np.testing.assert_array_equal(found.forces, FORCES)


def test_a_field_in_a_file_and_forces_of_a_wrong_shape_are_told(write):
    """Energies and forces of such a structure are those in the field."""
    path = write(frame('energy=1 electric_field="0 0 0.1" forces="0 0 1"'))
    with pytest.warns(InputWarning) as told:
        structures = read_structures(path)
    assert structures[0].forces is None
    words = str(told[0].message)
    assert (
        "`electric_field` and no `field`; 1 of 1 structures have the key `forces` in ano" in words
    )
    assert "`electric_field`: files cannot hold it yet" in words
    assert "`forces`: write it as a column" in words
    assert 'leave them out with `ignore = ["electric_field", "forces"]` in `[data]`' in words
    assert read_data(path, ignore=["electric_field", "forces"]).usage.lost == ()


def test_a_key_without_a_value_does_not_take_the_next_one(write):
    """ASE 3.29 gives `note` the value `energy=-5.5`."""
    path = write(
        frame("""note="" energy=-5.5 other='' total_charge=1 text="a='' b" more={} weight=2 """)
    )
    (structure,) = read_structures(path)
    assert float(structure.energy) == -5.5
    assert float(structure.system.total_charge) == 1
    assert structure.weight == 2
    assert {one.name for one in read_data(path).usage.unused} == {"note", "other", "text", "more"}


@pytest.mark.parametrize("columns", ["species:S:1", "pos:R:3", "specie:S:1:pos:R:3", "s"])
def test_a_structure_without_positions_or_elements_is_refused(write, columns):
    """ASE reads one without `pos` as atoms at the origin."""
    text = f"2\nProperties={columns} energy=1\n" + 2 * "H 0.5 0 0\n"
    with pytest.raises(InputError, match=r"structure 0: (its columns are|ASE cannot read it)"):
        read_structures(write(text))
