"""What is planted in a data set is found, named, and nothing else."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import lrpot
from lrpot.data import Structure, check_data, read_readable, write_structures

WATER = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
ATOMIC = {1: -13.6, 8: -2041.0}


def water(seed, total_charge=0.0, hydrogens=2):
    """A molecule in a harmonic well, with forces and charges that sum to what they must."""
    moved = np.random.default_rng(seed).normal(size=(3, 3))[: hydrogens + 1] * 0.05
    moved -= moved.mean(axis=0)
    positions = WATER[: hydrogens + 1] + moved
    pair = positions[1] - positions[0]
    forces = np.zeros_like(positions)
    forces[0], forces[1] = 0.3 * pair, -0.3 * pair  # central: neither a net force nor a torque
    numbers = [8, *[1] * hydrogens]
    return Structure(
        lrpot.System(positions, numbers, total_charge=total_charge),
        energy=np.array(sum(ATOMIC[one] for one in numbers) - 3 * total_charge + (moved**2).sum()),
        forces=forces,
        charges=np.full(hydrogens + 1, total_charge / (hydrogens + 1)),
        name=f"seed {seed}",
    )


def sane():
    kinds = [(0.0, 2), (1.0, 2), (0.0, 1)]
    return [water(seed, *kinds[seed % 3]) for seed in range(24)]


def crystal(seed, stress):
    cell = (3.0 + 0.01 * seed) * np.eye(3)
    system = lrpot.System([[0, 0, 0], [1.5, 1.5, 1.5]], [8, 1], cell=cell)
    return Structure(system, stress=np.array(stress), name=f"crystal {seed}")


def found(report):
    return {one.kind: one.cases for one in report.findings}


def test_a_sane_data_set_is_counted_and_has_no_findings():
    report = check_data(sane())
    assert not report.findings
    assert report.count == 24
    assert report.labels == dict.fromkeys(report.labels, 0) | dict(energy=24, forces=24, charges=24)
    assert report.elements["H"] == {"structures": 24, "atoms": 40}
    assert report.total_charges == {"0": 16, "1": 8}
    least, median, largest = report.ranges["energy"]
    assert least < median < largest < 0.05  # of energies of 2000 eV, in three groups
    assert json.loads(json.dumps(report.as_dict()))["count"] == 24


def test_the_same_structure_is_found_wherever_it_is_and_however_it_is_turned():
    data, turn = sane(), Rotation.random(random_state=3).as_matrix()
    one = data[4]
    order = [2, 0, 1]
    moved = lrpot.System(
        (np.asarray(one.system.positions) @ turn + [1.0, 2.0, 3.0])[order],
        np.asarray(one.system.numbers)[order],
        total_charge=one.system.total_charge,
    )
    again = Structure(
        moved, one.energy, (one.forces @ turn)[order], charges=one.charges[order], name="again"
    )
    assert found(check_data([*data, again])) == {"duplicates": [("seed 4 = again", "")]}
    other = dataclasses.replace(again, energy=np.array(again.energy + 0.006), name="other")
    cases = {"contradictions": [("seed 4 = other", "energy differ by 0.002 eV/atom")]}
    assert found(check_data([*data, other])) == cases
    ion = dataclasses.replace(again.system, total_charge=np.array(-1.0))
    charged = dataclasses.replace(again, system=ion, charges=None, energy=None, name="charged")
    assert "duplicates" not in found(check_data([*data, charged]))


PLANTED = {
    "energy outliers": dict(energy=np.array(sane()[7].energy + 0.9)),
    "force outliers": dict(forces=sane()[7].forces * 30),
    "charge sums": dict(charges=np.array([0.5, 0.3, 0.3])),
    "net forces": dict(forces=np.add(sane()[7].forces, [0.0, 0.0, 0.1])),
    "torques": dict(forces=np.array([[0, 0, 0.3], [0, 0, -0.3], [0, 0, 0]])),
    "missing labels": dict(charges=None),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_is_found_and_named(kind):
    data = sane()
    data[7] = dataclasses.replace(data[7], **PLANTED[kind])
    cases = found(check_data(data))
    assert [name for name, _ in cases.pop(kind)] == ["seed 7"]
    assert not cases


def test_close_atoms_and_strange_stresses_are_found():
    data = [crystal(seed, np.eye(3) * 1e-3 * (1 + 0.01 * seed)) for seed in range(9)]
    odd = crystal(30, [[1e-3, 1e-3, 0], [0, 1e-3, 0], [0, 0, 1e-3]])
    pressed = crystal(31, -np.eye(3))
    close = dataclasses.replace(crystal(32, np.eye(3) * 1e-3), name="close")
    close = dataclasses.replace(
        close, system=lrpot.System([[0, 0, 0], [3.2, 0, 0]], [8, 1], cell=3.0 * np.eye(3))
    )
    cases = found(check_data([*data, odd, pressed, close]))
    assert {kind: [name for name, _ in named] for kind, named in cases.items()} == {
        "stresses": ["crystal 30"],
        "stress outliers": ["crystal 31"],
        "close atoms": ["close"],  # by way of the neighbouring cell
    }
    assert cases["close atoms"][0][1] == "0.200 Å"


def test_what_cannot_be_read_is_reported_with_the_rest(tmp_path):
    path = tmp_path / "data.xyz"
    write_structures(path, sane())
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(lines[2].split()[1], "nan")
    path.write_text("\n".join(lines))
    structures, problems = read_readable(path)
    assert len(structures) == 23
    ((name, message),) = found(check_data(structures, problems))["unreadable"]
    assert name.endswith("structure 0")
    assert "position of atom 0 is not finite" in message
