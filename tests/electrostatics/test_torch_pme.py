"""Energies, forces and stress of charges in triclinic cells against torch-pme, another program."""

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

torch = pytest.importorskip("torch", reason="install lrpot[peers] for torch")
torchpme = pytest.importorskip("torchpme", reason="install lrpot[peers] for torch-pme")
vesin = pytest.importorskip("vesin")

CELLS = {
    "triclinic": np.array([[8.0, 0.0, 0.0], [2.1, 7.5, 0.0], [-1.7, 1.9, 9.2]]),
    "steep": np.array([[7.1, 0.4, -0.3], [3.4, 6.2, 0.5], [-2.8, 2.9, 6.9]]),
    "long": np.array([[5.2, 0.0, 0.0], [0.7, 5.6, 0.0], [4.1, -2.2, 15.3]]),
}
N_ATOMS = 20


def salt(cell, *, total_charge):
    """Random charges, none closer than 1.3 Å to another one or to an image."""
    rng = np.random.default_rng(0)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    fractional = [rng.random(3)]
    while len(fractional) < N_ATOMS:
        new = rng.random(3)
        gaps = (new - np.array(fractional))[:, None, :] + steps[None, :, :]
        if np.linalg.norm(gaps @ cell, axis=-1).min() > 1.3:
            fractional.append(new)
    charges = rng.normal(size=N_ATOMS)
    return np.array(fractional) @ cell, charges - charges.mean() + total_charge / N_ATOMS


def with_torch_pme(positions, charges, cell):
    """Plain Ewald summation with both parts far below 1e-12, differentiated by torch.

    Stress is the derivative by a strain of positions and cell, over the volume.
    """
    cutoff = 7.0
    smearing = cutoff / 8  # erfc(8/√2) is 1e-15; torch-pme rounds it to float32, where 7/8 is exact
    search = vesin.NeighborList(cutoff=cutoff, full_list=False)
    i, j, shifts = search.compute(positions, cell, True, quantities="ijS")
    index = torch.tensor(np.stack([i, j], axis=1).astype(np.int64))
    calculator = torchpme.EwaldCalculator(
        torchpme.CoulombPotential(smearing=smearing),
        # Half of the shortest wave length: torch-pme sums as many waves, to either side of zero.
        lr_wavelength=math.pi * smearing / 8.5,
    ).to(dtype=torch.float64)
    strain = torch.zeros((3, 3), dtype=torch.float64, requires_grad=True)
    start = torch.tensor(positions, requires_grad=True)
    deformation = torch.eye(3, dtype=torch.float64) + strain
    moved, box = start @ deformation, torch.tensor(cell) @ deformation
    vectors = moved[index[:, 1]] - moved[index[:, 0]] + torch.tensor(shifts.astype(float)) @ box
    charge = torch.tensor(charges)[:, None]
    distances = torch.linalg.norm(vectors, dim=1)
    energy = KE * (charge * calculator(charge, box, moved, index, distances)).sum()
    energy.backward()
    return energy.item(), -start.grad.numpy(), strain.grad.numpy() / np.linalg.det(cell)


@functools.partial(jax.jit, static_argnums=0)
def with_lrpot(coulomb, charges, system, neighbors):
    def energy(positions, strain):
        moved = lrpot.System(positions, system.numbers, cell=system.cell).strained(strain)
        environment = environment_from_shifts(moved, neighbors)
        return coulomb.operator(None, moved, environment).energy(charges)

    value, (slope, virial) = jax.value_and_grad(energy, (0, 1))(system.positions, jnp.zeros((3, 3)))
    return value, -slope, virial / jnp.linalg.det(system.cell)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("total_charge", [0.0, 1.5])
@pytest.mark.parametrize(
    ("method", "accuracy", "tolerance"),
    # A sum over waves of 1e-12 agrees to that; a mesh to what was asked of it.
    [("ewald", 1e-12, 1e-11), ("mesh", 1e-7, 1e-7)],
)
def test_energy_forces_and_stress_agree_with_torch_pme(
    method, accuracy, tolerance, total_charge, cell
):
    cell = CELLS[cell]
    positions, charges = salt(cell, total_charge=total_charge)
    expected = with_torch_pme(positions, charges, cell)
    system = lrpot.System(positions, [1] * N_ATOMS, cell=cell)
    coulomb = CoulombSum(6.0, accuracy, method=method)
    neighbors = neighbor_list(system, 6.0, reciprocal=coulomb.reciprocal(system))
    found = with_lrpot(coulomb, jnp.asarray(charges), system, neighbors)
    for value, exact in zip(found, expected, strict=True):
        scale = math.sqrt(np.mean(np.square(exact)))
        assert scale > 1e-2
        np.testing.assert_allclose(value, exact, rtol=0, atol=tolerance * scale)
