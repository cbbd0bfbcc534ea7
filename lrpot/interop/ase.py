"""ASE: structures in, and a calculator."""

from typing import Any, ClassVar

import ase
import equinox as eqx
import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from lrpot.committee import Committee
from lrpot.data import system_from_atoms, total_charge_of
from lrpot.data.names import condition, resembled
from lrpot.data.values import TOTAL_CHARGE
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors, in_buckets
from lrpot.potential import Potential
from lrpot.predict import check_prediction, evaluate
from lrpot.system import KNOWN_TO, System

_compiled = eqx.filter_jit(evaluate)


def from_ase(atoms: ase.Atoms, *, total_charge: float | None = None) -> System:
    """A `System` from ASE.

    Args:
        atoms: With any boundaries; a vector of the cell without periodicity may be zero.
        total_charge: In e; by default that of `lrpot.data.total_charge_of`: of `atoms.info`, or
            the sum of the initial charges, or zero.

    Raises:
        InputError: If a total charge is not a number, or initial charges sum to no whole number;
            if `atoms.info` holds what looks like a total charge under another name, or a field,
            an applied potential or fragments, which would be ignored.
    """
    _refuse_ignored(atoms, charged=total_charge is None)
    return system_from_atoms(
        atoms, total_charge_of(atoms) if total_charge is None else total_charge
    )


def _refuse_ignored(atoms: ase.Atoms, *, charged: bool) -> None:
    """Raise `InputError` for what `atoms.info` holds and nobody looks at.

    Args:
        atoms: With their `info`.
        charged: Whether the total charge is to be found there.
    """
    unnamed = charged and not atoms.info.keys() & {*TOTAL_CHARGE}
    for name, value in atoms.info.items():
        if (argument := condition(str(name), value)) is not None:
            raise InputError(
                f"`atoms.info[{name!r}]` looks like the `{argument}` of a system, and would be "
                f"ignored. {KNOWN_TO} Take it out here."
            )
        looks = unnamed and resembled(str(name), value, len(atoms), by_atom=False)
        if looks == "total_charge" and np.asarray(value, dtype=float).any():
            raise InputError(
                f"`atoms.info[{name!r}]` = {value!r} looks like a total charge, and would be "
                'ignored. Call it `atoms.info["total_charge"]`, give `total_charge=` (`--charge` '
                "on the command line), or take it out."
            )


class Calculator(AseCalculator):
    """ASE calculator: energy, free_energy, energies, forces, stress, charges and dipole.

    Compiled once for a number of atoms; the neighbour list has a skin and is built anew only
    when an atom has moved by half of it, so that a loop over moving atoms is fast.

    Args:
        potential: The potential, or a committee: results then hold `energy_uncertainty` (eV),
            `forces_uncertainty` (eV/Å, one for each atom) and `charges_uncertainty` (e).
        total_charge: Charge of the system, in e. When not given it comes from
            `atoms.info["total_charge"]`, else `atoms.info["charge"]`, else it is the sum of the
            initial charges.
        skin: Added to the cutoff of the neighbour list, in Å.
        extrapolation: Whether to keep, after each calculation, in the attribute `extrapolation`
            how far each feature of each atom is outside of the training range, see
            `lrpot.Prediction`.

    Raises:
        InputError: If a total charge is given for a potential that has no charges, and from a
            calculation, as `lrpot.predict`.

    Examples:
        >>> import jax, lrpot
        >>> from ase.build import molecule
        >>> water = molecule("H2O")
        >>> water.calc = Calculator(lrpot.hdnnp_4g(("H", "O"), key=jax.random.key(0)))
        >>> bool(abs(water.get_charges().sum()) < 1e-5)  # neutral, as nothing else was said
        True
    """

    implemented_properties: ClassVar[list[str]] = [  # pyright: ignore[reportIncompatibleVariableOverride]  (ASE's way)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "charges",
        "dipole",
        "energy_uncertainty",
        "forces_uncertainty",
        "charges_uncertainty",
    ]

    def __init__(
        self,
        potential: Potential | Committee,
        *,
        total_charge: float | None = None,
        skin: float = 0.5,
        extrapolation: bool = False,
    ):
        super().__init__()
        if total_charge is not None and potential.charge_model is None:
            raise InputError(
                f"A potential of recipe `{potential.recipe}` has no charges and cannot use "
                f"total_charge={total_charge}. Leave it out, or take a potential with charges."
            )
        self.potential, self.total_charge, self.skin = potential, total_charge, skin
        self.wants_extrapolation = extrapolation
        self.extrapolation: np.ndarray | None = None
        self._list: Neighbors | None = None
        self._listed: ase.Atoms | None = None

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation, the total charge in `info` included."""
        _refuse_ignored(atoms, charged=self.total_charge is None)
        changes = super().check_state(atoms, tol)
        if (
            self.atoms is not None
            and self.total_charge is None
            and total_charge_of(atoms) != total_charge_of(self.atoms)
        ):
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything at once; called by ASE."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("The calculator has been given no atoms.")
        system = from_ase(atoms, total_charge=self.total_charge)
        prediction = _compiled(
            self.potential,
            system,
            self._neighbors(system, atoms),
            extrapolation=self.wants_extrapolation,
        )
        check_prediction(prediction)
        if prediction.extrapolation is not None:
            self.extrapolation = np.asarray(prediction.extrapolation)
        energy = float(prediction.energy)
        values = {
            "energies": prediction.energies,
            "forces": prediction.forces,
            "charges": prediction.charges,
            "dipole": prediction.dipole,
        }
        if prediction.uncertainty is not None:
            uncertain = vars(prediction.uncertainty)
            values |= {f"{name}_uncertainty": value for name, value in uncertain.items()}
        results: dict[str, Any] = {"energy": energy, "free_energy": energy}
        results |= {name: np.asarray(value) for name, value in values.items() if value is not None}
        if prediction.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(np.asarray(prediction.stress))
        self.results = results
        missing = [name for name in properties or [] if name not in self.results]
        if missing:
            raise PropertyNotImplementedError(
                f"There is no {missing[0]} for this system: stress needs a cell, charges and "
                f"dipole a potential with charges (this one is `{self.potential.recipe}`), an "
                "uncertainty a committee."
            )

    def _neighbors(self, system: System, atoms: ase.Atoms) -> Neighbors:
        if self._list is None or not self._still_valid(atoms):
            fresh = self.potential.neighbors(system, skin=self.skin)
            # Never shrink the shapes, so that compiled code can be used again.
            old = self._list
            same = old is not None and old.index.shape[0] == system.n_atoms
            self._list = in_buckets(fresh, old if same else None)
            self._listed = atoms.copy()
        return self._list

    def _still_valid(self, now: ase.Atoms) -> bool:
        then = self._listed
        if then is None or len(now) != len(then) or (now.numbers != then.numbers).any():
            return False
        same_cell = np.array_equal(now.cell.array, then.cell.array) or not now.pbc.any()
        if (now.pbc != then.pbc).any() or not same_cell:
            return False
        moved = np.linalg.norm(now.positions - then.positions, axis=1)
        return bool(moved.max(initial=0.0) < 0.5 * self.skin)
