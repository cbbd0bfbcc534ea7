"""The ASE calculator: relax a carbon chain, look at its bonds, and let it move."""

import ase.io
import jax
import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from small_potential import DATA, small_potential

import lrpot

jax.config.update("jax_enable_x64", True)

# The total charge (+1) is in atoms.info["total_charge"], where the file has put it.
atoms = ase.io.read(DATA / "carbon_test.xyz", -1)
atoms.calc = lrpot.Calculator(small_potential())
before = atoms.get_potential_energy()
print(f"{atoms.get_chemical_formula()}, total charge {atoms.info['total_charge']:+d}")
np.testing.assert_allclose(atoms.get_charges().sum(), 1.0, atol=1e-10)

converged = BFGS(atoms, logfile=None).run(fmax=0.02, steps=300)
relaxed = atoms.get_potential_energy()
print(f"relaxation: {before:.3f} -> {relaxed:.3f} eV")
assert converged
assert relaxed < before

# Triple and single bonds alternate at the far end, as in a polyyne; the proton evens them out at
# its own end, as in a cumulene.
bonds = np.array([atoms.get_distance(i, i + 1) for i in range(9)])
print("C-C bonds from the protonated end (Å):", " ".join(f"{bond:.3f}" for bond in bonds))
alternation = np.abs(np.diff(bonds))
assert alternation[-1] > 2 * alternation[0]

normal = np.random.default_rng(0).normal(size=(len(atoms), 3))
atoms.set_momenta(normal * np.sqrt(units.kB * 300 * atoms.get_masses())[:, None])  # 300 K
Stationary(atoms)
start = atoms.get_total_energy()
totals = []
dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
dynamics.attach(lambda: totals.append(atoms.get_total_energy() - start), interval=10)
dynamics.run(200)
print(f"NVE in ASE: total energy within {1e6 * np.ptp(totals) / len(atoms):.0f} µeV/atom in 0.1 ps")
assert np.ptp(totals) / len(atoms) < 1e-3
