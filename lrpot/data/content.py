"""Data from which little can be learnt: too few structures, labels that never vary."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lrpot.data.findings import Finding
from lrpot.data.structures import LABELS, Structure
from lrpot.elements import SYMBOLS

FEWEST_STRUCTURES = 10
"""Fewer different structures than this are reported."""

SAME_CHARGE = 1e-3
"""Charges of an element that differ by less are the same, in e."""


def uninformative(structures: Sequence[Structure], repeats: int) -> list[Finding]:
    """Sets that are too small, structures without atoms, and labels that do not vary.

    Args:
        structures: The data.
        repeats: Structures that are the same as an earlier one.
    """
    distinct = len(structures) - repeats
    few = []
    if 0 < distinct < FEWEST_STRUCTURES:
        text = f"{len(structures)} structures, of which {distinct} are different"
        few = [("all structures", text)]
    empty = [(one.name, "no atoms") for one in structures if one.system.n_atoms == 0]
    return [
        Finding("few structures", "Too few different structures to learn from.", few),
        Finding("empty structures", "Structures without atoms cannot be trained on.", empty),
        Finding(
            "labels without spread",
            "Labels that are the same everywhere: there is nothing to learn from them.",
            _constant(structures),
        ),
    ]


def remarks(structures: Sequence[Structure]) -> list[str]:
    """What is worth knowing of a data set and is nothing odd, in sentences."""
    found = []
    single = sum(one.system.n_atoms == 1 for one in structures)
    if single:
        found.append(
            f"{single} structures are single atoms: they say what the energy of an atom is, and "
            "nothing about forces."
        )
    elements = [tuple(sorted(Counter(_symbols(one)).items())) for one in structures]
    ratios = {
        tuple((name, count / sum(n for _, n in one)) for name, count in one) for one in elements
    }
    if len(structures) > 1 and len(ratios) == 1 and len(elements[0]) > 1:
        found.append(
            "All structures have the same composition: their energies do not tell how the elements "
            "share the offset, and the potential is for this composition only."
        )
    return found


def _constant(structures: Sequence[Structure]) -> list[tuple[str, str]]:
    cases = []
    for label in LABELS:
        values = [getattr(one, label) for one in structures if getattr(one, label) is not None]
        if label == "charges":
            cases += _constant_charges([one for one in structures if one.charges is not None])
        elif len(values) > 1:
            flat = np.concatenate([np.ravel(one) for one in values])
            if not flat.any():
                cases.append((label, f"zero in all {len(values)} structures that have it"))
            elif label == "energy":
                cases += _constant_energies(structures)
    return cases


def _constant_energies(structures: Sequence[Structure]) -> list[tuple[str, str]]:
    """The same energy for structures of the same atoms that are not the same."""
    kinds: dict[tuple, list[float]] = {}
    for one in structures:
        if one.energy is not None and one.system.n_atoms > 1:
            key = tuple(sorted(_symbols(one))), float(one.system.total_charge)
            kinds.setdefault(key, []).append(float(one.energy))
    groups = [group for group in kinds.values() if len(group) > 2]
    if not groups or any(np.ptp(group) > 1e-9 for group in groups):
        return []
    count = sum(len(group) for group in groups)
    return [("energy", f"the same for all {count} structures of the same atoms")]


def _constant_charges(structures: Sequence[Structure]) -> list[tuple[str, str]]:
    """Charges that are the same for all atoms of each element, such as formal charges."""
    numbers = np.concatenate([np.asarray(one.system.numbers) for one in structures] or [[]])
    charges = np.concatenate([one.charges for one in structures] or [[]])
    elements, counts = np.unique(numbers.astype(int), return_counts=True)
    spans = [np.ptp(charges[numbers == element]) for element in elements]
    if not len(elements) or counts.max() < 2 or max(spans) > SAME_CHARGE:
        return []
    values = ", ".join(
        f"{SYMBOLS[element]} {charges[numbers == element].mean():+.3g}" for element in elements
    )
    text = (
        f"the same for all atoms of an element ({values} e), as formal or force-field charges are: "
        "a charge model cannot learn from them"
    )
    return [("charges", text)]


def _symbols(structure: Structure) -> list[str]:
    return [SYMBOLS[number] for number in np.asarray(structure.system.numbers)]
