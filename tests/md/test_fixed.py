"""Fixed atoms: they never move, and what moves has the right motion and temperature."""

import ase
import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.constraints import (
    FixAtoms,
    FixBondLength,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)
from ase.md.verlet import VelocityVerlet

import lrpot
from lrpot import md
from lrpot.md.constraints import constrain, fixed_of
from lrpot.units import BOLTZMANN, FEMTOSECOND

FIXED = np.array([[True, True, True], [False, False, True], [False] * 3, [False] * 3])
"""An atom and a component; eight components of four atoms are free."""

MASSES = np.array([15.999, 1.008, 2.014, 15.999])


@pytest.fixture(scope="module")
def slab():
    """Two layers in a cell that is not upright; the lower one is to be fixed."""
    cell = np.array([[0.3, 4.1, 0.0], [-4.3, 0.2, 0.0], [0.0, 0.0, 9.0]])
    positions = [[-0.1, 0.2, 0.0], [0.9, 0.3, 0.1], [-2.1, 2.3, 1.9], [0.2, 1.1, 2.3]]
    return lrpot.System(positions, [8, 1, 8, 1], cell=cell, pbc=(True, True, False))


@pytest.fixture(scope="module")
def held(local, ion, simulate):
    """At constant energy, with one atom and one component fixed."""
    neutral = lrpot.System(ion.positions, ion.numbers)
    return simulate(
        local, neutral, fixed=FIXED, masses=MASSES, temperature=400.0, steps=20, record_every=1
    )


def test_steps_are_those_of_verlet_in_ase_with_the_same_constraints(local, held):
    atoms = ase.Atoms(np.asarray(held.system.numbers), held.positions[0], masses=MASSES)
    atoms.set_velocities(held.velocities[0] / FEMTOSECOND)
    atoms.set_constraint([FixAtoms([0]), FixCartesian([1], mask=(False, False, True))])
    atoms.calc = lrpot.Calculator(local)
    with VelocityVerlet(atoms, timestep=0.5 * FEMTOSECOND) as verlet:
        verlet.run(20)
    assert np.abs(held.positions[-1] - held.positions[0]).max() > 0.02
    np.testing.assert_allclose(held.positions[-1], atoms.positions, atol=1e-8)
    velocities = atoms.get_velocities() * FEMTOSECOND
    np.testing.assert_allclose(held.velocities[-1], velocities, atol=1e-8)


def test_fixed_components_stay_and_the_centre_of_mass_does_not(held):
    np.testing.assert_array_equal(np.ptp(held.positions, axis=0)[FIXED], 0.0)
    np.testing.assert_array_equal(held.velocities[:, FIXED], 0.0)
    assert (np.abs(held.velocities[0][~FIXED]) > 0).all()
    assert np.abs(MASSES @ held.velocities[0]).max() > 1e-3


def test_the_temperature_counts_what_moves(held):
    kinetic = 0.5 * np.einsum("a,fax->f", MASSES, held.velocities**2) / FEMTOSECOND**2
    np.testing.assert_allclose(held.log["kinetic_energy_eV"], kinetic, rtol=1e-6)
    expected = 2 * kinetic / (8 * BOLTZMANN)
    np.testing.assert_allclose(held.log["temperature_K"], expected, rtol=1e-6)


def test_noise_heats_what_moves_to_half_kt_for_each_component(local, ion, simulate):
    neutral = lrpot.System(ion.positions, ion.numbers)
    settings = dict(ensemble="langevin", temperature=400.0, damping=5.0)
    found = simulate(local, neutral, fixed=FIXED, steps=900, record_every=5, **settings)
    np.testing.assert_array_equal(np.ptp(found.positions, axis=0)[FIXED], 0.0)
    kinetic = found.log["kinetic_energy_eV"][20:]
    # 160 samples, 2.5 fs apart with a memory of about 5 fs: 4 % of 8/2 kT are one standard error.
    np.testing.assert_allclose(kinetic.mean(), 4 * BOLTZMANN * 400.0, rtol=0.15)


def test_a_chain_heats_what_moves_and_conserves_its_invariant(local, ion, simulate):
    neutral = lrpot.System(ion.positions, ion.numbers)
    settings = dict(ensemble="nvt", temperature=400.0, damping=10.0)
    log = simulate(local, neutral, fixed=FIXED, steps=1600, record_every=5, **settings).log
    total = log["potential_energy_eV"] + log["kinetic_energy_eV"]
    assert np.ptp(total) > 20 * np.ptp(log["conserved_eV"])
    np.testing.assert_allclose(log["temperature_K"].mean(), 400.0, rtol=0.15)


def test_a_slab_on_a_frozen_layer_conserves_energy_and_goes_on_exactly(
    local, slab, simulate, tmp_path
):
    """Its cell is turned; frames are read back by ASE with constraints, masses and momenta."""
    fixed = np.array([True, True, False, False])
    settings = dict(fixed=fixed, masses=MASSES, temperature=300.0, record_every=4)
    whole = simulate(local, slab, steps=24, **settings, folder=tmp_path / "whole")
    simulate(local, slab, steps=12, **settings, folder=tmp_path / "parts")
    parts = simulate(local, slab, steps=24, **settings, folder=tmp_path / "parts")
    np.testing.assert_array_equal(parts.positions[-1], whole.positions[-1])
    assert np.ptp(whole.log["conserved_eV"]) < 0.02 * np.ptp(whole.log["potential_energy_eV"])
    np.testing.assert_array_equal(np.ptp(whole.positions, axis=0)[fixed], 0.0)
    frame = ase.io.read(tmp_path / "parts" / "trajectory.xyz")
    (constraint,) = frame.constraints
    assert sorted(constraint.index) == [0, 1]
    np.testing.assert_allclose(frame.get_masses(), MASSES)
    np.testing.assert_allclose(
        frame.get_velocities() * FEMTOSECOND, whole.velocities[-1], atol=1e-8
    )
    with pytest.raises(lrpot.InputError, match="holds another simulation"):
        simulate(local, slab, steps=24, **(settings | {"fixed": ~fixed}), folder=tmp_path / "parts")


def test_components_turn_with_the_cell_or_are_refused(local, simulate):
    """A quarter turn takes x to −y; any other angle mixes them."""
    positions, mask = [[0.0, 0, 0], [0.9, 0.3, 0.1], [0.2, 2.0, 0.4]], np.zeros((3, 3), bool)
    mask[1, 0] = True  # along the second vector
    quarter = np.array([[0.0, 4.1, 0.0], [-4.3, 0.0, 0.0], [0.0, 0.0, 4.5]])
    system = lrpot.System(positions, [8, 1, 1], cell=quarter)
    found = simulate(local, system, fixed=mask, steps=4, record_every=2)
    np.testing.assert_array_equal(found.velocities[:, 1, 1], 0.0)
    assert np.abs(np.delete(found.velocities[0], 4)).min() > 1e-6
    tilted = lrpot.System(positions, [8, 1, 1], cell=quarter + 0.2 * np.eye(3))
    with pytest.raises(lrpot.InputError, match=r"cell has to be turned for jax-md: give it with"):
        simulate(local, tilted, fixed=mask)


def test_a_relaxation_leaves_fixed_atoms_and_relaxes_the_others(local, ion):
    neutral = lrpot.System(ion.positions, ion.numbers)
    found = md.minimise(local, neutral, tolerance=1e-2, fixed=FIXED)
    moved = np.asarray(found.positions) - np.asarray(neutral.positions)
    np.testing.assert_array_equal(moved[FIXED], 0.0)
    assert np.abs(moved[~FIXED]).max() > 0.01
    forces = np.array(lrpot.predict(local, found).forces)
    forces[FIXED] = 0.0
    assert np.linalg.norm(forces, axis=1).max() < 1e-2


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (np.zeros(3, bool), r"booleans of shape \(4,\) or \(4, 3\).*got bool of shape \(3,\)"),
        (np.zeros(4), "got float64 of shape"),
        (np.ones(4, bool), "All atoms are fixed, so that nothing can move"),
    ],
    ids=["shape", "type", "all"],
)
def test_masks_that_make_no_sense_are_refused(local, ion, simulate, fixed, message):
    neutral = lrpot.System(ion.positions, ion.numbers)
    with pytest.raises(lrpot.InputError, match=message):
        simulate(local, neutral, fixed=fixed)
    with pytest.raises(lrpot.InputError, match=message):
        md.minimise(local, neutral, fixed=fixed)


def test_a_changing_cell_and_fixed_atoms_exclude_each_other(local, crystal, simulate):
    neutral = lrpot.System(crystal.positions, crystal.numbers, cell=crystal.cell)
    with pytest.raises(lrpot.InputError, match="fixed atoms would have to move: take `nvt`"):
        simulate(local, neutral, ensemble="npt", fixed=FIXED)
    with pytest.raises(lrpot.InputError, match="takes all atoms with it, and some are fixed"):
        md.minimise(local, neutral, cell=True, fixed=FIXED)


LAYERS = ase.Atoms("OHH", [[0, 0, 0], [1, 0, 0], [0, 1, 1.0]], cell=[4.0, 5.0, 6.0], pbc=True)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (FixAtoms([0]), [[1, 1, 1], [0, 0, 0], [0, 0, 0]]),
        (FixCartesian([1, 2], mask=(True, False, True)), [[0, 0, 0], [1, 0, 1], [1, 0, 1]]),
        (FixScaled([1], mask=(False, False, True)), [[0, 0, 0], [0, 0, 1], [0, 0, 0]]),
        (FixedPlane([2], (0, 0, 2)), [[0, 0, 0], [0, 0, 0], [0, 0, 1]]),
        (FixedLine([2], (0, -1, 0)), [[0, 0, 0], [0, 0, 0], [1, 0, 1]]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_constraints_of_ase_become_a_mask_and_a_mask_constraints(constraint, expected):
    atoms = LAYERS.copy()
    atoms.set_constraint(constraint)
    found = fixed_of(atoms)
    np.testing.assert_array_equal(found, np.array(expected, bool))
    constrain(atoms, found)
    np.testing.assert_array_equal(fixed_of(atoms), found)
    forces = np.ones((3, 3))
    for one in atoms.constraints:
        one.adjust_forces(atoms, forces)
    np.testing.assert_array_equal(forces, 1.0 - found)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (FixBondLength(0, 1), "constraint `FixBondLengths?`, which is not supported"),
        (Hookean(0, 1, 5.0, 1.0), "constraint `Hookean`, .*--ignore-constraints"),
        (FixCom(), "constraint `FixCom`"),
        (FixedPlane([2], (1, 1, 0)), "`FixedPlane` leaves free a direction that is not along"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_other_constraints_are_refused_by_name(constraint, message):
    atoms = molecule("H2O")
    atoms.set_constraint(constraint)
    with pytest.raises(lrpot.InputError, match=message):
        fixed_of(atoms)


def test_scaled_components_of_a_skew_cell_are_refused():
    atoms = LAYERS.copy()
    atoms.set_cell([[4.0, 0, 0], [1.0, 5.0, 0], [0, 0, 6.0]])
    atoms.set_constraint(FixScaled([1], mask=(True, False, False)))
    with pytest.raises(lrpot.InputError, match="`FixScaled` leaves free a direction"):
        fixed_of(atoms)
    atoms.set_constraint(FixScaled([1], mask=(False, False, True)))  # in the plane of x and y
    np.testing.assert_array_equal(fixed_of(atoms)[1], [False, False, True])
