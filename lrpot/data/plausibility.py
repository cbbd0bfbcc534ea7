"""Labels and positions that no atoms have in Å and eV, and labels that say nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial.distance import squareform

from lrpot.data.findings import Finding
from lrpot.data.steps import Step
from lrpot.data.structures import Structure
from lrpot.elements import COVALENT_RADII
from lrpot.units import BOHR, GPA

STIFFEST = 150.0
"""Largest median change of the forces per displacement, in eV/Å². Bonds that are stretched alone
reach 110 (triple bonds), and 10 to 25 where all atoms move."""

HARDEST = 20.0
"""Largest median modulus, in eV/Å³ (3200 GPa; diamond has 2.8)."""

LARGEST_STRESS = 10.0
"""Largest median component of the stress, in eV/Å³ (1600 GPa)."""

LEVERS = 0.01, 20.0, 200.0
"""Ratio of volume · stress to the norm of the forces, in Å. Changes at constant cell have a ratio
between the first two (0.2 to 1 in water); the whole stress of a structure whose atoms are pulled
has one below the third, unless the pressure is above 100 GPa."""

BONDED = 0.75, 1.2
"""Range of the median distance of nearest neighbours, in sums of covalent radii: 0.82 to 1.03 in
reference data from carbon chains to oxides."""

_NOBLE = (2, 10, 18, 36, 54, 86)
_LENGTHS = {"bohr": 1 / BOHR, "nm": 0.1, "pm": 100.0}


def implausible(
    structures: Sequence[Structure], contacts: Mapping[int, np.ndarray], steps: Sequence[Step]
) -> list[Finding]:
    """Magnitudes that are certainly in another unit.

    Args:
        structures: The data.
        contacts: Of each structure with two atoms or more, its `closest_contacts`.
        steps: From `lrpot.data.steps.steps_between`.
    """
    return [
        Finding(
            "positions in another unit",
            "Nearest neighbours are not at bonding distances in Å.",
            _positions(structures, contacts),
        ),
        Finding("forces in another unit", "No bond is that stiff in eV/Å².", _stiffness(steps)),
        Finding(
            "stresses in another unit",
            "No material has such stresses in eV/Å³ (1 eV/Å³ = 160 GPa = 1602 kBar).",
            _stresses(structures, steps),
        ),
    ]


def closest_contacts(structure: Structure, distances: np.ndarray) -> np.ndarray:
    """[atoms], distance of the nearest atom by the sum of covalent radii.

    Args:
        structure: With two atoms or more.
        distances: Between all pairs i < j, in Å.
    """
    radii = np.array([COVALENT_RADII[number] for number in np.asarray(structure.system.numbers)])
    ratios = squareform(distances) / np.add.outer(radii, radii)
    np.fill_diagonal(ratios, np.inf)
    return ratios.min(axis=1)


def _positions(
    structures: Sequence[Structure], contacts: Mapping[int, np.ndarray]
) -> list[tuple[str, str]]:
    bonded = [
        ratios
        for number, ratios in contacts.items()
        if not np.isin(np.asarray(structures[number].system.numbers), _NOBLE).any()
    ]
    ratios = np.concatenate([*bonded, np.zeros(0)])
    if len(ratios) < 4:
        return []
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    for name, size in _LENGTHS.items():
        fits = BONDED[0] < middle / size < BONDED[1] and low > 0.7 * size and high < 1.35 * size
        if fits:
            text = (
                f"nearest neighbours are at {middle:.3g} times the sum of their covalent radii, as "
                f"if positions were in {name}"
            )
            return [("all structures", text)]
    return []


def _stiffness(steps: Sequence[Step]) -> list[tuple[str, str]]:
    values = [one.stiffness for one in steps if one.has_forces and one.moved > 1e-3]
    if len(values) < 4 or np.median(values) < STIFFEST:
        return []
    text = (
        f"forces change by {np.median(values):.3g} eV/Å for each Å that atoms move, as if they "
        "were in kcal/mol/Å, kJ/mol/Å or meV/Å"
    )
    return [(f"{len(values)} pairs of neighbouring structures", text)]


def _stresses(structures: Sequence[Structure], steps: Sequence[Step]) -> list[tuple[str, str]]:
    """The first of four tests that the stresses fail."""
    small, large, largest = LEVERS
    same = [one for one in steps if one.has_stress and one.has_forces and one.strain < 1e-6]
    ratios = [one.stress_change / one.force_change for one in same if one.force_change > 0.01]
    moduli = [abs(one.modulus) for one in steps if np.isfinite(one.modulus)]
    having = [one for one in structures if one.stress is not None]
    sizes = [float(np.abs(one.stress).max()) for one in having]
    whole = [
        _volume(one) * float(np.linalg.norm(one.stress)) / float(np.linalg.norm(one.forces))
        for one in having
        if one.forces is not None and np.sqrt(np.mean(one.forces**2)) > 0.1
    ]
    where, text = "", ""
    if len(ratios) >= 3 and np.median(ratios) > large:
        where = f"{len(ratios)} pairs of neighbouring structures"
        text = f"stresses change {np.median(ratios):.3g} times more than the forces allow"
    elif len(moduli) >= 3 and np.median(moduli) > HARDEST:
        where = f"{len(moduli)} pairs of neighbouring structures"
        modulus = float(np.median(moduli))
        text = f"the bulk modulus is {modulus:.3g} eV/Å³ ({modulus / GPA:.3g} GPa)"
    elif sizes and np.median(sizes) > LARGEST_STRESS:
        where = f"{len(sizes)} structures"
        middle = float(np.median(sizes))
        text = f"their largest components are {middle:.3g} eV/Å³ ({middle / GPA:.3g} GPa)"
    elif len(whole) >= 3 and np.median(whole) > largest and np.median(sizes) > 100 * GPA:
        where = f"{len(whole)} structures"
        text = f"stresses are {np.median(whole) / largest:.3g} times as large as the forces allow"
    if text:
        return [(where, f"{text}, as if they were in GPa or kBar")]
    if len(ratios) >= 3 and np.median(ratios) < small and max(sizes) > 0:
        text = f"stresses change {1 / np.median(ratios):.3g} times less than the forces demand"
        return [
            (f"{len(ratios)} pairs of neighbouring structures", f"{text}: are they in Ha/bohr³?")
        ]
    return []


def _volume(structure: Structure) -> float:
    return float(abs(np.linalg.det(np.asarray(structure.system.cell))))
