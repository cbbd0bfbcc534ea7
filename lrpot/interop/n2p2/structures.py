"""`input.data`: reference structures of RuNNer and n2p2."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lrpot.data import Structure
from lrpot.data.structures import CHARGE_TOLERANCE
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError, InputWarning
from lrpot.files import replacing
from lrpot.interop.n2p2.plausible import about_gaps, about_structures
from lrpot.interop.n2p2.settings import ENERGIES, LENGTHS, Line, read_lines, unit
from lrpot.system import System, refuse_conditions

_COUNTS = {"lattice": 3, "atom": 9, "energy": 1, "charge": 1}

_LABELS = ("energy", "forces", "charges")
"""What the format has room for; it has no way to say that one of them is missing."""

_MARK = ("comment", "lrpot:", "labels")
"""Begins the line that says which labels are real: `comment lrpot: labels energy charges`."""

_SETS = ((), ("set=train",), ("set=test",))
"""What n2p2 may write behind `begin`."""


def read_structures(
    path: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
    charge_tolerance: float | None = CHARGE_TOLERANCE,
    pbc: Sequence[bool] | None = None,
) -> list[Structure]:
    """Structures with energies, forces, charges and total charges.

    The format does not say which labels are missing. Charges that are all zero are taken as
    missing; energies and forces are taken as they are, except in structures that
    `write_structures` has marked.

    Args:
        path: The file.
        length, energy: Units of the file, as in `read_potential`.
        charge_tolerance: How far the charges may be from summing to the total charge, in e.
            `None` leaves charges out.
        pbc: Along which lattice vectors the structures with a lattice are periodic; slabs need
            `(True, True, False)`. By default along all three.

    Warns:
        InputWarning: If distances or energies look like those of other units; if there is an
            empty gap along a lattice vector and no `pbc` is given; if all energies or all forces
            of a file are zero.

    Raises:
        InputError: If the file is malformed; file and line are named.
    """
    path = Path(path)
    sizes = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    reader = _Reader(path, *sizes, charge_tolerance, None if pbc is None else _three(pbc))
    structures = [reader.structure(block, end) for block, end in _blocks(path)]
    if not structures:
        raise InputError(f"{path} holds no structures.")
    told = about_structures(structures, length, energy)
    told += reader.about_zeros(structures)
    if pbc is None:
        told += about_gaps(structures)
    for one in told:
        warnings.warn(f"{path}: {one}", InputWarning, stacklevel=2)
    return structures


def write_structures(
    structures: Sequence[Structure],
    path: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
) -> None:
    """Write `input.data`.

    The format needs an energy, forces and charges. Zeros stand for those that a structure lacks,
    and a comment line says so (`comment lrpot: labels energy`): `read_structures` takes these
    zeros as missing labels again, other programs take them as labels. `missing_labels` and
    `not_written` say what is affected.

    Args:
        structures: What to write.
        path: Where to; the file appears whole or not at all.
        length, energy: Units of the file.

    Raises:
        InputError: For a structure that is periodic in some directions only.
    """
    size, value = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    with replacing(path) as temporary:
        temporary.write_text("".join(_lines(structures, size, value)), encoding="utf-8")


def missing_labels(structures: Sequence[Structure]) -> dict[str, int]:
    """In how many structures each label of the format is missing, for which zeros are written."""
    counts = {label: sum(getattr(one, label) is None for one in structures) for label in _LABELS}
    return {label: count for label, count in counts.items() if count}


def not_written(structures: Sequence[Structure]) -> dict[str, int]:
    """What an `input.data` has no room for, and how many of the structures have it."""
    counts = {
        label: sum(getattr(one, label) is not None for one in structures)
        for label in ("stress", "dipole", "quadrupole")
    }
    counts["weight"] = sum(one.weight != 1 for one in structures)
    return {name: count for name, count in counts.items() if count}


def _lines(structures: Sequence[Structure], length: float, energy: float) -> Iterable[str]:
    for structure in structures:
        system = structure.system
        refuse_conditions(system, f"an input.data ({structure.name})")
        n_atoms = system.n_atoms
        forces = np.zeros((n_atoms, 3)) if structure.forces is None else structure.forces
        charges = np.zeros(n_atoms) if structure.charges is None else structure.charges
        yield f"begin\ncomment {' '.join(structure.name.split())}\n{_mark(structure)}"
        if system.cell is not None:
            if not all(system.pbc):
                raise InputError(
                    f"{structure.name}: `input.data` knows crystals and molecules, and this has "
                    f"pbc={system.pbc}. Make it one of them, or write extended XYZ."
                )
            for vector in np.asarray(system.cell) / length:
                yield f"lattice {_numbers(vector)}\n"
        positions = np.asarray(system.positions) / length
        per_atom = zip(np.asarray(system.numbers), positions, charges, forces, strict=True)
        for number, position, charge, force in per_atom:
            force = force * length / energy
            yield f"atom {_numbers(position)} {SYMBOLS[number]} {_numbers([charge, 0.0, *force])}\n"
        total = 0.0 if structure.energy is None else float(structure.energy) / energy
        yield f"energy {_numbers([total])}\ncharge {_numbers([system.total_charge])}\nend\n"


def _mark(structure: Structure) -> str:
    """The line that says which labels are real, where their values do not say it."""
    labels = [label for label in _LABELS if getattr(structure, label) is not None]
    charges_are_zero = structure.charges is not None and not np.any(structure.charges)
    if structure.energy is None or structure.forces is None or charges_are_zero:
        return " ".join([*_MARK, *(labels or ["none"])]) + "\n"
    return ""


def _numbers(values: Iterable) -> str:
    return " ".join(f"{float(value):.16e}" for value in values)


def _three(pbc: Sequence[bool]) -> tuple[bool, bool, bool]:
    if len(pbc) != 3:
        raise InputError(f"`pbc` needs three values, one for each lattice vector, got {pbc!r}.")
    a, b, c = (bool(one) for one in pbc)
    return a, b, c


def _blocks(path: Path) -> Iterable[tuple[list[Line], Line]]:
    """The lines of each structure, keywords included, and the line that ends it."""
    block: list[Line] | None = None
    for number, text in read_lines(path):
        words = tuple(text.split())
        if not words:
            continue
        line = Line(path, number, words)
        if words[0] == "begin":
            if block is not None:
                line.fail("a structure begins before the last one has ended.")
            if words[1:] not in _SETS:
                line.fail(f"`begin` stands alone or with set=train or set=test, got {words[1:]}.")
            block = []
        elif block is None:
            line.fail(f"`{words[0]}` stands outside of a structure (begin … end).")
        elif words[0] == "end":
            if len(words) > 1:
                line.fail(f"`end` stands alone, got {' '.join(words)!r}.")
            yield block, line
            block = None
        elif words[0] not in (*_COUNTS, "comment"):
            line.fail(f"unknown keyword `{words[0]}`.")
        else:
            block.append(line)
    if block is not None:
        raise InputError(f"{path} ends in the middle of a structure.")


class _Reader:
    """Structures of one file."""

    def __init__(
        self,
        path: Path,
        length: float,
        energy: float,
        charge_tolerance: float | None,
        pbc: tuple[bool, bool, bool] | None,
    ):
        self.path = path
        self.length, self.energy = length, energy
        self.charge_tolerance, self.pbc = charge_tolerance, pbc
        self.marked = False

    def structure(self, block: Sequence[Line], end: Line) -> Structure:
        found = _by_keyword(block, end)
        labels = _marked_labels(block)
        self.marked |= labels is not None
        values = np.array(
            [[line.number_at(at) for at in (0, 1, 2, 4, 5, 6, 7, 8)] for line in found["atom"]]
        )
        numbers = [line.element_at(3) for line in found["atom"]]
        cell = None
        if found["lattice"]:
            cell = np.array([line.floats(least=3) for line in found["lattice"]]) * self.length
        total_charge = found["charge"][0].floats()[0] if found["charge"] else 0.0
        energy = None
        if found["energy"] and (labels is None or "energy" in labels):
            energy = np.asarray(found["energy"][0].floats()[0] * self.energy)
        forces = values[:, 5:] * (self.energy / self.length)
        try:
            return Structure(
                System(
                    values[:, :3] * self.length,
                    numbers,
                    cell=cell,
                    total_charge=total_charge,
                    pbc=None if cell is None else self.pbc,
                ),
                energy=energy,
                forces=forces if labels is None or "forces" in labels else None,
                charges=self._charges(values[:, 3], total_charge, labels, end),
                name=f"{end.path}, lines to {end.number}",
            )
        except InputError as error:
            where = f"{end.path}, structure that ends in line {end.number}"
            raise InputError(f"{where}: {error}") from None

    def _charges(
        self, charges: np.ndarray, total: float, labels: tuple[str, ...] | None, end: Line
    ) -> np.ndarray | None:
        labelled = bool(np.any(charges)) if labels is None else "charges" in labels
        if self.charge_tolerance is None or not labelled:
            return None
        if abs(charges.sum() - total) > self.charge_tolerance:
            end.fail(
                f"the charges sum to {charges.sum():.4f} e, but the total charge is {total:g} e "
                f"(tolerance {self.charge_tolerance} e)."
            )
        return charges

    def about_zeros(self, structures: Sequence[Structure]) -> list[str]:
        """Labels that are zero in all structures, which are more likely missing than zero."""
        if self.marked:
            return []
        told = []
        energies = [one.energy for one in structures if one.energy is not None]
        if energies and not np.any(energies):
            told.append(
                "all energies are exactly zero and are read as such. If they are placeholders, "
                "do not train on energies."
            )
        forces = [one.forces for one in structures if one.system.n_atoms > 1]
        if forces and not any(np.any(one) for one in forces if one is not None):
            told.append(
                "all forces are exactly zero and are read as such. If they are placeholders, do "
                "not train on forces."
            )
        return told


def _by_keyword(block: Sequence[Line], end: Line) -> dict[str, list[Line]]:
    """Arguments of each keyword, counted."""
    found: dict[str, list[Line]] = {keyword: [] for keyword in _COUNTS}
    for line in block:
        keyword, *arguments = line.arguments
        if keyword == "comment":
            continue
        if len(arguments) != _COUNTS[keyword]:
            line.fail(f"`{keyword}` takes {_COUNTS[keyword]} values, got {len(arguments)}.")
        found[keyword].append(Line(line.path, line.number, tuple(arguments)))
    if len(found["lattice"]) not in (0, 3):
        end.fail(f"a structure has three lattice vectors or none, not {len(found['lattice'])}.")
    if not found["atom"]:
        end.fail("the structure has no atoms.")
    for keyword in ("energy", "charge"):
        if len(found[keyword]) > 1:
            found[keyword][1].fail(f"`{keyword}` stands twice in one structure.")
    return found


def _marked_labels(block: Sequence[Line]) -> tuple[str, ...] | None:
    """The labels that the mark of `write_structures` names; `None` without a mark."""
    marks = [line for line in block if line.arguments[: len(_MARK)] == _MARK]
    if not marks:
        return None
    if len(marks) > 1:
        marks[1].fail("the labels of a structure are named twice.")
    labels = marks[0].arguments[len(_MARK) :]
    if not labels:
        marks[0].fail("the names of the labels are missing; a structure without has `none`.")
    for label in labels:
        if label not in (*_LABELS, "none"):
            marks[0].fail(f"unknown label `{label}`; known are {', '.join(_LABELS)}, or none.")
    return labels
