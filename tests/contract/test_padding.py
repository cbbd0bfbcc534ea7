"""Padding atoms, empty slots and empty waves have no effect on anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.potential import trainable


@pytest.fixture
def scattered(boundary, contract):
    """A function from a list to a system and a list half of which is padding, in any order.

    Padding atoms lie between the others and, one of them, on top of another; empty slots lie
    anywhere in their rows and waves anywhere in the list.
    """
    shape = contract.big_shapes[boundary.cell is not None]
    rng = np.random.default_rng(5)
    rows = np.sort(rng.permutation(shape.atoms)[: boundary.n_atoms])
    positions = rng.normal(size=(shape.atoms, 3))
    positions[rows] = boundary.positions
    padding = np.setdiff1d(np.arange(shape.atoms), rows)
    positions[padding[0]] = boundary.positions[1]
    positions[padding[1:3]] = 0
    numbers = np.zeros(shape.atoms, dtype=int)
    numbers[rows] = boundary.numbers
    system = lrpot.System(
        positions, numbers, cell=boundary.cell, total_charge=boundary.total_charge
    )

    def pad(neighbors):
        old_rows, old_slots = neighbors.index.shape
        names = np.append(rows, shape.atoms)  # old index -> new index
        index = np.full((shape.atoms, shape.slots), shape.atoms)
        shifts = np.zeros((shape.atoms, shape.slots, 3), dtype=int)
        for row in range(old_rows):
            slots = rng.permutation(shape.slots)[:old_slots]
            index[rows[row], slots] = names[np.asarray(neighbors.index[row])]
            if neighbors.shifts is not None:
                shifts[rows[row], slots] = neighbors.shifts[row]
        reciprocal = neighbors.reciprocal
        if reciprocal is not None:
            waves = np.zeros((shape.waves, 3), dtype=int)
            waves[rng.permutation(shape.waves)[: neighbors.n_waves]] = reciprocal.waves
            reciprocal = lrpot.Reciprocal(jnp.asarray(waves))
        return lrpot.Neighbors(
            jnp.asarray(index),
            None if neighbors.shifts is None else jnp.asarray(shifts),
            reciprocal,
            neighbors.overflow,
        )

    return system, rows, padding, pad


def test_padding_changes_nothing(potential, boundary, scattered, contract):
    padded, rows, _, pad = scattered
    neighbors = contract.neighbors(potential, boundary)
    expected = contract.evaluate(potential, boundary, neighbors)
    found = contract.evaluate(potential, padded, pad(neighbors))
    scale = float(jnp.abs(expected.forces).max())
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)
    np.testing.assert_allclose(found.energies[rows], expected.energies, atol=1e-11 * scale)
    np.testing.assert_allclose(found.forces[rows], expected.forces, atol=1e-11 * scale)
    assert bool(found.converged)
    if expected.stress is not None:
        np.testing.assert_allclose(found.stress, expected.stress, atol=1e-11 * scale)
    if expected.charges is not None:
        np.testing.assert_allclose(found.charges[rows], expected.charges, atol=1e-12)
        np.testing.assert_allclose(found.dipole, expected.dipole, atol=1e-11)


def test_padding_atoms_feel_no_force_and_carry_nothing(potential, boundary, scattered, contract):
    padded, _, padding, pad = scattered
    found = contract.evaluate(potential, padded, pad(contract.neighbors(potential, boundary)))
    assert len(padding) > 2
    np.testing.assert_array_equal(found.forces[padding], 0.0)
    np.testing.assert_array_equal(found.energies[padding], 0.0)
    if found.charges is not None:
        np.testing.assert_array_equal(found.charges[padding], 0.0)


def test_parameter_gradients_with_padding_are_differences_without(
    model, boundary, scattered, contract
):
    """Of a loss on forces, which takes second derivatives."""
    padded, _, _, pad = scattered
    neighbors = contract.neighbors(model, boundary)
    gradient = jax.tree.leaves(contract.loss_gradient(model, padded, pad(neighbors)))
    leaves, structure = jax.tree.flatten(model)
    learnt = jax.tree.leaves(trainable(model))
    assert all(np.isfinite(leaf).all() for leaf in gradient)
    rng = np.random.default_rng(4)
    for _ in range(3):
        unit = [
            rng.normal(size=leaf.shape) * move for leaf, move in zip(leaves, learnt, strict=True)
        ]

        def loss(x, unit=unit):
            at = [leaf + x * one for leaf, one in zip(leaves, unit, strict=True)]
            found = contract.evaluate(jax.tree.unflatten(structure, at), boundary, neighbors)
            return contract.loss(found)

        found = sum(np.sum(leaf * one) for leaf, one in zip(gradient, unit, strict=True))
        step = 2e-4
        expected = (8 * (loss(step) - loss(-step)) - loss(2 * step) + loss(-2 * step)) / (12 * step)
        assert abs(found / expected - 1) < 1e-7
