"""The ASE calculator: results, total charge, and neighbour lists that are kept while they hold."""

import ase
import equinox as eqx
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress

import lrpot
from lrpot.interop import ase as adapter

CELL = np.array([[4.2, 0, 0], [0.7, 4.0, 0], [-0.4, 0.6, 4.4]])


@pytest.fixture(scope="module", autouse=True)
def compilations():
    """The shapes that the calculator has been compiled for."""
    shapes = []

    def traced(potential, system, neighbors, **settings):
        shapes.append((system.n_atoms, *neighbors.index.shape))
        return lrpot.evaluate(potential, system, neighbors, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "_compiled", eqx.filter_jit(traced))
        yield shapes


def crystal():
    positions = np.array([[0.1, 0.2, 0.0], [1.0, 0.3, 0.1], [2.1, 2.3, 1.9], [0.2, 1.1, 0.3]])
    return ase.Atoms("OHOH", positions, cell=CELL, pbc=True)


def slab():
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.cell[2] = 0
    return atoms


def water(**info):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    atoms.info |= info
    return atoms


def test_everything_about_a_molecule_comes_from_one_call(charged):
    atoms = water()
    atoms.calc = lrpot.Calculator(charged, total_charge=1.0)
    atoms.get_potential_energy()
    names = {"energy", "free_energy", "energies", "forces", "charges", "dipole"}
    assert set(atoms.calc.results) == names
    expected = lrpot.predict(charged, lrpot.from_ase(atoms, total_charge=1.0))
    np.testing.assert_allclose(atoms.get_potential_energy(), expected.energy, rtol=1e-12)
    np.testing.assert_allclose(
        atoms.get_potential_energy(force_consistent=True), expected.energy, rtol=1e-12
    )
    np.testing.assert_allclose(atoms.get_potential_energies(), expected.energies, atol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-12)
    np.testing.assert_allclose(atoms.get_charges(), expected.charges, atol=1e-12)
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected.dipole, atol=1e-12)
    assert isinstance(atoms.calc.results["energy"], float)
    assert all(isinstance(atoms.calc.results[name], np.ndarray) for name in ("forces", "charges"))


def test_the_stress_of_a_crystal_has_ases_order_and_sign(charged):
    atoms = crystal()
    atoms.calc = lrpot.Calculator(charged)
    expected = lrpot.predict(charged, lrpot.from_ase(atoms))
    stress = atoms.get_stress()
    np.testing.assert_allclose(stress, full_3x3_to_voigt_6_stress(expected.stress), atol=1e-12)
    assert np.abs(stress).max() > 1e-3

    def energy(strain):
        strained = crystal()
        strained.set_cell(CELL @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = atoms.calc
        return strained.get_potential_energy()

    step = np.zeros((3, 3))
    step[1, 2] = step[2, 1] = 5e-5  # the yz component, fourth of Voigt's
    slope = (energy(step) - energy(-step)) / 2e-4
    np.testing.assert_allclose(slope, stress[3] * atoms.get_volume(), atol=1e-5)


@pytest.mark.parametrize("make", [water, crystal, slab])
def test_forces_are_the_slope_of_the_energy(charged, make):
    atoms = make()
    atoms.calc = lrpot.Calculator(charged)
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    assert np.abs(numerical).max() > 0.05
    np.testing.assert_allclose(atoms.get_forces(), numerical, atol=2e-6)


@pytest.mark.parametrize(
    ("argument", "info", "expected"),
    [
        (None, {}, 0.0),
        (None, {"charge": -1}, -1.0),
        (None, {"charge": -1, "total_charge": 1}, 1.0),
        (2.0, {"charge": -1, "total_charge": 1}, 2.0),
        (0.0, {"total_charge": 1}, 0.0),
    ],
    ids=["nothing", "charge", "total charge first", "argument first", "argument zero"],
)
def test_the_total_charge_has_a_known_order_of_precedence(charged, argument, info, expected):
    atoms = water(**info)
    atoms.calc = lrpot.Calculator(charged, total_charge=argument)
    np.testing.assert_allclose(atoms.get_charges().sum(), expected, atol=1e-12)
    system = lrpot.from_ase(atoms, total_charge=argument)
    assert float(system.total_charge) == expected


@pytest.mark.parametrize("key", ["total_charge", "charge"])
def test_another_charge_in_info_is_another_calculation(charged, key):
    atoms = water()
    atoms.calc = lrpot.Calculator(charged)
    neutral = atoms.get_potential_energy()
    atoms.info[key] = 1
    assert abs(atoms.get_potential_energy() - neutral) > 0.01
    np.testing.assert_allclose(atoms.get_charges().sum(), 1.0, atol=1e-12)
    del atoms.info[key]
    assert atoms.get_potential_energy() == neutral


@pytest.mark.parametrize("name", ["net_charge", "Charge", "totalcharge", "tot_charge", "QTOT"])
def test_a_charge_of_another_name_in_info_is_refused(charged, name):
    atoms = water(**{name: 1})
    atoms.calc = lrpot.Calculator(charged)
    with pytest.raises(lrpot.InputError, match=rf"'{name}'\]` = 1 looks like a total charge"):
        atoms.get_potential_energy()
    # What is given elsewhere, or says neutral, leaves no doubt.
    assert float(lrpot.from_ase(atoms, total_charge=-1.0).total_charge) == -1
    assert float(lrpot.from_ase(water(total_charge=2, **{name: 1})).total_charge) == 2
    assert float(lrpot.from_ase(water(**{name: 0})).total_charge) == 0


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("field", "field"),
        ("electric_field", "field"),
        ("external_field", "field"),
        ("applied", "applied"),
        ("fragments", "fragments"),
        ("fragment_charges", "fragment_charges"),
    ],
)
def test_a_field_or_fragments_in_info_are_refused_also_when_they_come_later(local, name, argument):
    atoms = water()
    atoms.calc = lrpot.Calculator(local)
    atoms.get_potential_energy()
    atoms.info[name] = np.array([0.0, 0.0, 1.0])
    with pytest.raises(lrpot.InputError, match=f"looks like the `{argument}` of a system"):
        atoms.get_potential_energy()


def test_what_has_no_part_in_the_energy_may_stand_in_info(local):
    atoms = water(config_type="bulk", energy=-3.0, spin=2, comment="charge 1", field=np.zeros(3))
    assert float(lrpot.from_ase(atoms).total_charge) == 0


def test_atoms_of_ase_become_a_system():
    atoms = crystal()
    atoms.info["total_charge"] = -1
    system = lrpot.from_ase(atoms)
    np.testing.assert_array_equal(system.positions, atoms.positions)
    np.testing.assert_array_equal(system.numbers, [8, 1, 8, 1])
    np.testing.assert_array_equal(system.cell, CELL)
    assert float(system.total_charge) == -1.0
    atoms.pbc = False
    assert lrpot.from_ase(atoms).cell is None
    atoms.pbc = (True, True, False)
    assert lrpot.from_ase(atoms).pbc == (True, True, False)
    atoms.cell[2] = 0
    np.testing.assert_array_equal(lrpot.from_ase(atoms).cell[:2], CELL[:2])


def test_nothing_is_compiled_again_while_atoms_move(local, compilations):
    atoms = crystal()
    atoms.calc = lrpot.Calculator(local, skin=0.4)
    atoms.get_forces()
    begun = len(compilations)
    rng = np.random.default_rng(0)
    for _ in range(30):
        atoms.positions += 0.03 * rng.normal(size=(4, 3))
        atoms.get_forces()
    assert len(compilations) == begun


def test_a_total_charge_of_another_value_is_not_compiled_again(charged, compilations):
    atoms = water()
    atoms.calc = lrpot.Calculator(charged)
    atoms.get_potential_energy()
    begun = len(compilations)
    for total_charge in (-1, 0.5, 2):
        atoms.info["total_charge"] = total_charge
        atoms.get_potential_energy()
    assert len(compilations) == begun


@pytest.fixture
def lists(local, monkeypatch):
    """How many lists have been built."""
    built = []
    original = type(local).neighbors

    def count(self, *arguments, **settings):
        built.append(settings)
        return original(self, *arguments, **settings)

    monkeypatch.setattr(type(local), "neighbors", count)
    return built


@pytest.mark.parametrize("skin", [0.0, 0.3])
@pytest.mark.parametrize("make", [water, crystal])
def test_a_random_walk_through_many_skins_gives_the_energies_of_fresh_lists(
    local, make, skin, lists
):
    """Every third step is larger than the skin; atoms jump by whole cells."""
    atoms, fresh = make(), make()
    atoms.calc = lrpot.Calculator(local, skin=skin)
    rng = np.random.default_rng(3)
    start = atoms.positions.copy()
    for step in range(24):
        size = 0.4 if step % 3 == 2 else 0.05
        near = atoms.positions + size * rng.normal(size=(len(atoms), 3)) / np.sqrt(3)
        atoms.positions = 0.8 * (near - start) + start  # a walk that does not fly apart
        if step % 8 == 7 and atoms.pbc.any():
            atoms.positions[0] += CELL[0] - CELL[2]
            atoms.positions[2] -= CELL[1]
            start = atoms.positions.copy()
        found = atoms.get_potential_energy(), atoms.get_forces()
        fresh.calc = lrpot.Calculator(local, skin=1.0)
        fresh.positions = atoms.positions
        np.testing.assert_allclose(found[0], fresh.get_potential_energy(), rtol=1e-11)
        np.testing.assert_allclose(found[1], fresh.get_forces(), atol=1e-10)
    ours = [settings for settings in lists if settings["skin"] == skin]
    assert len(ours) == 24 if skin == 0.0 else 6 <= len(ours) < 22


def test_the_same_positions_need_no_second_calculation(local, lists):
    atoms = water()
    atoms.calc = lrpot.Calculator(local)
    atoms.get_forces()
    atoms.get_potential_energy()
    assert len(lists) == 1


def test_another_cell_gives_the_energy_of_that_cell(charged):
    atoms = crystal()
    atoms.calc = lrpot.Calculator(charged)
    before = atoms.get_potential_energy()
    atoms.set_cell(1.05 * CELL, scale_atoms=True)
    after = atoms.get_potential_energy()
    expected = lrpot.predict(charged, lrpot.from_ase(atoms)).energy
    assert abs(after - before) > 1e-3
    np.testing.assert_allclose(after, expected, rtol=1e-11)


def test_other_atoms_give_the_energy_of_those_atoms(local):
    calculator = lrpot.Calculator(local)
    first, second = water(), water()
    second.numbers = [1, 8, 1]
    larger = molecule("H2O2")
    energies = [calculator.get_potential_energy(atoms) for atoms in (first, second, larger)]
    for atoms, energy in zip((first, second, larger), energies, strict=True):
        expected = lrpot.predict(local, lrpot.from_ase(atoms)).energy
        np.testing.assert_allclose(energy, expected, rtol=1e-11)
    assert abs(energies[0] - energies[1]) > 1e-3


def test_boundaries_that_appear_and_vanish_are_noticed(local):
    atoms = crystal()
    atoms.calc = lrpot.Calculator(local)
    periodic = atoms.get_potential_energy()
    atoms.pbc = False
    assert abs(atoms.get_potential_energy() - periodic) > 1e-6
    assert "stress" not in atoms.calc.results
    atoms.pbc = True
    np.testing.assert_allclose(atoms.get_potential_energy(), periodic, rtol=1e-12)


def test_a_molecule_has_no_stress(local):
    atoms = water()
    atoms.calc = lrpot.Calculator(local)
    with pytest.raises(PropertyNotImplementedError, match=r"no stress .* needs a cell"):
        atoms.get_stress()


@pytest.mark.parametrize("name", ["charges", "dipole_moment"])
def test_2g_has_no_charges_and_no_dipole(local, name):
    atoms = water()
    atoms.calc = lrpot.Calculator(local)
    with pytest.raises(PropertyNotImplementedError, match=r"potential with charges .*hdnnp_2g"):
        getattr(atoms, f"get_{name}")()


def test_a_total_charge_that_2g_cannot_use_is_refused(local):
    with pytest.raises(lrpot.InputError, match=r"hdnnp_2g` has no charges .* total_charge=1\.0"):
        lrpot.Calculator(local, total_charge=1.0)


def test_an_unknown_element_is_refused(local):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = lrpot.Calculator(local)
    with pytest.raises(lrpot.InputError, match=r"Element 29 \(Cu, atom 0\)"):
        atoms.get_potential_energy()


def test_positions_that_are_not_finite_are_refused(local):
    atoms = water()
    atoms.positions[1, 0] = np.nan
    atoms.calc = lrpot.Calculator(local)
    with pytest.raises(lrpot.InputError, match="The position of atom 1 is not finite"):
        atoms.get_forces()


def test_a_relaxation_ends_at_rest_and_lower(local):
    """A potential of random weights has a minimum somewhere near."""
    atoms = crystal()
    atoms.calc = lrpot.Calculator(local)
    before = atoms.get_potential_energy()
    assert np.abs(atoms.get_forces()).max() > 0.05
    assert BFGS(atoms, logfile=None).run(fmax=0.005, steps=200)
    assert atoms.get_potential_energy() < before
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.005
