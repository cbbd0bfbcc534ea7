import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrpot import Neighbors, System, neighbor_list
from lrpot.environment import (
    FAR,
    environment_from_shifts,
    environment_of_nearest,
    of_neighbors,
)

SMALL = np.array([[3.1, 0.0, 0.0], [0.9, 2.8, 0.0], [-0.7, 1.1, 3.4]])
LARGE = np.array([[9.0, 0.0, 0.0], [1.5, 9.5, 0.0], [-1.0, 0.8, 10.0]])
CUTOFF = 3.6


def make_system(cell, scale=1.0):
    rng = np.random.default_rng(7)
    basis = 5.0 * np.eye(3) if cell is None else cell
    return System(rng.uniform(size=(6, 3)) @ basis * scale, [1, 8, 6, 1, 8, 0], cell=cell)


def test_vectors_point_from_the_centre_to_the_image_of_the_neighbor():
    system = make_system(SMALL)
    neighbors = neighbor_list(system, CUTOFF, capacity=40)
    environment = environment_from_shifts(system, neighbors)
    positions, cell = np.asarray(system.positions), np.asarray(system.cell)
    empty = 0
    for i, row in enumerate(np.asarray(neighbors.index)):
        for slot, j in enumerate(row):
            found = environment.vectors[i, slot]
            if j == 6:
                empty += 1
                np.testing.assert_array_equal(found, [FAR, 0, 0])
                assert environment.neighbors[i, slot] == 0
            else:
                expected = positions[j] + neighbors.shifts[i, slot] @ cell - positions[i]
                np.testing.assert_allclose(found, expected, atol=1e-14)
                assert environment.neighbors[i, slot] == system.numbers[j]
                assert environment.distances[i, slot] < CUTOFF
    assert empty >= 40
    np.testing.assert_array_equal(environment.centers, system.numbers)
    np.testing.assert_array_equal(environment.index, neighbors.index)


def test_values_of_neighbors_are_zero_in_empty_slots():
    index = jnp.array([[1, 2], [0, 2]])
    np.testing.assert_array_equal(of_neighbors(jnp.array([3.0, 4.0]), index), [[4, 0], [3, 0]])
    np.testing.assert_array_equal(of_neighbors(jnp.array([8, 1]), index), [[1, 0], [8, 0]])


def test_empty_slots_have_a_length_beyond_cutoffs_and_no_gradient():
    def lengths(positions):
        system = System(positions, jnp.array([1, 1]))
        neighbors = Neighbors(jnp.array([[1, 2], [0, 2]]), None, None, jnp.array(False))
        return environment_from_shifts(system, neighbors).distances[:, 1]

    positions = jnp.array([[0.0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(lengths(positions), FAR)
    np.testing.assert_array_equal(jax.jacobian(lengths)(positions), 0.0)


def assert_same(found, expected):
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-12)
    for name in ("index", "centers", "neighbors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_nearest_images_of_atoms_anywhere_are_those_of_the_list(pbc):
    inside = make_system(LARGE)
    system = System(inside.positions, inside.numbers, cell=LARGE, pbc=pbc)
    neighbors = neighbor_list(system, 4.3, capacity=5)  # less than half of the cell
    assert jnp.abs(neighbors.shifts).sum() > 0  # some pairs reach over the boundary
    away = np.array([[2, 0, 0], [0, -3, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0], [-1, 4, 0]])
    moved = dataclasses.replace(system, positions=system.positions + away @ LARGE)
    found = jax.jit(lambda one: environment_of_nearest(one, neighbors.index))(moved)
    assert_same(found, environment_from_shifts(system, neighbors))


def test_derivatives_to_nearest_images_are_finite_with_empty_slots():
    system = make_system(LARGE)
    index = neighbor_list(system, CUTOFF, capacity=5).index

    def total(positions):
        moved = dataclasses.replace(system, positions=positions)
        environment = environment_of_nearest(moved, index)
        return jnp.sum(jnp.where(environment.distances < CUTOFF, environment.distances, 0.0))

    gradient = jax.grad(total)(system.positions)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[5], 0.0)  # the padding atom
