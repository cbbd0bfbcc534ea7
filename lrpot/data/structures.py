"""Reference structures with their labels, read from files and checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from lrpot.errors import InputError, suggestion
from lrpot.files import replacing
from lrpot.system import System

LABELS = ("energy", "forces", "stress", "charges", "dipole", "quadrupole")
"""What a structure can be labelled with, and a potential trained on."""

CHARGE_TOLERANCE = 0.01
"""Largest allowed difference, in e, between the sum of reference charges and the total charge."""

_NAMES = {
    ("charges", "charges"): ("charges", "charge"),
    ("charges", "charge"): ("charges", "charge"),  # ASE renames a column `charge` as it reads
    ("total_charge", "total_charge"): ("total_charge", "charge"),
}
"""Names to look under, by label and key, where the key itself is not the only one."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names under which a file keeps labels, total charge and weight of each structure."""

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    charges: str = "charges"
    dipole: str = "dipole"
    quadrupole: str = "quadrupole"
    total_charge: str = "total_charge"
    weight: str = "weight"


@dataclasses.dataclass(frozen=True)
class Structure:
    """One structure with whatever reference values it has.

    Attributes:
        system: Positions, elements, cell and total charge.
        energy: Total energy, in eV.
        forces: [atoms, 3], in eV/Å.
        stress: [3, 3], in eV/Å³, ASE's sign.
        charges: [atoms], in e.
        dipole: [3], in e Å, about the origin of the coordinates.
        quadrupole: [3, 3], traceless, in e Å², about the same origin: Σ q (r rᵀ − r²/3).
        weight: How much it counts in training, relative to others.
        name: Where it comes from, for messages.
    """

    system: System
    energy: np.ndarray | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    charges: np.ndarray | None = None
    dipole: np.ndarray | None = None
    quadrupole: np.ndarray | None = None
    weight: float = 1.0
    name: str = "structure"

    def __post_init__(self):
        shapes = label_shapes(self.system.n_atoms)
        for label in LABELS:
            value = getattr(self, label)
            if value is None:
                continue
            if value.shape != shapes[label]:
                raise InputError(
                    f"{self.name}: `{label}` must have shape {shapes[label]}, got {value.shape}."
                )
            if not np.isfinite(value).all():
                raise InputError(f"{self.name}: `{label}` is not finite. Leave the structure out.")
        if self.stress is not None and self.system.cell is None:
            raise InputError(f"{self.name}: it has a stress but no cell.")
        if self.quadrupole is not None:
            _check_quadrupole(self.quadrupole, self.name)
        if not 0 <= self.weight < np.inf:
            raise InputError(f"{self.name}: its weight must not be negative, got {self.weight}.")


def label_shapes(n_atoms: int) -> dict[str, tuple[int, ...]]:
    """The shape of each of `LABELS`."""
    shapes = [(), (n_atoms, 3), (3, 3), (n_atoms,), (3,), (3, 3)]
    return dict(zip(LABELS, shapes, strict=True))


def traceless(moments: np.ndarray) -> np.ndarray:
    """The part of second moments that a quadrupole is: their trace says how wide charges are."""
    return moments - np.trace(moments) / 3 * np.eye(3)


def read_structures(
    path: str | Path,
    *,
    keys: Keys | None = None,
    require: Sequence[str] = (),
    charge_tolerance: float = CHARGE_TOLERANCE,
) -> list[Structure]:
    """Read extended XYZ, or any other format of ASE that keeps labels, and check everything.

    Energies are expected in eV, lengths in Å, charges in e. A structure without a total charge
    is neutral. `pbc` names the periods among the vectors of the cell: `pbc="T T F"` is a slab.

    Args:
        path: The file.
        keys: Names of the labels in the file.
        require: Labels that every structure must have, such as ("energy", "forces").
        charge_tolerance: How far reference charges may be from summing to the total charge.

    Raises:
        InputError: If the file cannot be read, a required label is missing (the names that were
            found are listed), or values contradict each other; the structure is named.
    """
    frames = _frames(path)
    for label in require:
        if label not in LABELS:
            raise InputError(f"Unknown label `{label}`. {suggestion(label, LABELS)}")
    return [
        _structure(atoms, name, keys or Keys(), require, charge_tolerance) for name, atoms in frames
    ]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a structure could not be read, and its name."""

    name: str
    message: str


def read_readable(
    path: str | Path, *, keys: Keys | None = None
) -> tuple[list[Structure], list[Problem]]:
    """Read what can be read of a file, whatever the charges sum to, and tell about the rest.

    Raises:
        InputError: If the file itself cannot be read.
    """
    structures, problems = [], []
    for name, atoms in _frames(path):
        try:
            structures.append(_structure(atoms, name, keys or Keys(), (), np.inf))
        except InputError as error:
            problems.append(Problem(name, str(error).removeprefix(f"{name}: ")))
    return structures, problems


def write_structures(path: str | Path, structures: Sequence[Structure]) -> None:
    """Write extended XYZ that `read_structures` reads back; whole or not at all."""
    import ase
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for one in structures:
        system = one.system
        atoms = ase.Atoms(
            np.asarray(system.numbers),
            np.asarray(system.positions),
            cell=None if system.cell is None else np.asarray(system.cell),
            pbc=system.pbc,
            info={"total_charge": float(system.total_charge)},
        )
        if one.weight != 1.0:
            atoms.info["weight"] = float(one.weight)
        labels = {label: getattr(one, label) for label in LABELS}
        labels = {label: value for label, value in labels.items() if value is not None}
        if "energy" in labels:
            labels["energy"] = float(labels["energy"])
        if "quadrupole" in labels:  # not a property of ASE
            atoms.info["quadrupole"] = labels.pop("quadrupole")
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    with replacing(path) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def system_from_atoms(atoms: Any, total_charge: ArrayLike, name: str = "The structure") -> System:
    """A `System` from `ase.Atoms`, with their boundaries."""
    cell = np.asarray(atoms.cell) if atoms.pbc.any() else None
    try:
        return System(
            atoms.positions, atoms.numbers, cell=cell, total_charge=total_charge, pbc=atoms.pbc
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _frames(path: str | Path) -> list[tuple[str, Any]]:
    """Structures of a file as `ase.Atoms`, with their names."""
    import ase.io  # takes a second, and only files need it

    try:
        frames = ase.io.read(path, ":")
    except FileNotFoundError:
        raise InputError(f"There is no data file {path}.") from None
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error
    if not frames:
        raise InputError(f"{path} holds no structures.")
    return [(f"{path}, structure {number}", atoms) for number, atoms in enumerate(frames)]


def _structure(
    atoms: Any, name: str, keys: Keys, require: Sequence[str], charge_tolerance: float
) -> Structure:
    results = atoms.calc.results if atoms.calc is not None else {}
    columns = {
        key: value for key, value in atoms.arrays.items() if key not in ("positions", "numbers")
    }
    found = {**atoms.info, **results, **columns}
    values = {label: _look_up(found, label, getattr(keys, label), name) for label in LABELS}
    for label in require:
        if values[label] is None:
            key = getattr(keys, label)
            raise InputError(
                f"{name} has no {label}: there is no `{key}`. {suggestion(key, found)} Name the "
                f"right one with `Keys({label}=...)`, or do not train on {label}."
            )
    # Not among the columns: one of them may be called `charge`.
    whole = {**atoms.info, **results}
    charge = _look_up(whole, "total_charge", keys.total_charge, name)
    system = system_from_atoms(atoms, 0.0 if charge is None else charge, name)
    total_charge = float(system.total_charge)
    weight = _look_up(whole, "weight", keys.weight, name)
    charges = values["charges"]
    if charges is not None and abs(charges.sum() - total_charge) > charge_tolerance:
        raise InputError(
            f"{name}: its charges sum to {charges.sum():.4f} e but its total charge is "
            f"{total_charge:g} e (tolerance {charge_tolerance} e). Check "
            f"`{keys.total_charge}`, or raise `charge_tolerance`."
        )
    for label in ("stress", "quadrupole"):
        values[label] = _matrix(values[label])
    moments = values["quadrupole"]
    if moments is not None and moments.shape == (3, 3):
        values["quadrupole"] = traceless(moments)
    if weight is not None and weight.shape != ():
        raise InputError(f"{name}: `{keys.weight}` must be a single number, got {weight.shape}.")
    return Structure(system, **values, weight=1.0 if weight is None else float(weight), name=name)


def _matrix(values: np.ndarray | None) -> np.ndarray | None:
    """Nine or six (Voigt) numbers as a matrix."""
    if values is not None and values.shape == (9,):
        return values.reshape(3, 3)
    if values is not None and values.shape == (6,):
        xx, yy, zz, yz, xz, xy = values
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return values


def _check_quadrupole(moments: np.ndarray, name: str) -> None:
    off = max(abs(np.trace(moments)), np.abs(moments - moments.T).max())
    if off > 1e-6 * max(np.abs(moments).max(), 1.0):
        raise InputError(
            f"{name}: `quadrupole` must be symmetric and traceless, and is not by {off:.3g} e Å². "
            "Take the trace off second moments with `lrpot.data.structures.traceless`."
        )


def _look_up(found: Mapping[str, Any], label: str, key: str, where: str) -> np.ndarray | None:
    for name in _NAMES.get((label, key), (key,)):
        if name in found:
            try:
                return np.asarray(found[name], dtype=float)
            except (TypeError, ValueError):
                raise InputError(f"{where}: `{name}` is not numeric: {found[name]!r}.") from None
    return None
