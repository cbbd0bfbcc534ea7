"""Whether files can mean what they are read as: units, and slabs that are read as crystals.

The files of RuNNer and n2p2 carry neither units nor periodicity. What is far from all matter in
the units that were given, and usual in others, is told; nothing is changed.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrpot.data import Structure
from lrpot.elements import COVALENT_RADII, SYMBOLS
from lrpot.interop.n2p2.settings import ENERGIES, LENGTHS
from lrpot.units import HARTREE

CUTOFFS = (3.7, 15.0)
"""Range of the largest cutoff of a potential, in Å."""

WIDTHS = (0.9, 1.12)
"""Gaussian widths that are meant to be covalent radii, over covalent radii."""

CONTACTS = (0.65, 1.45)
"""The shortest distance of a structure over the sum of the covalent radii, in the middle of some
structures. Bonds have about 1, bonds to hydrogen under pressure 0.8."""

USUAL_CONTACTS = (0.75, 1.25)

ATOMS = (0.82, 1.15)
"""Energies of free atoms with all electrons over the estimate below."""

SAMPLE, MOST_ATOMS, ENOUGH_ATOMS = 20, 400, 3
"""How many structures are looked at, how large, and what is no pair that is pulled apart."""

NOBLE = (2, 10, 18, 36, 54, 86)

GAP = 10.0
"""Å without an atom along a lattice vector: a vacuum. No liquid or solid has holes this large."""


def about_potential(
    length: str,
    energy: str,
    *,
    cutoff: float,
    widths: Mapping[int, float],
    atom_energies: Mapping[int, float],
) -> list[str]:
    """What speaks for other units than those that the files of a potential are read in.

    Args:
        length, energy: The units.
        cutoff: The largest one, in units of the file.
        widths: Gaussian widths by element, in units of the file; none for 2G.
        atom_energies: Energies of free atoms by element, in units of the file.
    """
    told = []
    others = _other_units(length, LENGTHS, lambda unit: CUTOFFS[0] <= cutoff * unit <= CUTOFFS[1])
    if others:
        told.append(
            f"the largest cutoff {cutoff:g} would be {cutoff * LENGTHS[length]:.3g} Å. "
            f"{_looks_like(others, 'length')}"
        )
    ratios = [width / COVALENT_RADII[element] for element, width in widths.items()]
    others = _other_units(length, LENGTHS, lambda unit: _all_within(ratios, unit, WIDTHS))
    if others:
        told.append(
            f"the Gaussian widths are covalent radii in {' or '.join(others)}. "
            f"{_looks_like(others, 'length')}"
        )
    told += _about_atoms(
        energy,
        [(SYMBOLS[one], value, free_atom(one)) for one, value in atom_energies.items() if value],
        "the energy of the free atom",
    )
    return told


def about_structures(structures: Sequence[Structure], length: str, energy: str) -> list[str]:
    """What speaks for other units than those that structures are read in.

    Args:
        structures: As read in these units.
        length, energy: The units.
    """
    told = []
    some = structures[:: max(1, len(structures) // SAMPLE)]
    contacts = [one for one in map(_contact, some) if one is not None]
    if contacts:
        middle = float(np.median(contacts)) / LENGTHS[length]
        inside = middle * LENGTHS[length]
        others = _other_units(length, LENGTHS, lambda unit: _within(middle * unit, USUAL_CONTACTS))
        if others and not _within(inside, CONTACTS):
            told.append(
                f"the nearest atoms are at {inside:.2f} of the sum of their covalent radii. "
                f"{_looks_like(others, 'length')}"
            )
    energies = []
    for one in some:
        if one.energy is not None and float(one.energy) != 0:
            estimate = sum(free_atom(int(number)) for number in np.asarray(one.system.numbers))
            energies.append((one.name, float(one.energy) / ENERGIES[energy], estimate))
    return told + _about_atoms(energy, energies, "the energy of")


def about_gaps(structures: Sequence[Structure]) -> list[str]:
    """Structures that are read as crystals and have a vacuum along a lattice vector."""
    found = [0, 0, 0]
    largest = 0.0
    for one in structures:
        if one.system.cell is not None:
            gaps = _gaps(np.asarray(one.system.positions), np.asarray(one.system.cell))
            found = [count + (gap > GAP) for count, gap in zip(found, gaps, strict=True)]
            largest = max(largest, *gaps)
    if not any(found):
        return []
    axes = " and ".join(f"{'abc'[axis]} ({count})" for axis, count in enumerate(found) if count)
    guess = " ".join("F" if count else "T" for count in found)
    return [
        f"structures have a vacuum of up to {largest:.1f} Å along lattice vector {axes}, and are "
        "read as periodic along all three, as RuNNer and n2p2 do. Slabs and molecules in a box "
        f"have other energies: say pbc=({', '.join(repr(not count) for count in found)}) or "
        f'--pbc "{guess}"; pbc=(True, True, True) or --pbc "T T T" says that they are crystals.'
    ]


def free_atom(number: int) -> float:
    """Energy of a neutral atom with all electrons, in Ha, within some percent.

    The expansion of the energy in Z^(-1/3) for many electrons [schwinger:81].
    """
    return -0.768745 * number ** (7 / 3) + 0.5 * number**2 - 0.269900 * number ** (5 / 3)


def _about_atoms(energy: str, cases: Sequence[tuple[str, float, float]], what: str) -> list[str]:
    """Energies with all electrons show their unit; those of pseudopotentials do not.

    Args:
        energy: The unit.
        cases: Name, energy in units of the file, and the estimate in Ha.
        what: Is named.
    """
    ratios = [value / (estimate * HARTREE) for _, value, estimate in cases]
    others = _other_units(energy, ENERGIES, lambda unit: _all_within(ratios, unit, ATOMS))
    if not others:
        return []
    name, value, estimate = cases[0]
    return [
        f"{what} {name} is {value:g}, and {estimate:.4g} Ha or {estimate * HARTREE:.5g} eV are "
        f"usual with all electrons. {_looks_like(others, 'energy')}"
    ]


def _other_units(
    given: str, units: Mapping[str, float], usual: Callable[[float], bool]
) -> list[str]:
    """Units that make something usual, if the given one does not."""
    if usual(units[given]):
        return []
    return [name for name, size in units.items() if usual(size) and name.isascii()]


def _looks_like(others: Sequence[str], what: str) -> str:
    options = " or ".join(f'{what}="{one}" (--{what} {one})' for one in others)
    return f"If the file is in other units, say {options}."


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _all_within(values: Sequence[float], unit: float, limits: tuple[float, float]) -> bool:
    return bool(values) and all(_within(value * unit, limits) for value in values)


def _contact(structure: Structure) -> float | None:
    """The shortest distance over the sum of the covalent radii; images are left out."""
    numbers = np.asarray(structure.system.numbers)
    if not 2 <= len(numbers) <= MOST_ATOMS or np.isin(numbers, NOBLE).any():
        return None
    positions = np.asarray(structure.system.positions, float)
    first, second = np.triu_indices(len(numbers), 1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    radii = np.asarray(COVALENT_RADII)[numbers]
    found = float((distances / (radii[first] + radii[second])).min())
    # Two atoms may be pulled apart.
    return found if found < 1 or len(numbers) >= ENOUGH_ATOMS else None


def _gaps(positions: np.ndarray, cell: np.ndarray) -> list[float]:
    """The largest distance along each direction of the cell without an atom, in Å."""
    fractions = np.sort((positions @ np.linalg.inv(cell)) % 1.0, axis=0)
    steps = np.diff(np.concatenate([fractions, fractions[:1] + 1]), axis=0).max(axis=0)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return (steps * heights).tolist()
