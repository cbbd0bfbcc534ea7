"""Total charges as files and scripts write them: the right value, or a message that names it."""

import ase
import numpy as np
import pytest

from lrpot import InputError, from_ase
from lrpot.data import read_structures, total_charge_of, write_structures


def water(**info):
    atoms = ase.Atoms("OHH", [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms.info = info
    return atoms


@pytest.mark.parametrize("key", ["total_charge", "charge"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        ("1", 1.0),
        ("+1", 1.0),
        ([1], 1.0),
        (np.array([-2.0]), -2.0),
        (np.int64(-1), -1.0),
        (np.float32(0.5), 0.5),
    ],
)
def test_a_total_charge_is_read_in_whatever_way_it_is_written(key, value, expected):
    assert total_charge_of(water(**{key: value})) == expected
    assert float(from_ase(water(**{key: value})).total_charge) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is not numeric: None"),
        ("one", "is not numeric: 'one'"),
        ("1-", "is not numeric: '1-'"),
        (True, "is not numeric: True"),
        (1j, "is not numeric"),
        ({}, "is not numeric"),
        (float("nan"), "is not finite"),
        ([1, 2], "must be a single number"),
        ([], "must be a single number"),
    ],
)
def test_a_total_charge_that_is_no_number_is_refused(value, message):
    with pytest.raises(InputError, match=f"mine: `charge` {message}"):
        total_charge_of(water(charge=value), "mine")
    with pytest.raises(InputError, match=f"`charge` {message}"):
        from_ase(water(charge=value))


def test_initial_charges_sum_to_the_total_charge():
    atoms = water()
    atoms.set_initial_charges([0.2, 0.4, 0.399])
    assert total_charge_of(atoms) == 1.0
    assert float(from_ase(atoms).total_charge) == 1.0
    assert float(from_ase(atoms, total_charge=0.0).total_charge) == 0.0
    atoms.info["total_charge"] = -1
    assert total_charge_of(atoms) == -1.0


def test_initial_charges_that_sum_to_no_whole_number_are_refused():
    atoms = water()
    atoms.set_initial_charges([0.3, 0, 0])
    message = r"initial charges sum to 0\.3 e, .* no total charge\. Give it as `total_charge`"
    with pytest.raises(InputError, match=message):
        total_charge_of(atoms)


def test_pairs_and_data_of_a_database_are_looked_into():
    assert total_charge_of(water(key_value_pairs={"total_charge": 1}, data={"more": 2})) == 1.0


def test_initial_charges_of_a_file_are_its_total_charge(tmp_path):
    rows = "O 0 0 0 -1\nH 0.96 0 0 0\nH -0.24 0.93 0 0\n"
    header = "Properties=species:S:1:pos:R:3:initial_charges:R:1 energy=1"
    (tmp_path / "ion.xyz").write_text(f"3\n{header}\n{rows}")
    (found,) = read_structures(tmp_path / "ion.xyz")
    assert float(found.system.total_charge) == -1.0
    write_structures(tmp_path / "again.xyz", [found])
    (again,) = read_structures(tmp_path / "again.xyz")
    assert float(again.system.total_charge) == -1.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("charge=1", "charge=one", "structure 1: `charge` is not numeric: 'one'"),
        ("charge=1", "charge", "structure 1: `charge` is not numeric: .*True"),
        ("charge=1", "charge=nan", "structure 1: `charge` is not finite"),
        ("charge=1", "charge=1 weight=-1", "structure 1: its weight must not be negative"),
        ("charge=1", "charge=1 energy=nan", "structure 1: `energy` is not finite"),
        ("H 0", "Qq 0", "structure 1: ASE cannot read it: KeyError: 'Qq'"),
        ("H 0", "X 0", r"structure 1: Atom 0 is of no element \(`X`\)"),
    ],
)
def test_odd_values_of_a_file_name_the_structure_and_the_key(tmp_path, old, new, message):
    good = "1\ncharge=1\nH 0 0 0\n"
    (tmp_path / "data.xyz").write_text(good + good.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_structures(tmp_path / "data.xyz")
