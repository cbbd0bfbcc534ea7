"""Reference structures with their labels, checked and written."""

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrpot.arraylike import ArrayLike
from lrpot.data.files import compressed
from lrpot.errors import InputError
from lrpot.files import replacing
from lrpot.system import System, refuse_conditions

LABELS = ("energy", "forces", "stress", "charges", "dipole", "quadrupole")
"""What a structure can be labelled with, and a potential trained on."""

CHARGE_TOLERANCE = 0.01
"""Largest allowed difference, in e, between the sum of reference charges and the total charge."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """Names under which a file keeps labels, total charge and weight of each structure.

    A virial, which is minus the stress times the volume, in eV, gives the stress of structures
    without one.
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    virial: str = "virial"
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


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why a structure of a file cannot be used.

    Attributes:
        name: Of the structure, with its file.
        message: What is wrong.
        number: Its place in the file, from 0.
    """

    name: str
    message: str
    number: int = 0


def write_structures(path: str | Path, structures: Sequence[Structure]) -> None:
    """Write extended XYZ that `read_structures` reads back; whole or not at all.

    The file may have any name. It is compressed if that ends with `.gz`, `.bz2` or `.xz`.

    Raises:
        InputError: If a structure has a field, applied potentials or fragments, which the format
            has no names for.
    """
    import ase
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for one in structures:
        system = one.system
        refuse_conditions(system, f"a file of extended XYZ ({one.name})")
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
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    with replacing(path) as temporary:
        temporary.write_bytes(compressed(path, text.getvalue().encode()))


def system_from_atoms(atoms: Any, total_charge: ArrayLike, name: str = "The structure") -> System:
    """A `System` from `ase.Atoms`, with their boundaries."""
    cell = np.asarray(atoms.cell) if atoms.pbc.any() else None
    try:
        return System(
            atoms.positions, atoms.numbers, cell=cell, total_charge=total_charge, pbc=atoms.pbc
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _check_quadrupole(moments: np.ndarray, name: str) -> None:
    off = max(abs(np.trace(moments)), np.abs(moments - moments.T).max())
    if off > 1e-6 * max(np.abs(moments).max(), 1.0):
        raise InputError(
            f"{name}: `quadrupole` must be symmetric and traceless, and is not by {off:.3g} e Å². "
            "Take the trace off second moments with `lrpot.data.structures.traceless`."
        )
