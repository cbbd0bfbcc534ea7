"""What the structure of a file says of its motion: fixed atoms, masses and velocities."""

import dataclasses
from collections.abc import Mapping

import ase
import numpy as np
from ase.data import atomic_masses, atomic_numbers

from lrpot.data.values import has_initial_charges
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError, suggestion
from lrpot.interop.ase import from_ase
from lrpot.md.constraints import fixed_of
from lrpot.md.motion import centre_velocity, moves_as_a_whole
from lrpot.system import System
from lrpot.units import BOLTZMANN, FEMTOSECOND

OTHER_VELOCITIES = ("velocities", "velocity", "velo", "vel")
"""Columns that hold velocities in units that nothing says."""


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a simulation or a relaxation starts; what `lrpot.md.run` takes.

    Attributes:
        system: Positions, elements, cell and total charge.
        fixed: Booleans [atoms, 3], true for components that do not move; `None` if all do.
        masses: [atoms], in amu; `None` for those of the elements.
        velocities: [atoms, 3], in Å/fs; `None` if the file has none.
        words: Sentences about what was found, and what of it is not used.
    """

    system: System
    fixed: np.ndarray | None
    masses: np.ndarray | None
    velocities: np.ndarray | None
    words: tuple[str, ...]


def start_from(
    atoms: ase.Atoms,
    *,
    total_charge: float | None = None,
    masses: Mapping[str, float] | None = None,
    ignore_constraints: bool = False,
    new_velocities: bool = False,
    at_rest: bool = False,
) -> Start:
    """Take constraints, masses and momenta from atoms of ASE.

    Args:
        atoms: As read from a file. Momenta that are all zero are the same as none.
        total_charge: In e; by default that of `atoms.info`, else the sum of initial charges, else
            zero.
        masses: In amu, by element; those that are not named come from the atoms.
        ignore_constraints: Whether to let everything move.
        new_velocities: Whether to leave velocities out, so that they are drawn.
        at_rest: Whether to subtract the velocity of the centre of mass, as `nvt` and `npt` need it;
            with fixed atoms it stays.

    Raises:
        InputError: If there is a constraint that is not supported, or a mass or an element is
            wrong.
    """
    words: list[str] = []
    fixed = _fixed(atoms, words, ignore=ignore_constraints)
    heavy = _masses(atoms, masses or {}, words)
    velocities = None
    if not new_velocities:
        velocities = _velocities(atoms, heavy, fixed, words, at_rest=at_rest)
    elif atoms.has("momenta"):
        words.append("The velocities of the structure are not used.")
    system = from_ase(atoms, total_charge=total_charge)
    if has_initial_charges(atoms):
        words.append(
            "Initial charges of the structure are not used, but for the total charge where nothing "
            f"else gives it: it is {float(system.total_charge):+g} e."
        )
    return Start(system, fixed, heavy, velocities, tuple(words))


def parse_masses(texts: list[str]) -> dict[str, float]:
    """Masses by element from texts such as `H=2.014`.

    Raises:
        InputError: If one has another form, or an element is named twice.
    """
    masses: dict[str, float] = {}
    for text in texts:
        symbol, _, number = (part.strip() for part in text.partition("="))
        try:
            value = float(number)
        except ValueError:
            raise InputError(
                f"A mass is an element and a number in amu, such as H=2.014; got {text!r}."
            ) from None
        if symbol in masses:
            raise InputError(f"The mass of {symbol} is given twice: {masses[symbol]} and {value}.")
        masses[symbol] = value
    return masses


def _fixed(atoms: ase.Atoms, words: list[str], *, ignore: bool) -> np.ndarray | None:
    if ignore:
        if atoms.constraints:
            names = sorted({type(one).__name__ for one in atoms.constraints})
            words.append(f"Constraints of the structure are ignored: {', '.join(names)}.")
        return None
    fixed = fixed_of(atoms)
    if not fixed.any():
        return None
    whole = int(fixed.all(axis=1).sum())
    partly = int(fixed.any(axis=1).sum()) - whole
    counts = [f"{whole} of {len(atoms)} atoms are fixed"] if whole or not partly else []
    if partly:
        counts.append(f"{partly} of {len(atoms)} atoms are fixed in some directions")
    words.append(f"{' and '.join(counts)}, as the structure says.")
    return fixed


def _masses(atoms: ase.Atoms, masses: Mapping[str, float], words: list[str]) -> np.ndarray | None:
    for symbol, value in masses.items():
        if symbol not in SYMBOLS[1:]:
            raise InputError(
                f"{symbol!r} is not an element. {suggestion(symbol, set(atoms.symbols))}"
            )
        if symbol not in atoms.symbols:
            raise InputError(
                f"A mass is given for {symbol}, and the structure has none: it is "
                f"{atoms.get_chemical_formula()}."
            )
        if not 0 < value < np.inf:
            raise InputError(f"The mass of {symbol} must be positive, got {value} amu.")
    own = atoms.has("masses")
    if own and not np.allclose(atoms.get_masses(), atomic_masses[atoms.numbers]):
        rest = "" if not masses else f", except for {', '.join(masses)}"
        words.append(f"Masses are those of the structure{rest}.")
    if not own and not masses:
        return None
    heavy = np.array(atoms.get_masses(), dtype=float)
    for symbol, value in masses.items():
        heavy[atoms.numbers == atomic_numbers[symbol]] = value
    return heavy


def _velocities(
    atoms: ase.Atoms,
    masses: np.ndarray | None,
    fixed: np.ndarray | None,
    words: list[str],
    *,
    at_rest: bool,
) -> np.ndarray | None:
    """In Å/fs, with the masses that the file was written with: those are what momenta mean."""
    for name in OTHER_VELOCITIES:
        if name in atoms.arrays:
            words.append(
                f"The column `{name}` is not used: velocities are read from `momenta`, in "
                "√(amu eV), as ASE writes them."
            )
    if not atoms.has("momenta"):
        return None
    momenta = atoms.arrays["momenta"]
    if momenta.shape != (len(atoms), 3):
        raise InputError(f"`momenta` must have shape ({len(atoms)}, 3), got {momenta.shape}.")
    if not momenta.any():
        words.append("The velocities of the structure are all zero: new ones are drawn.")
        return None
    velocities = momenta / atoms.get_masses()[:, None] * FEMTOSECOND
    if fixed is not None and velocities[fixed].any():
        words.append("Velocities of fixed atoms are set to zero.")
        velocities = np.where(fixed, 0.0, velocities)
    heavy = atoms.get_masses() if masses is None else masses
    if at_rest and fixed is None and moves_as_a_whole(heavy, velocities):
        words.append("The velocity of the centre of mass is subtracted.")
        velocities = velocities - centre_velocity(heavy, velocities)
    words.append(
        f"Velocities are those of the structure, {_temperature(heavy, velocities, fixed):.0f} K; "
        "`--new-velocities` draws others at `--temperature`."
    )
    return velocities


def _temperature(masses: np.ndarray, velocities: np.ndarray, fixed: np.ndarray | None) -> float:
    """In K, of what moves."""
    kinetic = 0.5 * float(masses @ (velocities**2).sum(axis=1)) / FEMTOSECOND**2
    moving = velocities.size if fixed is None else int((~fixed).sum())
    if fixed is None and not moves_as_a_whole(masses, velocities):
        moving -= 3
    return 2 * kinetic / (max(moving, 1) * BOLTZMANN)
