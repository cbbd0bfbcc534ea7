"""A box that breathes: the invariant, the pressure it feels, and the pressure it ends with."""

import jax
import numpy as np
import pytest

import lrpot
from lrpot import md
from lrpot.units import BAR

evaluate = jax.jit(lrpot.evaluate, static_argnames=("forces", "stress"))
BREATHING = {"ensemble": "npt", "temperature": 500.0, "damping": 50.0}


def energy(potential, trajectory, frame, scale=1.0):
    """Of a recorded frame, scaled with its cell, by `lrpot.evaluate`."""
    system = lrpot.System(
        scale * trajectory.positions[frame],
        trajectory.system.numbers,
        cell=scale * trajectory.cells[frame],
        total_charge=trajectory.system.total_charge,
    )
    neighbors = potential.neighbors(system, capacity=60)
    assert not neighbors.overflow
    return float(evaluate(potential, system, neighbors, forces=False, stress=False).energy)


@pytest.fixture(scope="module")
def breathing(charged, crystal, simulate):
    """Ions in a triclinic cell that would like to shrink."""
    return simulate(charged, crystal, pressure=0.0, steps=100, **BREATHING)


def test_the_invariant_is_conserved(breathing):
    """The work done on the box and the heat of the baths are counted in."""
    log = breathing.log
    assert tuple(log) == (*md.dynamics.BREATHING_LOG, *md.DIPOLE)
    total = log["potential_energy_eV"] + log["kinetic_energy_eV"]
    assert np.ptp(log["volume_A3"]) > 0.5
    assert np.ptp(log["conserved_eV"]) < 0.01 * np.ptp(total)


def test_the_pressure_is_the_slope_of_the_energy_in_every_frame(charged, breathing):
    """The virial of equilibrated charges is that of the energy, whatever the box has become."""
    step = 1e-4
    for frame in (0, 7, 20):
        volume = breathing.log["volume_A3"][frame]
        np.testing.assert_allclose(volume, np.linalg.det(breathing.cells[frame]))
        slope = energy(charged, breathing, frame, 1 + step)
        slope -= energy(charged, breathing, frame, 1 - step)
        # 2K and the share of the centre of mass, which rests: three of nine degrees of freedom.
        kinetic = (1 + 3 / 9) * 2 * breathing.log["kinetic_energy_eV"][frame]
        expected = (kinetic - slope / (2 * step)) / (3 * volume) / BAR
        np.testing.assert_allclose(breathing.log["pressure_bar"][frame], expected, rtol=1e-5)


def test_the_cell_keeps_its_shape_and_the_atoms_their_momentum(breathing):
    cells = breathing.cells / np.cbrt(breathing.log["volume_A3"])[:, None, None]
    np.testing.assert_allclose(cells, np.broadcast_to(cells[0], cells.shape), atol=1e-12)
    masses = np.array([15.999, 1.008, 15.999, 1.008])
    momentum = np.einsum("i,fix->fx", masses, breathing.velocities)
    np.testing.assert_allclose(momentum, 0, atol=1e-10)


@pytest.mark.slow
def test_a_box_under_load_shrinks_and_its_atoms_find_their_new_neighbours(local, crystal, simulate):
    """More than one size of the box ahead is prepared for, and no list is out of date."""
    shifts = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    cell = np.asarray(crystal.cell)
    positions = (shifts[:, None, :] @ cell + np.asarray(crystal.positions)[None]).reshape(-1, 3)
    system = lrpot.System(positions, np.tile(crystal.numbers, 8), cell=2 * cell)
    settings = {**BREATHING, "pressure": 1e5, "pressure_damping": 200.0}
    trajectory = simulate(local, system, steps=40, **settings)
    edges = np.cbrt(trajectory.log["volume_A3"])
    assert edges[-1] < (1 - md.simulation.BREATH) * edges[0]
    for frame in range(len(edges)):
        expected = energy(local, trajectory, frame)
        found = trajectory.log["potential_energy_eV"][frame]
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_box_that_comes_to_need_more_images_of_its_atoms_gets_them(local, crystal, simulate):
    """Its list is made in the larger box, where fewer would do, and cannot last."""
    cell, reach = np.asarray(crystal.cell), local.cutoff + md.simulation.SKIN
    height = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max()
    scale = 1.0005 * reach / np.ceil(reach / height) / height
    system = lrpot.System(scale * np.asarray(crystal.positions), crystal.numbers, cell=scale * cell)
    settings = {**BREATHING, "pressure": 1e5, "pressure_damping": 200.0}
    trajectory = simulate(local, system, steps=60, record_every=20, **settings)
    assert np.cbrt(trajectory.log["volume_A3"][-1]) < 0.999 * np.cbrt(np.linalg.det(scale * cell))
    for frame, found in enumerate(trajectory.log["potential_energy_eV"]):
        np.testing.assert_allclose(found, energy(local, trajectory, frame), rtol=1e-10)


def test_constant_pressure_needs_a_crystal_and_a_temperature(local, ion, crystal, simulate):
    with pytest.raises(lrpot.InputError, match="Constant pressure needs a crystal"):
        simulate(local, ion, ensemble="npt")
    with pytest.raises(lrpot.InputError, match="needs a temperature above 0 K"):
        simulate(local, crystal, ensemble="npt", temperature=0.0)
