"""The same structure more than once in a data set, wherever it is and however it is turned."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from lrpot.data.structures import Structure

_UNITS = {"energy": "eV/atom", "forces": "eV/Å", "charges": "e"}


def repeated(
    structures: Sequence[Structure], *, same: float, tolerances: Mapping[str, float]
) -> Iterator[tuple[Structure, Structure, str]]:
    """Pairs of structures that are the same, and how their labels differ, in words.

    Elements, total charge, boundaries and all distances between atoms are compared: structures
    that are moved, turned, mirrored, or list their atoms in another order are the same. A crystal
    in two different cells is not recognised.

    Args:
        structures: The data.
        same: Largest difference between corresponding distances, in Å.
        tolerances: Largest difference of energies (eV/atom), forces (eV/Å) and charges (e).
    """
    kinds: dict[Any, list[int]] = {}
    for number, one in enumerate(structures):
        kinds.setdefault(_kind(one), []).append(number)
    for chosen in kinds.values():
        prints = {number: _fingerprint(structures[number]) for number in chosen}
        means = {number: float(one.mean()) for number, one in prints.items()}
        chosen.sort(key=lambda number: means[number])
        for position, number in enumerate(chosen):
            for other in chosen[position + 1 :]:
                if means[other] - means[number] > same:
                    break  # where means differ, so does some distance
                if np.abs(prints[other] - prints[number]).max() <= same:
                    first, second = (structures[one] for one in sorted((number, other)))
                    yield first, second, _differences(first, second, tolerances)


def count_distinct(structures: Sequence[Structure], *, at_most: int, same: float = 1e-3) -> int:
    """How many different structures there are; the count ends at `at_most`.

    What is the same is said at `repeated`.
    """
    found: list[tuple[Any, np.ndarray]] = []
    for one in structures:
        kind, shape = _kind(one), _fingerprint(one)
        if any(
            kind == other and np.abs(shape - known).max(initial=0.0) <= same
            for other, known in found
        ):
            continue
        found.append((kind, shape))
        if len(found) == at_most:
            break
    return len(found)


def distances_of(structure: Structure, order: np.ndarray | None = None) -> np.ndarray:
    """Of all pairs of atoms i < j, to the nearest image, in Å."""
    from ase.geometry import get_distances  # takes a second to import

    positions = np.asarray(structure.system.positions)
    positions = positions if order is None else positions[order]
    if structure.system.cell is None:
        return pdist(positions)
    _, lengths = get_distances(
        positions, cell=np.asarray(structure.system.cell), pbc=structure.system.pbc
    )
    return lengths[np.triu_indices(len(positions), 1)]


def _kind(structure: Structure) -> tuple[tuple[int, ...], float, Any]:
    """What is equal of structures that may be the same."""
    system = structure.system
    return tuple(np.sort(system.numbers).tolist()), float(system.total_charge), system.pbc


def _fingerprint(structure: Structure) -> np.ndarray:
    """Distances sorted within each pair of elements, and the sides of the cell."""
    order = np.argsort(structure.system.numbers, kind="stable")
    numbers = np.asarray(structure.system.numbers)[order]
    first, second = np.triu_indices(len(numbers), 1)
    distances = distances_of(structure, order)
    pairs = numbers[first] * 1000 + numbers[second]
    cell = structure.system.cell
    sides = np.zeros(1) if cell is None else np.sqrt(np.abs(np.asarray(cell @ cell.T))).ravel()
    return np.concatenate([distances[np.lexsort((distances, pairs))], sides])


def _differences(one: Structure, other: Structure, tolerances: Mapping[str, float]) -> str:
    found = []
    for label, limit in tolerances.items():
        labels = getattr(one, label), getattr(other, label)
        if any(value is None for value in labels):
            continue
        first, second = (_comparable(label, value) for value in labels)
        difference = np.abs(first - second).max() / (one.system.n_atoms if label == "energy" else 1)
        if difference > limit:
            found.append(f"{label} differ by {difference:.3g} {_UNITS[label]}")
    return ", ".join(found)


def _comparable(label: str, value: np.ndarray) -> np.ndarray:
    """Values that neither turning a structure nor listing its atoms anew changes."""
    return np.sort(np.linalg.norm(value, axis=1)) if label == "forces" else np.sort(value.ravel())
