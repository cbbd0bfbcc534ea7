"""`input.data`: reference structures of RuNNer and n2p2."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lrpot.data import Structure
from lrpot.data.structures import CHARGE_TOLERANCE
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.files import replacing
from lrpot.interop.n2p2.settings import ENERGIES, LENGTHS, Line, read_text, unit
from lrpot.system import System

_COUNTS = {"lattice": 3, "atom": 9, "energy": 1, "charge": 1}


def read_structures(
    path: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
    charge_tolerance: float | None = CHARGE_TOLERANCE,
) -> list[Structure]:
    """Structures with energies, forces, charges and total charges.

    Args:
        path: The file.
        length, energy: Units of the file, as in `read_potential`.
        charge_tolerance: How far the charges may be from summing to the total charge, in e.
            Charges that are all zero mean that there are none. `None` leaves charges out.

    Raises:
        InputError: If the file is malformed; file and line are named.
    """
    path = Path(path)
    sizes = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    structures: list[Structure] = []
    block: list[Line] | None = None
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        line = Line(path, number, tuple(words[1:]))
        if words[0] == "begin":
            if block is not None:
                line.fail("a structure begins before the last one has ended.")
            block = []
        elif block is None:
            line.fail(f"`{words[0]}` stands outside of a structure (begin … end).")
        elif words[0] == "end":
            structures.append(_structure(block, line, *sizes, charge_tolerance))
            block = None
        elif words[0] in _COUNTS:
            block.append(Line(path, number, tuple(words)))
        elif words[0] != "comment":
            line.fail(f"unknown keyword `{words[0]}`.")
    if block is not None:
        raise InputError(f"{path} ends in the middle of a structure.")
    if not structures:
        raise InputError(f"{path} holds no structures.")
    return structures


def write_structures(
    structures: Sequence[Structure],
    path: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
) -> None:
    """Write `input.data`; labels that a structure lacks become zeros.

    Args:
        structures: What to write.
        path: Where to; the file appears whole or not at all.
        length, energy: Units of the file.

    Raises:
        InputError: For a structure that is periodic in some directions only.
    """
    size, value = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    with replacing(path) as temporary:
        temporary.write_text("".join(_lines(structures, size, value)))


def _lines(structures: Sequence[Structure], length: float, energy: float) -> Iterable[str]:
    for structure in structures:
        system = structure.system
        n_atoms = system.n_atoms
        forces = np.zeros((n_atoms, 3)) if structure.forces is None else structure.forces
        charges = np.zeros(n_atoms) if structure.charges is None else structure.charges
        yield f"begin\ncomment {structure.name}\n"
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


def _numbers(values: Iterable) -> str:
    return " ".join(f"{float(value):.16e}" for value in values)


def _structure(
    block: Sequence[Line],
    end: Line,
    length: float,
    energy: float,
    charge_tolerance: float | None,
) -> Structure:
    found: dict[str, list[Line]] = {keyword: [] for keyword in _COUNTS}
    for line in block:
        keyword, *arguments = line.arguments
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
    rows = [
        [line.number_at(position) for position in (0, 1, 2, 4, 6, 7, 8)] for line in found["atom"]
    ]
    values = np.array(rows)
    numbers = [line.element_at(3) for line in found["atom"]]
    cell = None
    if found["lattice"]:
        cell = np.array([line.floats(least=3) for line in found["lattice"]]) * length
    total_charge = found["charge"][0].floats()[0] if found["charge"] else 0.0
    charges: np.ndarray | None = values[:, 3]
    if charge_tolerance is None or not np.any(charges):
        charges = None
    elif abs(charges.sum() - total_charge) > charge_tolerance:
        end.fail(
            f"the charges sum to {charges.sum():.4f} e, but the total charge is {total_charge:g} e "
            f"(tolerance {charge_tolerance} e)."
        )
    try:
        return Structure(
            System(values[:, :3] * length, numbers, cell=cell, total_charge=total_charge),
            energy=np.asarray(found["energy"][0].floats()[0] * energy) if found["energy"] else None,
            forces=values[:, 4:] * (energy / length),
            charges=charges,
            name=f"{end.path}, lines to {end.number}",
        )
    except InputError as error:
        raise InputError(f"{end.path}, structure that ends in line {end.number}: {error}") from None
