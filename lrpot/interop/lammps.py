"""LAMMPS: energies and forces of a charge-equilibrated potential, by `fix external`.

The charges of all atoms depend on all others, so the energy is no sum over the parts of a spatial
decomposition. LAMMPS integrates, thermostats and writes; at every step it calls back, and gets
forces, energy and virial of the whole system at once.
"""

from typing import Any

import ase
import numpy as np
from ase.data import atomic_numbers

from lrpot.errors import InputError
from lrpot.interop.ase import Calculator
from lrpot.potential import Potential


class Coupling:
    """A LAMMPS that feels a potential, from `attach`.

    Attributes:
        results: Of the last step, as in ASE: energy, forces, charges, dipole, …, in the order of
            the tags of the atoms.
    """

    def __init__(self, lmp: Any, calculator: Calculator, numbers: np.ndarray, name: str):
        self._lmp, self._calculator, self._numbers, self._name = lmp, calculator, numbers, name
        self._error: Exception | None = None

    @property
    def results(self) -> dict[str, Any]:
        """Of the last step."""
        return self._calculator.results

    def run(self, steps: int) -> None:
        """As LAMMPS's `run`.

        Raises:
            InputError: What went wrong in a step. With `lmp.command("run ...")` LAMMPS stops too,
                but can only complain of forces that are no numbers.
        """
        self._error = None
        try:
            self._lmp.command(f"run {steps}")
        finally:
            if self._error is not None:
                raise self._error

    def _step(
        self, _: Any, __: int, n_local: int, tags: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        """What LAMMPS calls; an exception would be lost in its C++, so it becomes NaN."""
        try:
            self._evaluate(n_local, tags, x, f)
        except Exception as error:  # all of them, see above
            self._error = self._error or error
            f[:n_local] = np.nan
            self._lmp.fix_external_set_energy_global(self._name, np.nan)

    def _evaluate(self, n_local: int, tags: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        order = np.argsort(np.ravel(tags)[:n_local])
        types = np.ravel(self._lmp.numpy.extract_atom("type"))[:n_local][order]
        atoms = ase.Atoms(self._numbers[types - 1], x[:n_local][order], **_box(self._lmp))
        self._calculator.calculate(atoms)
        results = self._calculator.results
        f[order] = results["forces"]
        self._lmp.fix_external_set_energy_global(self._name, results["energy"])
        if "stress" in results:
            xx, yy, zz, yz, xz, xy = -results["stress"] * atoms.get_volume()
            self._lmp.fix_external_set_virial_global(self._name, [xx, yy, zz, xy, xz, yz])


def attach(
    lmp: Any,
    potential: Potential,
    *,
    elements: list[str],
    total_charge: float | None = None,
    skin: float = 0.5,
    name: str = "lrpot",
) -> Coupling:
    """Let LAMMPS feel a potential.

        lmp = lammps.lammps()
        lmp.commands_string("units metal ...")
        coupling = attach(lmp, potential, elements=["O", "H"], total_charge=1.0)
        coupling.run(1000)

    Adds `fix NAME all external pf/callback 1 1`, with energy and virial in `pe` and the pressure of
    `thermo`. Boxes may be orthogonal or triclinic, periodic or not along each axis, and may change.
    Call it when the box and the atoms exist.

    Args:
        lmp: A running `lammps.lammps()` of one process, in `units metal`.
        potential: The potential.
        elements: Symbol of each atom type of LAMMPS, in order.
        total_charge: In e; zero when not given. Charges that LAMMPS has for its atoms are neither
            read nor changed.
        skin: Of the neighbour list, in Å.
        name: Of the fix.

    Raises:
        InputError: If LAMMPS runs in several processes or other units, or elements do not fit.
    """
    _check(lmp, elements)
    numbers = np.array([atomic_numbers[symbol] for symbol in elements])
    calculator = Calculator(potential, total_charge=total_charge, skin=skin)
    coupling = Coupling(lmp, calculator, numbers, name)
    lmp.command(f"fix {name} all external pf/callback 1 1")
    lmp.command(f"fix_modify {name} energy yes virial yes")
    lmp.set_fix_external_callback(name, coupling._step, None)
    return coupling


def _box(lmp: Any) -> dict[str, Any]:
    """Cell and boundaries for ASE; where the box begins does not matter."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    if not any(periodic):
        return {"pbc": False}
    x, y, z = np.subtract(high, low)
    return {"cell": [[x, 0, 0], [xy, y, 0], [xz, yz, z]], "pbc": np.array(periodic, dtype=bool)}


def _check(lmp: Any, elements: list[str]) -> None:
    if lmp.extract_setting("world_size") > 1:
        raise InputError(
            "LAMMPS runs in several processes, but charges of all atoms are found together in one. "
            "Start it without mpirun."
        )
    if (units := lmp.extract_global("units")) != "metal":
        raise InputError(f"LAMMPS uses `units {units}`; say `units metal` (Å, eV, ps, bar).")
    types = lmp.extract_setting("ntypes")
    unknown = [symbol for symbol in elements if symbol not in atomic_numbers]
    if unknown or len(elements) != types:
        raise InputError(
            f"`elements` must be one symbol for each of the {types} atom types of LAMMPS, got "
            f"{elements}."
        )
