"""What a potential says does not depend on how the same atoms are written down."""

import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.units import KE

ROTATION = np.linalg.qr(np.array([[0.3, -1.0, 0.2], [0.9, 0.4, -0.6], [0.1, 0.5, 1.2]]))[0]
ROTATION *= np.linalg.det(ROTATION)  # a proper one
AXIS = np.array([[0.6, 0.0, 0.8]])
NORMAL = np.array([0.48, -0.6, 0.64])
REFLECTION = np.eye(3) - 2 * np.outer(NORMAL, NORMAL)


def turned(system, matrix):
    """All atoms r → r·matrix; a reflected cell is reversed, to be right-handed again."""
    cell = None if system.cell is None else system.cell @ matrix * np.sign(np.linalg.det(matrix))
    return lrpot.System(
        system.positions @ matrix, system.numbers, cell=cell, total_charge=system.total_charge
    )


def moved(system, positions):
    return lrpot.System(
        positions, system.numbers, cell=system.cell, total_charge=system.total_charge
    )


def assert_same(found, expected, *, forces=None, stress=None, order=slice(None)):
    """Equal to rounding, with forces and stress as they should have become."""
    scale = float(jnp.abs(expected.forces).max())
    forces = expected.forces if forces is None else forces
    stress = expected.stress if stress is None else stress
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-11)
    np.testing.assert_allclose(found.energies, expected.energies[order], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.forces, forces[order], rtol=0, atol=1e-10 * scale)
    if expected.stress is not None:
        np.testing.assert_allclose(
            found.stress, stress, rtol=0, atol=1e-10 * float(jnp.abs(stress).max())
        )
    if expected.charges is not None:
        np.testing.assert_allclose(found.charges, expected.charges[order], rtol=0, atol=1e-11)


def test_forces_and_charges_of_the_test_systems_are_not_trivial(potential, system, contract):
    found = contract.predict(potential, system)
    assert 0.05 < jnp.abs(found.forces).max() < 100
    assert (jnp.linalg.norm(found.forces, axis=1) > 1e-3).all()
    if potential.charge_model is not None:
        assert jnp.std(found.charges) > 0.01


def test_translation_changes_nothing(potential, system, contract):
    shifted = moved(system, system.positions + jnp.array([[1.3, -2.7, 0.4]]))
    assert_same(contract.predict(potential, shifted), contract.predict(potential, system))


@pytest.mark.parametrize("matrix", [ROTATION, REFLECTION], ids=["rotation", "reflection"])
def test_forces_and_stress_turn_with_the_system(potential, system, matrix, contract):
    expected = contract.predict(potential, system)
    stress = None if expected.stress is None else matrix.T @ expected.stress @ matrix
    found = contract.predict(potential, turned(system, matrix))
    assert_same(found, expected, forces=expected.forces @ matrix, stress=stress)


def test_relabelling_atoms_relabels_forces_and_charges(potential, system, contract):
    order = np.roll(np.arange(system.n_atoms)[::-1], 1)
    relabelled = lrpot.System(
        system.positions[order],
        system.numbers[order],
        cell=system.cell,
        total_charge=system.total_charge,
    )
    expected = contract.predict(potential, system)
    assert_same(contract.predict(potential, relabelled), expected, order=order)


def test_wrapping_an_atom_into_another_cell_changes_nothing(potential, crystal, contract):
    images = jnp.array([[0, 0, 0], [1, -2, 0], [0, 0, 3], [-1, 0, 0]]) @ crystal.cell
    wrapped = moved(crystal, crystal.positions + images)
    assert_same(contract.predict(potential, wrapped), contract.predict(potential, crystal))


def test_another_choice_of_lattice_vectors_changes_nothing(potential, crystal, contract):
    cell = jnp.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 1]]) @ crystal.cell
    sheared = lrpot.System(
        crystal.positions, crystal.numbers, cell=cell, total_charge=crystal.total_charge
    )
    assert_same(contract.predict(potential, sheared), contract.predict(potential, crystal))


def test_forces_sum_to_zero(potential, system, contract):
    found = contract.predict(potential, system)
    scale = float(jnp.abs(found.forces).max())
    np.testing.assert_allclose(found.forces.sum(axis=0), 0, atol=1e-11 * scale)


def test_stress_is_symmetric_and_open_systems_have_none(potential, system, contract):
    found = contract.predict(potential, system)
    assert (found.stress is None) == (system.cell is None)
    if found.stress is not None:
        np.testing.assert_array_equal(found.stress, found.stress.T)


def test_charges_sum_to_the_total_charge(potential, system, contract):
    found = contract.predict(potential, system)
    assert (found.charges is None) == (potential.charge_model is None)
    if found.charges is not None:
        assert abs(float(found.charges.sum() - system.total_charge)) < 1e-10


def test_a_supercell_repeats_energies_forces_and_charges(potential, crystal, contract):
    expected = contract.predict(potential, crystal)
    doubled = lrpot.System(
        jnp.concatenate([crystal.positions, crystal.positions + crystal.cell[:1]]),
        jnp.tile(crystal.numbers, 2),
        cell=crystal.cell.at[0].multiply(2),
        total_charge=2 * crystal.total_charge,
    )
    found = contract.predict(potential, doubled, shape=contract.big_shapes[True])
    scale = float(jnp.abs(expected.forces).max())
    np.testing.assert_allclose(found.energy, 2 * expected.energy, rtol=1e-10)
    np.testing.assert_allclose(found.forces, jnp.tile(expected.forces, (2, 1)), atol=1e-9 * scale)
    np.testing.assert_allclose(found.stress, expected.stress, atol=1e-9 * scale)
    if found.charges is not None:
        np.testing.assert_allclose(found.charges, jnp.tile(expected.charges, 2), atol=1e-9)


def test_two_molecules_far_apart_interact_through_their_charges_only(potential, molecule, contract):
    """A local potential adds up exactly; two ions repel each other as points."""
    distance = 500.0
    expected = contract.predict(potential, molecule)
    two = lrpot.System(
        jnp.concatenate([molecule.positions, molecule.positions @ ROTATION + AXIS * distance]),
        jnp.tile(molecule.numbers, 2),
        total_charge=2 * molecule.total_charge,
    )
    found = contract.predict(potential, two, shape=contract.big_shapes[False])
    forces = jnp.concatenate([expected.forces, expected.forces @ ROTATION])
    if potential.charge_model is None:
        np.testing.assert_allclose(found.energy, 2 * expected.energy, rtol=1e-12)
        np.testing.assert_allclose(found.forces, forces, atol=1e-11)
    else:
        repulsion = KE * float(molecule.total_charge) ** 2 / distance
        np.testing.assert_allclose(found.energy - 2 * expected.energy, repulsion, rtol=0.05)
        np.testing.assert_allclose(found.forces, forces, atol=10 * KE / distance**2)
