"""The nearest minimum of the energy, with or without the cell."""

import dataclasses

import ase
import jax.numpy as jnp
import numpy as np
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGSLineSearch

from lrpot.errors import InputError
from lrpot.interop.ase import Calculator
from lrpot.potential import Potential
from lrpot.system import System


def minimise(
    potential: Potential,
    system: System,
    *,
    tolerance: float = 0.01,
    cell: bool = False,
    pressure: float = 0.0,
    max_steps: int = 1000,
) -> System:
    """Relax a system with ASE's LBFGS, downhill by line searches.

    Args:
        potential: The potential.
        system: Where to start; its total charge stays what it is.
        tolerance: Largest force on an atom, in eV/Å; with a cell also the largest derivative of
            the enthalpy with respect to its logarithmic strain, divided by the number of atoms.
        cell: Whether to relax the cell, too.
        pressure: On the cell, in eV/Å³ (`lrpot.units.BAR` of them are one bar).
        max_steps: Steps before giving up.

    Raises:
        InputError: If there is no cell to relax, or no minimum is found in time.
    """
    if system.external is not None or system.fragments is not None:
        raise InputError(
            "Fields, applied potentials and fragments are known to `lrpot.predict`, but not to "
            "minimisation yet: leave them out."
        )
    if cell and not all(system.pbc):
        raise InputError(f"There is no cell to relax with pbc={system.pbc}: it takes a crystal.")
    atoms = ase.Atoms(
        np.asarray(system.numbers),
        np.asarray(system.positions),
        cell=None if system.cell is None else np.asarray(system.cell),
        pbc=system.pbc,
    )
    charge = None if potential.charge_model is None else float(system.total_charge)
    atoms.calc = Calculator(potential, total_charge=charge)
    moved = FrechetCellFilter(atoms, scalar_pressure=pressure) if cell else atoms
    with LBFGSLineSearch(moved, logfile=None) as optimiser:
        converged = optimiser.run(fmax=tolerance, steps=max_steps)
    if not converged:
        worst = np.linalg.norm(atoms.get_forces(), axis=1).max()
        raise InputError(
            f"No minimum after {max_steps} steps: the largest force is still {worst:.3g} eV/Å, the "
            f"tolerance {tolerance:g}. Allow more `max_steps` or a larger `tolerance`, or look for "
            "a potential that is not smooth there."
        )
    dtype = system.positions.dtype
    return dataclasses.replace(
        system,
        positions=jnp.asarray(atoms.positions, dtype),
        cell=None if system.cell is None else jnp.asarray(np.asarray(atoms.cell.array), dtype),
    )
