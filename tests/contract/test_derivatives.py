"""Forces, stress and higher derivatives against finite differences, and smoothness at cutoffs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import lrpot

STEP = 2e-4
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
"""Central difference of fourth order."""


def derivative(function):
    """d function(x)/dx at x = 0."""
    return sum(weight * np.asarray(function(at * STEP)) for at, weight in STENCIL) / STEP


def moved(system, displacements):
    positions = system.positions + jnp.asarray(displacements)
    return eqx.tree_at(lambda s: s.positions, system, positions)


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_forces_are_the_negative_gradient_of_the_energy(potential, system, contract):
    neighbors = contract.neighbors(potential, system)
    found = contract.evaluate(potential, system, neighbors).forces
    expected = np.zeros(found.shape)
    for atom, axis in np.ndindex(*found.shape):
        unit = np.zeros(found.shape)
        unit[atom, axis] = 1
        expected[atom, axis] = -derivative(
            lambda x, unit=unit: (
                contract.evaluate(potential, moved(system, x * unit), neighbors).energy
            )
        )
    assert relative_error(found, expected) < 1e-8


def test_stress_is_the_derivative_of_the_energy_by_the_strain(potential, crystal, contract):
    neighbors = contract.neighbors(potential, crystal)
    found = contract.evaluate(potential, crystal, neighbors).stress
    expected = np.zeros((3, 3))
    for row, column in np.ndindex(3, 3):
        unit = np.zeros((3, 3))
        unit[row, column] = 1
        expected[row, column] = derivative(
            lambda x, unit=unit: (
                contract.evaluate(
                    potential, crystal.strained(jnp.asarray(x * unit)), neighbors
                ).energy
            )
        )
    expected /= np.linalg.det(crystal.cell)
    # The energy does not change under a rotation of the cell, so this is symmetric by itself.
    assert relative_error(expected.T, expected) < 1e-8
    assert relative_error(found, expected) < 1e-8


def test_hessian_is_symmetric_and_the_derivative_of_the_forces(model, boundary, contract):
    neighbors = contract.neighbors(model, boundary)

    @jax.jit
    def hessian(positions):
        def energy(positions):
            system = eqx.tree_at(lambda s: s.positions, boundary, positions)
            return lrpot.evaluate(model, system, neighbors, forces=False, stress=False).energy

        return jax.hessian(energy)(positions)

    size = boundary.positions.size
    found = hessian(boundary.positions).reshape(size, size)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-10 * np.abs(found).max())
    for unit in np.random.default_rng(3).normal(size=(3, size)):
        change = derivative(
            lambda x, unit=unit: (
                contract.evaluate(model, moved(boundary, x * unit.reshape(-1, 3)), neighbors).forces
            )
        )
        assert relative_error(-found @ unit, change.reshape(-1)) < 1e-7


def test_energy_and_forces_are_smooth_when_an_atom_crosses_the_cutoff(
    potential, boundary, contract
):
    """On both sides of the cutoff with lists of exactly its range, so that a slot fills."""
    if boundary.cell is None:
        away = boundary.positions[4] - boundary.positions[0]
    else:
        away = boundary.positions[1] + boundary.cell[0] - boundary.positions[0]
    direction = away / jnp.linalg.norm(away)
    mover = 4 if boundary.cell is None else 1

    def at(distance):
        change = (distance - jnp.linalg.norm(away)) * direction
        system = moved(boundary, jnp.zeros_like(boundary.positions).at[mover].set(change))
        neighbors = contract.neighbors(potential, system, skin=0.0)
        slots = int((neighbors.index < system.n_atoms).sum())
        return contract.evaluate(potential, system, neighbors), slots

    step = 1e-8
    (inside, many), (outside, few) = at(potential.cutoff - step), at(potential.cutoff + step)
    assert few < many
    scale = float(jnp.abs(inside.forces).max())
    work = -2 * step * inside.forces[mover] @ direction
    np.testing.assert_allclose(outside.energy - inside.energy, work, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(outside.forces, inside.forces, rtol=0, atol=1e-6 * scale)


def test_a_list_with_a_skin_gives_the_same_energy_and_forces(potential, system, contract):
    exact = contract.predict(potential, system, skin=0.0)
    with_skin = contract.predict(potential, system, skin=0.15)
    scale = float(jnp.abs(exact.forces).max())
    np.testing.assert_allclose(with_skin.energy, exact.energy, rtol=1e-13)
    np.testing.assert_allclose(with_skin.forces, exact.forces, atol=1e-13 * scale)
