"""The nearest minimum of the energy, with or without the cell."""

import dataclasses

import ase
import jax.numpy as jnp
import numpy as np
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGSLineSearch

from lrpot.errors import InputError
from lrpot.interop.ase import Calculator
from lrpot.md.constraints import constrain, fixed_components
from lrpot.potential import Potential
from lrpot.system import System, refuse_conditions


def minimise(
    potential: Potential,
    system: System,
    *,
    tolerance: float = 0.01,
    cell: bool = False,
    pressure: float = 0.0,
    max_steps: int = 1000,
    fixed: np.ndarray | None = None,
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
        fixed: Booleans, [atoms] or [atoms, 3], true for atoms or Cartesian components that do not
            move. The forces on them do not count.

    Raises:
        InputError: If there is no cell to relax or atoms of it are fixed, settings make no sense,
            or no minimum is found in time.
    """
    if not tolerance > 0 or max_steps < 1 or not np.isfinite(pressure):
        raise InputError(
            "`tolerance` and `max_steps` must be positive and `pressure` a number, got "
            f"{tolerance}, {max_steps} and {pressure}."
        )
    refuse_conditions(system, "a relaxation")
    if cell and not all(system.pbc):
        raise InputError(f"There is no cell to relax with pbc={system.pbc}: it takes a crystal.")
    fixed = fixed_components(fixed, system.n_atoms)
    if cell and fixed is not None:
        raise InputError(
            "A cell that is relaxed takes all atoms with it, and some are fixed: relax with the "
            "cell as it is, or free the atoms."
        )
    atoms = ase.Atoms(
        np.asarray(system.numbers),
        np.asarray(system.positions),
        cell=None if system.cell is None else np.asarray(system.cell),
        pbc=system.pbc,
    )
    constrain(atoms, fixed)
    charge = None if potential.charge_model is None else float(system.total_charge)
    atoms.calc = Calculator(potential, total_charge=charge)
    moved = FrechetCellFilter(atoms, scalar_pressure=pressure) if cell else atoms
    with LBFGSLineSearch(moved, logfile=None) as optimiser:
        converged = optimiser.run(fmax=tolerance, steps=max_steps)
    if not converged:
        worst = np.linalg.norm(atoms.get_forces(), axis=1).max()
        raise InputError(
            f"No minimum after {max_steps} steps: the largest force is still {worst:.3g} eV/Å, the "
            f"tolerance {tolerance:g}. Allow more steps (`max_steps`, or `--steps` on the command "
            "line) or a larger `tolerance`, or look for a potential that is not smooth there."
        )
    dtype = system.positions.dtype
    return dataclasses.replace(
        system,
        positions=jnp.asarray(atoms.positions, dtype),
        cell=None if system.cell is None else jnp.asarray(np.asarray(atoms.cell.array), dtype),
    )
