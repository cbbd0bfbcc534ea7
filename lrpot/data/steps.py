"""Pairs of neighbouring structures: how far apart they are, and the work of their forces."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lrpot.data.structures import Structure

FARTHEST = 0.5
"""Largest displacement of an atom within a pair, in Å. Work is not compared over longer ones."""

LOOK_AHEAD = 5
"""A structure is paired with the nearest of so many that follow it in the file."""

MOST_PAIRS = 1000
"""Largest number of pairs; of larger data sets every second, third, … structure starts one."""


@dataclasses.dataclass(frozen=True)
class Step:
    """From one structure to a neighbouring one of the same atoms and total charge.

    Both are taken without rigid motion: molecules are turned onto each other, and periodic images
    are the nearest ones. Work is the mean of what the labels at both ends predict, which is exact
    to second order in the displacement; its uncertainty is half their difference.

    Attributes:
        first, second: Numbers of the structures.
        kind: What both have in common: atomic numbers, total charge and boundaries.
        moved: Largest displacement of an atom, in Å.
        change: Difference of the energies, in eV; NaN without energies.
        has_forces, has_stress: Whether both ends have them.
        work, work_spread: −forces · displacement, in eV, and its uncertainty; 0 without forces.
        strain: Largest component of the strain of the cell.
        volume: In Å³; 0 for open boundaries.
        strain_work, strain_spread: volume · stress : strain, in eV; 0 without stress.
        stiffness: Change of the forces per displacement, norms over all atoms, in eV/Å².
        force_change: Norm of the change of the forces, in eV/Å.
        stress_change: Norm of the change of the stress times the volume, in eV; 0 without stress.
        modulus: Change of the pressure per decrease in volume, −Δp/(ΔV/V), in eV/Å³; NaN without.
    """

    first: int
    second: int
    kind: tuple
    moved: float
    change: float
    has_forces: bool = False
    has_stress: bool = False
    work: float = 0.0
    work_spread: float = 0.0
    strain: float = 0.0
    volume: float = 0.0
    strain_work: float = 0.0
    strain_spread: float = 0.0
    stiffness: float = 0.0
    force_change: float = 0.0
    stress_change: float = 0.0
    modulus: float = np.nan

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.kind[0])


def steps_between(structures: Sequence[Structure]) -> list[Step]:
    """Pairs of structures that follow each other and whose atoms moved by 0.5 Å at most."""
    kinds: dict[tuple, list[int]] = {}
    for number, one in enumerate(structures):
        if one.system.n_atoms > 0:
            atoms = tuple(np.asarray(one.system.numbers).tolist())
            kind = atoms, float(one.system.total_charge), one.system.pbc
            kinds.setdefault(kind, []).append(number)
    stride = max(1, len(structures) // MOST_PAIRS)
    found = []
    for kind, chosen in kinds.items():
        for position in range(0, len(chosen) - 1, stride):
            following = chosen[position + 1 : position + 1 + LOOK_AHEAD]
            step = _nearest(structures, chosen[position], following, kind)
            if step is not None:
                found.append(step)
    return found


def _nearest(
    structures: Sequence[Structure], first: int, others: Sequence[int], kind: tuple
) -> Step | None:
    paths = [(_displacement(structures[first], structures[other]), other) for other in others]
    sizes = [float(np.linalg.norm(path[0])) for path, _ in paths]
    (moves, turn, strain, volume), second = paths[int(np.argmin(sizes))]
    moved = float(np.linalg.norm(moves, axis=1).max())
    if moved > FARTHEST or np.abs(strain).max() > FARTHEST:
        return None
    one, other = structures[first], structures[second]
    values: dict[str, Any] = {"strain": float(np.abs(strain).max()), "volume": volume}
    if one.forces is not None and other.forces is not None:
        ends = one.forces, other.forces @ turn
        works = [-float((forces * moves).sum()) for forces in ends]
        values["work"], values["work_spread"] = sum(works) / 2, abs(works[1] - works[0]) / 2
        values["has_forces"] = True
        values["force_change"] = float(np.linalg.norm(ends[1] - ends[0]))
        values["stiffness"] = values["force_change"] / max(float(np.linalg.norm(moves)), 1e-12)
    if one.stress is not None and other.stress is not None:
        works = [volume * float((stress * strain).sum()) for stress in (one.stress, other.stress)]
        values["has_stress"] = True
        values["strain_work"] = sum(works) / 2
        values["strain_spread"] = abs(works[1] - works[0]) / 2
        values["stress_change"] = volume * float(np.linalg.norm(other.stress - one.stress))
        if abs(np.trace(strain)) > 1e-3:
            values["modulus"] = float(np.trace(other.stress - one.stress) / np.trace(strain)) / 3
    change = np.nan
    if one.energy is not None and other.energy is not None:
        change = float(other.energy - one.energy)
    return Step(first, second, kind, moved, change, **values)


def _displacement(
    one: Structure, other: Structure
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Displacement of the atoms, rotation of the second one, strain of the cell, its volume."""
    start, end = (np.asarray(a.system.positions, float) for a in (one, other))
    if one.system.cell is None or other.system.cell is None:
        start, end = start - start.mean(axis=0), end - end.mean(axis=0)
        left, _, right = np.linalg.svd(end.T @ start)
        turn = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
        return end @ turn - start, turn, np.zeros((3, 3)), 0.0
    cells = [np.asarray(a.system.cell, float) for a in (one, other)]
    middle = (cells[0] + cells[1]) / 2
    moves = end @ np.linalg.inv(cells[1]) - start @ np.linalg.inv(cells[0])
    moves -= np.round(moves) * np.asarray(one.system.pbc)
    moves -= moves.mean(axis=0)
    gradient = np.linalg.inv(middle) @ (cells[1] - cells[0])
    strain = (gradient + gradient.T) / 2
    return moves @ middle, np.eye(3), strain, float(abs(np.linalg.det(middle)))


def by_kind(steps: Sequence[Step]) -> Iterator[tuple[tuple, list[Step]]]:
    """Steps in groups of the same atoms and total charge."""
    kinds: dict[tuple, list[Step]] = {}
    for step in steps:
        kinds.setdefault(step.kind, []).append(step)
    yield from kinds.items()
