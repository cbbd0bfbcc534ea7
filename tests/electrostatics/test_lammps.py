"""Energies, forces and stress of random point charges against LAMMPS, another program."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.electrostatics import CoulombSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.units import KE

LAMMPS_KE = 14.399645
"""Coulomb constant of LAMMPS in metal units (`qqr2e`); its results are scaled to ours."""

LAMMPS_BAR = 1.6021765e6
"""One eV/Å³ in bar, as LAMMPS has it (`nktv2p`)."""

BOXES = {  # LAMMPS wants a along x and b in the xy plane
    "cubic": np.diag([9.0, 9.0, 9.0]),
    "triclinic": np.array([[8.0, 0.0, 0.0], [2.1, 7.5, 0.0], [-1.7, 1.9, 9.2]]),
    "open": None,
}
SLAB = np.diag([8.0, 7.5, 6.0])  # LAMMPS knows no slabs of other shapes


def results_of_lammps(lammps, positions, charges, cell, kspace="ewald 1e-11", *, slab=False):
    """Energy, forces and stress; the stress is `None` in open space."""
    commands = ["clear", "units metal", "atom_style charge", "atom_modify map array"]
    if cell is None:
        commands += ["boundary s s s", "region box block -30 30 -30 30 -30 30"]
        style = ["pair_style coul/cut 60.0", "pair_coeff * *"]
    else:
        box = f"0 {cell[0, 0]} 0 {cell[1, 1]} 0 {cell[2, 2]}"
        tilts = f"{cell[1, 0]} {cell[2, 0]} {cell[2, 1]}"
        commands += ["boundary p p f" if slab else "boundary p p p"]
        commands += [f"region box block {box}" if slab else f"region box prism {box} {tilts}"]
        # erfc comes from a table of 2^16 points, or from a polynomial good to 1.5e-7 only: the
        # agreement ends there, at 3e-7 of the forces, and not at the accuracy of the Ewald sum.
        style = ["pair_style coul/long 8.0", "pair_modify table 16", "pair_coeff * *"]
        style += [f"kspace_style {kspace}"]
        if slab:
            style += ["kspace_modify slab 8.0"]  # with vacuum of seven times its height
    commands += ["create_box 1 box", "mass 1 1.0"]
    lammps.commands_list(commands)
    n_atoms = len(charges)
    lammps.create_atoms(n_atoms, list(range(1, n_atoms + 1)), [1] * n_atoms, positions.ravel())
    for atom, charge in enumerate(charges, start=1):
        lammps.command(f"set atom {atom} charge {charge:.17g}")
    lammps.commands_list([*style, "neighbor 0.5 bin", "run 0 post no"])
    energy = lammps.get_thermo("pe")
    forces = np.array(lammps.gather_atoms("f", 1, 3)).reshape(-1, 3)
    stress = None
    if cell is not None:
        pressure = {
            name: lammps.get_thermo(f"p{name}") for name in ("xx", "yy", "zz", "xy", "xz", "yz")
        }
        stress = (
            -np.array([[pressure["".join(sorted(a + b))] for a in "xyz"] for b in "xyz"])
            / LAMMPS_BAR
            * KE
            / LAMMPS_KE
        )
    return energy * KE / LAMMPS_KE, forces * KE / LAMMPS_KE, stress


@functools.partial(jax.jit, static_argnums=0)
def results(coulomb, charges, system, neighbors):
    def energy(positions, strain):
        moved = dataclasses.replace(system, positions=positions).strained(strain)
        return coulomb.operator(None, moved, environment_from_shifts(moved, neighbors)).energy(
            charges
        )

    value, (slope, virial) = jax.value_and_grad(energy, argnums=(0, 1))(
        system.positions, jnp.zeros((3, 3))
    )
    volume = 1.0 if system.cell is None else jnp.linalg.det(system.cell)
    return value, -slope, (virial + virial.T) / (2 * volume)


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


def compare(coulomb, positions, charges, cell, expected, tolerance):
    system = lrpot.System(positions, [1] * len(charges), cell=cell)
    neighbors = neighbor_list(
        system, coulomb.cutoff, capacity=60, reciprocal=coulomb.reciprocal(system)
    )
    energy, forces, stress = results(coulomb, jnp.asarray(charges), system, neighbors)
    expected_energy, expected_forces, expected_stress = expected
    scale = math.sqrt(np.mean(expected_forces**2))
    assert scale > 0.5
    assert float(energy) == pytest.approx(expected_energy, rel=tolerance)
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=tolerance * scale)
    if expected_stress is not None:
        largest = np.abs(expected_stress).max()
        np.testing.assert_allclose(stress, expected_stress, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("seed", [0, 1])
def test_sums_agree_with_the_ewald_sum_of_lammps(lammps, box, seed):
    cell = BOXES[box]
    positions, charges = random_charges(seed, cell)
    expected = results_of_lammps(lammps, positions, charges, cell)
    for method in ("ewald", "mesh"):
        coulomb = CoulombSum(6.0, 1e-8, method=method)
        compare(coulomb, positions, charges, cell, expected, 1e-12 if cell is None else 2e-6)


@pytest.mark.parametrize("box", ["cubic", "triclinic"])
def test_the_mesh_agrees_with_that_of_lammps(lammps, box):
    cell = BOXES[box]
    positions, charges = random_charges(2, cell)
    expected = results_of_lammps(lammps, positions, charges, cell, kspace="pppm 1e-7")
    # Its accuracy is relative to the force between two unit charges at a distance of 1 Å.
    compare(CoulombSum(6.0, 1e-7, method="mesh"), positions, charges, cell, expected, 1e-5)


@pytest.mark.parametrize("method", ["ewald", "mesh"])
def test_a_neutral_slab_agrees_with_lammps(lammps, method):
    """Energy and forces; LAMMPS leaves its slab correction out of its virial."""
    rng = np.random.default_rng(5)
    fractional = [rng.uniform(0.1, 0.9, 3)]
    while len(fractional) < 20:
        new = rng.uniform(0.1, 0.9, 3)
        gaps = new - np.array(fractional)
        gaps[:, :2] -= np.round(gaps[:, :2])
        if np.linalg.norm(gaps @ SLAB, axis=1).min() > 1.3:
            fractional.append(new)
    positions = np.array(fractional) @ SLAB
    charges = rng.normal(size=20)
    charges -= charges.mean()
    assert abs(charges @ positions[:, 2]) > 1  # with a dipole across it
    expected, expected_forces, _ = results_of_lammps(lammps, positions, charges, SLAB, slab=True)
    system = lrpot.System(positions, [1] * 20, cell=SLAB, pbc=(True, True, False))
    coulomb = CoulombSum(6.0, 1e-8, method=method)
    neighbors = neighbor_list(system, 6.0, capacity=60, reciprocal=coulomb.reciprocal(system))
    energy, forces, _ = results(coulomb, jnp.asarray(charges), system, neighbors)
    scale = math.sqrt(np.mean(expected_forces**2))
    assert float(energy) == pytest.approx(expected, rel=2e-6)
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=2e-6 * scale)
