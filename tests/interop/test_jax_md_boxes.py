"""jax-md: every form of a box, both kinds of coordinates, atoms anywhere: values of `predict`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import quantity, space
from scipy.spatial.transform import Rotation

import lrpot
from lrpot.errors import InputError
from lrpot.interop.jax_md import charges_for_jax_md, to_jax_md
from lrpot.interop.jax_md_memory import forces_for_jax_md

NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.05, 0.1, -0.1], [0.9, 0.35, 0.1], [-0.3, 0.9, -0.3]])
TURN = Rotation.from_euler("xyz", [0.4, -0.8, 1.1]).as_matrix()
SKEW = np.array([[7.6, 1.9, -1.4], [0.0, 7.2, 2.3], [0.0, 0.0, 7.3]])  # columns, jax-md's way
BOXES = {
    "one number": 7.0,
    "one element": np.array([7.0]),
    "one element of a matrix": np.array([[7.0]]),
    "whole numbers": np.array([7, 8, 7]),
    "three numbers": np.array([6.8, 7.0, 7.2]),
    "diagonal": np.diag([6.8, 7.0, 7.2]),
    "upper triangular": SKEW,
    "turned": TURN @ SKEW,
    "small": 0.55 * SKEW,
    "small and turned": TURN @ (0.55 * SKEW),
}


def columns(box):
    box = np.asarray(box, dtype=float)
    return box if box.shape == (3, 3) else np.diag(np.broadcast_to(box.reshape(-1), 3))


def system_in(matrix, positions=POSITIONS, **more):
    return lrpot.System(positions, NUMBERS, cell=matrix.T, **more)


def make(potential, box, *, fractional=False, **settings):
    matrix = jnp.asarray(columns(box))
    displacement, _ = space.periodic_general(matrix, fractional_coordinates=fractional)
    return to_jax_md(
        potential, displacement, box, NUMBERS, fractional_coordinates=fractional, **settings
    )


@pytest.mark.parametrize("name", BOXES)
def test_coordinates_in_angstrom_and_fractions_give_what_predict_gives(local, name):
    """Three atoms: a box of 3×3 numbers must not be taken for three coordinates of each."""
    box = BOXES[name]
    matrix = columns(box)
    expected = lrpot.predict(local, system_in(matrix))
    away = POSITIONS + np.array([[1, 0, -2], [0, 0, 0], [0, 3, 0]]) @ matrix.T
    for fractional in (False, True):
        neighbor_fn, energy_fn = make(local, box, fractional=fractional)
        energy = jax.jit(jax.value_and_grad(energy_fn))
        kind = np.linalg.inv(matrix).T if fractional else np.eye(3)
        neighbors = neighbor_fn.allocate(POSITIONS @ kind)
        assert not neighbors.did_buffer_overflow
        for there in (POSITIONS, away):
            found, slope = energy(jnp.asarray(there @ kind), neighbors)
            np.testing.assert_allclose(found, expected.energy, rtol=1e-10)
            np.testing.assert_allclose(-slope, expected.forces, rtol=0, atol=1e-10)
            neighbors = neighbor_fn.allocate(away @ kind)
    assert np.abs(expected.forces).max() > 0.1


@pytest.mark.parametrize("name", ["turned", "small and turned"])
def test_another_box_and_a_strain_reach_coordinates_in_angstrom(local, name):
    """Both traced. Positions in Å stay where they are in another box, and follow a strain."""
    matrix = columns(BOXES[name])
    neighbor_fn, energy_fn = make(local, BOXES[name], dr_threshold=0.0, box_change=0.03)
    other = 1.02 * matrix
    strain = np.eye(3) + np.array([[0.01, 0.02, 0.0], [0.0, -0.01, 0.01], [0.0, 0.0, 0.015]])

    @jax.jit
    def energy(R, neighbors, box, strain):
        neighbors = neighbors.update(R, box=box, perturbation=strain)
        found = energy_fn(R, neighbor=neighbors, box=box, perturbation=strain)
        return found, neighbors.did_buffer_overflow

    neighbors = neighbor_fn.allocate(POSITIONS, extra_capacity=6)
    for box, deformation in ((other, np.eye(3)), (matrix, strain), (other, strain)):
        found, overflow = energy(jnp.asarray(POSITIONS), neighbors, box, deformation)
        system = system_in(deformation @ box, POSITIONS @ deformation.T)
        expected = lrpot.predict(local, system, forces=False, stress=False)
        assert not overflow
        np.testing.assert_allclose(found, expected.energy, rtol=1e-10)


def test_stress_charges_and_remembering_forces_take_coordinates_in_angstrom(charged):
    matrix = columns(BOXES["turned"])
    expected = lrpot.predict(charged, system_in(matrix, total_charge=1.0))
    displacement, _ = space.periodic_general(matrix, fractional_coordinates=False)
    where = charged, displacement, matrix, NUMBERS
    settings = dict(total_charge=1.0, fractional_coordinates=False)
    neighbor_fn, energy_fn = to_jax_md(*where, **settings)
    neighbors = neighbor_fn.allocate(POSITIONS)

    force_fn = forces_for_jax_md(*where, **settings)
    charges_fn = charges_for_jax_md(*where, **settings)

    @jax.jit
    def everything(R, neighbors):
        forces, charges = force_fn(R, neighbor=neighbors)
        stress = quantity.stress(energy_fn, R, jnp.asarray(matrix), neighbor=neighbors)
        again = charges_fn(R, neighbor=neighbors)
        return forces, charges.charges, again.charges, stress

    forces, *charges, stress = everything(jnp.asarray(POSITIONS), neighbors)
    np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(stress, -expected.stress, rtol=0, atol=1e-9)
    for found in charges:
        np.testing.assert_allclose(found, expected.charges, rtol=0, atol=1e-10)


def test_a_slab_takes_coordinates_in_angstrom(local):
    matrix, pbc = columns(BOXES["turned"]), (True, True, False)
    expected = lrpot.predict(local, system_in(matrix, pbc=pbc))
    neighbor_fn, energy_fn = make(local, matrix, pbc=pbc)
    R = jnp.asarray(POSITIONS + np.array([[0, 0, 0], [2, -1, 0], [0, 0, 0]]) @ matrix.T)
    found, slope = jax.jit(jax.value_and_grad(energy_fn))(R, neighbor_fn.allocate(R))
    np.testing.assert_allclose(found, expected.energy, rtol=1e-10)
    np.testing.assert_allclose(-slope, expected.forces, rtol=0, atol=1e-10)


def test_a_box_with_too_small_cells_for_its_list_sets_the_flag_of_overflow(local):
    with jax.numpy_rank_promotion("allow"):  # in the cells of jax-md
        neighbor_fn, _ = make(local, 10.8)
        R, update = jnp.asarray(POSITIONS), jax.jit(lambda R, n, box: n.update(R, box=box))
        neighbors = neighbor_fn.allocate(R)
        assert neighbors.cell_list_fn is not None
        assert not update(R, neighbors, 10.7).did_buffer_overflow
        assert update(R, neighbors, 10.3).did_buffer_overflow


def test_a_box_that_has_become_too_small_gives_no_energy(local):
    """The nearest images are no longer all neighbours: NaN, or an error where the box is known."""
    neighbor_fn, energy_fn = make(local, 7.0)
    R, small = jnp.asarray(POSITIONS), 5.0 * jnp.eye(3)
    neighbors = neighbor_fn.allocate(R)
    assert np.isnan(jax.jit(energy_fn)(R, neighbors, box=small))
    with pytest.raises(InputError, match=r"several images within 3\.\d+ Å.*`box_change`"):
        energy_fn(R, neighbors, box=small)


@pytest.mark.parametrize("name", ["upper triangular", "small"])
def test_a_list_that_overflows_says_so_and_is_allocated_anew(local, name):
    """As in the loop of the README: a block of steps, a look, and once more from its beginning."""
    matrix = columns(BOXES[name])
    grid = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3, indexing="ij"), -1).reshape(-1, 3)
    spread = np.concatenate([grid, grid[:4] + 0.25]) @ matrix.T
    together = spread * np.where(np.arange(12) < 8, 0.45, 1.0)[:, None]
    numbers = np.array([8, 1] * 6)
    displacement, _ = space.periodic_general(matrix, fractional_coordinates=False)
    neighbor_fn, energy_fn = to_jax_md(
        local, displacement, matrix, numbers, fractional_coordinates=False, capacity_multiplier=1.0
    )
    update = jax.jit(lambda neighbors, R: neighbors.update(R))
    neighbors = neighbor_fn.allocate(spread)
    full = update(neighbors, together)
    assert full.did_buffer_overflow
    neighbors = neighbor_fn.allocate(together)
    assert not neighbors.did_buffer_overflow
    found = jax.jit(energy_fn)(together, update(neighbors, together))
    system = lrpot.System(together, numbers, cell=matrix.T)
    expected = lrpot.predict(local, system, forces=False, stress=False)
    np.testing.assert_allclose(found, expected.energy, rtol=1e-10)
