"""Predict energy, forces and charges of one molecule, and check the forces by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from small_potential import DATA, small_potential

import lrpot

jax.config.update("jax_enable_x64", True)  # double precision, for the comparison below

potential = small_potential()
structure = lrpot.read_structures(DATA / "carbon_test.xyz")[0]
system = structure.system  # C10H2: positions, atomic numbers, no cell, total charge 0

prediction = lrpot.predict(potential, system)
energy_error = float(prediction.energy - structure.energy) / system.n_atoms
force_error = np.sqrt(np.mean((np.asarray(prediction.forces) - structure.forces) ** 2))
charge_error = np.sqrt(np.mean((np.asarray(prediction.charges) - structure.charges) ** 2))
print(
    f"energy          {float(prediction.energy):.3f} eV, off by {1e3 * energy_error:.1f} meV/atom"
)
print(f"forces          off by {1e3 * force_error:.0f} meV/Å (RMSE)")
print(f"charges         off by {1e3 * charge_error:.1f} me (RMSE)")
print(f"largest charge  {float(jnp.abs(prediction.charges).max()):.3f} e")

# Charge and momentum are conserved.
np.testing.assert_allclose(prediction.charges.sum(), system.total_charge, atol=1e-10)
np.testing.assert_allclose(prediction.forces.sum(axis=0), 0.0, atol=1e-8)

# A force is minus the slope of the energy, the response of all charges included.
step = 1e-4 * jnp.zeros_like(system.positions).at[3, 0].set(1.0)
ahead, behind = (
    lrpot.predict(
        potential,
        lrpot.System(positions, system.numbers, total_charge=system.total_charge),
        forces=False,
    ).energy
    for positions in (system.positions + step, system.positions - step)
)
slope = float(ahead - behind) / 2e-4
print(f"force on atom 3 along x: {float(prediction.forces[3, 0]):.6f} eV/Å")
print(f"by differences:          {-slope:.6f} eV/Å")
np.testing.assert_allclose(prediction.forces[3, 0], -slope, rtol=1e-5)
