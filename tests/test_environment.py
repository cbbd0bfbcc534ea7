import jax
import jax.numpy as jnp
import jax_md
import numpy as np
import pytest

from lrpot import Neighbors, System, neighbor_list
from lrpot.environment import (
    FAR,
    environment_from_displacement,
    environment_from_shifts,
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


def displacement_route(boundary):
    """A system, its displacement function and the coordinates that function takes."""
    system = make_system({"free": None, "periodic": 9.0 * np.eye(3)}.get(boundary, LARGE))
    coordinates, extra = system.positions, {}
    if boundary == "free":
        displacement, _ = jax_md.space.free()
    elif boundary == "periodic":
        displacement, _ = jax_md.space.periodic(9.0)
    else:
        fractional = boundary == "periodic_general, fractional"
        displacement, _ = jax_md.space.periodic_general(LARGE.T, fractional_coordinates=fractional)
        if fractional:
            coordinates = system.positions @ np.linalg.inv(LARGE)
            extra = {"box": jnp.asarray(LARGE.T)}
    return system, displacement, coordinates, extra


@pytest.mark.parametrize(
    "boundary",
    ["free", "periodic", "periodic_general, fractional", "periodic_general, real"],
)
def test_displacements_of_jax_md_give_the_same_environment(boundary):
    system, displacement, coordinates, extra = displacement_route(boundary)
    neighbors = neighbor_list(system, 4.3, capacity=5)  # less than half of any cell here
    expected = environment_from_shifts(system, neighbors)
    assert (neighbors.index < 6).sum() > 4
    if neighbors.shifts is not None:
        assert jnp.abs(neighbors.shifts).sum() > 0  # some pairs reach over the boundary
    found = jax.jit(
        lambda coordinates: environment_from_displacement(
            displacement, coordinates, system.numbers, neighbors.index, **extra
        )
    )(coordinates)
    assert_same(found, expected)


def test_derivatives_through_a_displacement_are_finite_with_empty_slots():
    system, displacement, coordinates, extra = displacement_route("periodic_general, fractional")
    index = neighbor_list(system, CUTOFF, capacity=5).index

    def total(coordinates):
        environment = environment_from_displacement(
            displacement, coordinates, system.numbers, index, **extra
        )
        return jnp.sum(jnp.where(environment.distances < CUTOFF, environment.distances, 0.0))

    gradient = jax.grad(total)(coordinates)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[5], 0.0)  # the padding atom
