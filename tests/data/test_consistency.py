"""Units and signs are told from how energies change with forces and stresses, and only then."""

import dataclasses

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.md.verlet import VelocityVerlet
from ase.units import fs, kB

import lrpot
from lrpot.data import Structure, check_data, read_readable

UNITS = ("energies and forces", "energies and stresses")
ODD = (*UNITS, "positions in another unit", "forces in another unit", "stresses in another unit")


def labelled(atoms, name):
    system = lrpot.System(
        atoms.positions, atoms.numbers, cell=np.asarray(atoms.cell) if any(atoms.pbc) else None
    )
    return Structure(
        system,
        energy=np.array(atoms.get_potential_energy()),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(voigt=False) if any(atoms.pbc) else None,
        name=name,
    )


@pytest.fixture(scope="module")
def crystals():
    """Copper and gold at random in cells of random strain, labelled by ASE's EMT."""
    random, found = np.random.default_rng(0), []
    base = ase.build.bulk("Cu", cubic=True)
    base.numbers[0] = 79
    for number in range(16):
        atoms = base.copy()
        strain = 0.03 * random.normal(size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.rattle(0.05, rng=random)
        atoms.calc = EMT()
        found.append(labelled(atoms, f"crystal {number}"))
    return found


@pytest.fixture(scope="module")
def trajectory():
    """A hot cluster, its frames 6 fs apart, wherever it has drifted and turned to."""
    atoms = Octahedron("Cu", 2)
    atoms.numbers[:2] = 79
    atoms.calc = EMT()
    random = np.random.default_rng(1)
    speeds = np.sqrt(1500 * kB / atoms.get_masses())[:, None]
    atoms.set_velocities(speeds * random.normal(size=(len(atoms), 3)))
    dynamics, found = VelocityVerlet(atoms, fs), []
    for number in range(20):
        dynamics.run(6)
        frame = atoms.copy()
        frame.rotate(random.uniform(0, 360), random.normal(size=3))
        frame.positions += random.normal(size=3)
        frame.calc = EMT()
        found.append(labelled(frame, f"frame {number}"))
    return found


def frozen(crystals):
    """The same crystal with displaced atoms: the cell never changes."""
    random = np.random.default_rng(2)
    cell, start = crystals[0].system.cell, np.asarray(crystals[0].system.positions)
    found = []
    for number in range(8):
        atoms = ase.Atoms(
            crystals[0].system.numbers, start + 0.08 * random.normal(size=(4, 3)), cell=cell, pbc=1
        )
        atoms.calc = EMT()
        found.append(labelled(atoms, f"frozen {number}"))
    return found


def scaled(structures, **factors):
    """Labels times factors, as with another unit; `positions` scales cells as well."""
    positions = factors.pop("positions", 1.0)
    found = []
    for one in structures:
        cell = one.system.cell
        system = lrpot.System(
            one.system.positions * positions,
            one.system.numbers,
            cell=None if cell is None else cell * positions,
        )
        labels = {
            label: np.asarray(getattr(one, label) * factor) for label, factor in factors.items()
        }
        found.append(dataclasses.replace(one, system=system, **labels))
    return found


def odd(structures, kinds=ODD):
    report = check_data(structures)
    return {one.kind: one.cases for one in report.findings if one.kind in kinds}


def test_labels_of_another_program_are_consistent(crystals, trajectory):
    assert not odd(crystals)
    assert not odd(frozen(crystals))
    assert not odd(trajectory)
    (remark,) = [one for one in check_data(trajectory).remarks if "work" in one]
    assert "over 19 pairs of neighbouring structures: 19 agree, 0 do not" in remark


FACTORS = {
    "forces of opposite sign": dict(forces=-1.0),
    "energies in Ha beside forces in eV/Å": dict(energy=1 / 27.211386),
    "energies in kcal/mol beside forces in eV/Å": dict(energy=23.060548),
    "energies in kJ/mol beside forces in eV/Å": dict(energy=96.485332),
    "energies in Ry beside forces in eV/Å": dict(energy=1 / 13.605693),
    "forces in Ha/bohr beside energies in eV": dict(forces=1 / 51.422067),
    "forces in kcal/mol/Å beside energies in eV": dict(forces=23.060548),
    "forces in meV/Å beside energies in eV": dict(forces=1000.0),
    "forces per bohr": dict(energy=1 / 27.211386, forces=1 / 51.422067),
    "positions in bohr beside forces per Å": dict(positions=1.8897261),
    "energies per atom": dict(energy=1 / 6),
    "energies in Ha beside forces in eV/Å and forces of opposite sign": dict(energy=-1 / 27.211386),
}


@pytest.mark.parametrize("text", FACTORS)
def test_units_and_signs_of_energies_and_forces_are_named(trajectory, text):
    cases = odd(scaled(trajectory, **FACTORS[text]), UNITS)
    ((where, found),) = cases.pop("energies and forces")
    assert text in found
    assert where.endswith("pairs of Au2Cu4, charge 0 e")
    assert not cases


STRESSES = {
    "stresses in GPa": 160.21766,
    "stresses in kBar": 1602.1766,
    "stress of opposite sign": -1.0,
    "stresses in kBar and stress of opposite sign": -1602.1766,
}


@pytest.mark.parametrize("text", STRESSES)
def test_units_and_signs_of_stresses_are_named(crystals, text):
    cases = odd(scaled(crystals, stress=STRESSES[text]), UNITS)
    ((_, found),) = cases.pop("energies and stresses")
    assert text in found
    assert not cases


@pytest.mark.parametrize(("factor", "text"), [(1602.2, "GPa or kBar"), (1 / 183.6, "Ha/bohr³")])
def test_units_of_stresses_are_told_where_the_cell_never_changes(crystals, factor, text):
    (case,) = odd(scaled(frozen(crystals), stress=factor))["stresses in another unit"]
    assert text in case[1]


def test_stresses_are_told_by_their_size_where_there_is_nothing_else(crystals):
    alone = [dataclasses.replace(one, energy=None, forces=None) for one in frozen(crystals)]
    assert not odd(alone)
    (case,) = odd(scaled(alone, stress=1602.2))["stresses in another unit"]
    assert "GPa or kBar" in case[1]
    strained = [dataclasses.replace(one, energy=None, forces=None) for one in crystals]
    (case,) = odd(scaled(strained, stress=160.2))["stresses in another unit"]
    assert "bulk modulus" in case[1]


def test_forces_that_are_no_derivatives_are_told(trajectory):
    others = [one.forces for one in trajectory]
    turned = [
        dataclasses.replace(one, forces=np.roll(other, 1, axis=0))
        for one, other in zip(trajectory, others, strict=True)
    ]
    ((_, text),) = odd(turned)["energies and forces"]
    assert "energies and work" in text or "do not change at all" in text
    flat = [dataclasses.replace(one, energy=np.array(3.0)) for one in trajectory]
    ((_, text),) = odd(flat)["energies and forces"]
    assert "do not change at all" in text


def test_positions_and_forces_that_agree_in_other_units_are_told_by_their_size(trajectory):
    atomic = dict(positions=1.8897261, forces=1 / 51.422067, energy=1 / 27.211386)
    (case,) = odd(scaled(trajectory, **atomic))["positions in another unit"]
    assert "as if positions were in bohr" in case[1]
    (case,) = odd(scaled(trajectory, positions=0.1))["positions in another unit"]
    assert "as if positions were in nm" in case[1]
    chain, _ = read_readable("lrpot/quickstart_data/carbon_train.xyz")
    (case,) = odd(scaled(chain, forces=23.06, energy=23.06))["forces in another unit"]
    assert "kcal/mol/Å" in case[1]


def test_different_charge_states_and_far_structures_are_not_compared(trajectory):
    ions = [
        dataclasses.replace(
            one,
            energy=np.array(one.energy + 5.0 * (number % 2)),
            system=dataclasses.replace(one.system, total_charge=np.array(float(number % 2))),
        )
        for number, one in enumerate(trajectory)
    ]
    assert not odd(ions)
    random = np.random.default_rng(3)
    far = [
        dataclasses.replace(
            one,
            energy=np.array(random.normal()),
            system=lrpot.System(random.uniform(0, 9, size=(6, 3)), one.system.numbers),
        )
        for one in trajectory
    ]
    assert not odd(far)
    assert "could not be compared" in check_data(far).remarks[0]
