"""What is odd about a data set, before a training finds out: what `lrpot check` does."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrpot.data.consistency import compare_energies
from lrpot.data.content import remarks, uninformative
from lrpot.data.findings import Finding, Limits
from lrpot.data.plausibility import closest_contacts, implausible
from lrpot.data.repeats import distances_of, repeated
from lrpot.data.steps import steps_between
from lrpot.data.structures import LABELS, Problem, Structure
from lrpot.data.usage import Usage
from lrpot.elements import SYMBOLS

ATOMS_OVERLAP = 0.5
"""Closest distance that is not reported, in sums of covalent radii."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What is in a data set, and what is odd about it.

    Attributes:
        count: Number of structures that could be read.
        labels: Structures with each label.
        elements: Structures with, and atoms of, each element.
        total_charges: Structures of each total charge.
        ranges: Least, median and largest value over the structures: of the energy left over by a
            linear fit to composition and total charge (eV/atom), the largest force (eV/Å), the
            smallest distance (Å), the pressure (eV/Å³), and what the sum of charges (e), net force
            (eV/Å) and torque (eV, molecules only) are off by.
        findings: The oddities.
        remarks: Sentences about what was compared and what is worth knowing.
    """

    count: int
    labels: dict[str, int]
    elements: dict[str, dict[str, int]]
    total_charges: dict[str, int]
    ranges: dict[str, tuple[float, float, float]]
    findings: list[Finding]
    remarks: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, fit for JSON."""
        return dataclasses.asdict(self)


def check_data(
    structures: Sequence[Structure],
    problems: Sequence[Problem] = (),
    *,
    usage: Usage | None = None,
    limits: Limits | None = None,
) -> Report:
    """Look a data set over.

    Structures are the same when elements, total charge, cell and all distances between atoms
    agree, wherever they are, however turned or mirrored, and in whatever order the atoms are
    listed. A crystal in two different cells is not recognised.

    Units and signs are judged by what the data say of themselves. Neighbouring structures of the
    same atoms and total charge, such as the frames of a trajectory, must have energies that differ
    by the work of forces and stresses. Magnitudes alone are reported only where no material has
    them.

    Args:
        structures: The data.
        problems: What could not be read, from `lrpot.data.read_readable`.
        usage: What of the file was used, from `lrpot.data.read_data`; labels under other names are
            findings then.
        limits: What is reported from where on.
    """
    limits = limits or Limits()
    values, contacts = _values(structures)
    steps = steps_between(structures)
    inconsistent, compared = compare_energies(steps)
    repeats = _repeated(structures, limits)
    same = {other for one in repeats for name, _ in one.cases for other in name.split(" = ")[1:]}
    findings = [
        _unreadable(problems),
        *([] if usage is None else [usage.as_finding()]),
        _missing(structures),
        *uninformative(structures, len(same)),
        *implausible(structures, contacts, steps),
        *inconsistent,
        *repeats,
        *_outlying(structures, values, contacts, limits),
        *_inconsistent(structures, values, limits),
    ]
    atoms = [Counter(SYMBOLS[number] for number in _numbers(one)) for one in structures]
    found = sorted({symbol for one in atoms for symbol in one})
    charges = [float(one.system.total_charge) for one in structures]
    return Report(
        count=len(structures),
        labels={label: len(_having(structures, label)) for label in LABELS},
        elements={
            symbol: {
                "structures": sum(symbol in one for one in atoms),
                "atoms": sum(one[symbol] for one in atoms),
            }
            for symbol in found
        },
        total_charges={f"{charge:g}": charges.count(charge) for charge in sorted(set(charges))},
        ranges={
            name: (float(np.min(of)), float(np.median(of)), float(np.max(of)))
            for name, of in ((name, list(of.values())) for name, of in values.items())
            if of
        },
        findings=[one for one in findings if one.cases],
        remarks=[*compared, *remarks(structures)],
    )


Values = dict[str, dict[int, float]]
"""Quantity -> number of structure -> value, where there is one."""


def _values(structures: Sequence[Structure]) -> tuple[Values, dict[int, np.ndarray]]:
    """Values of all structures, and how close the nearest atoms of each atom are."""
    contacts: dict[int, np.ndarray] = {}
    names = ("energy", "largest_force", "smallest_distance", "pressure")
    values: Values = {name: {} for name in names}
    values |= {name: {} for name in ("charge_sum", "net_force", "torque", "asymmetry")}
    for number, one in enumerate(structures):
        if one.system.n_atoms > 1:
            distances = distances_of(one)
            values["smallest_distance"][number] = float(distances.min())
            contacts[number] = closest_contacts(one, distances)
        if one.forces is not None:
            values["largest_force"][number] = _largest(one.forces)
            values["net_force"][number] = _largest(one.forces.sum(axis=0, keepdims=True))
        if one.forces is not None and one.system.cell is None:
            arms = np.asarray(one.system.positions) - np.asarray(one.system.positions).mean(axis=0)
            values["torque"][number] = _largest(np.cross(arms, one.forces).sum(0, keepdims=True))
        if one.charges is not None:
            total = float(one.system.total_charge)
            values["charge_sum"][number] = abs(float(one.charges.sum()) - total)
        if one.stress is not None:
            values["pressure"][number] = -float(np.trace(one.stress)) / 3
            values["asymmetry"][number] = float(np.abs(one.stress - one.stress.T).max())
    labelled = _having(structures, "energy")
    if labelled:
        rest = _energies_left([structures[number] for number in labelled])
        values["energy"] = dict(zip(labelled, rest.tolist(), strict=True))
    return values, contacts


def _energies_left(structures: Sequence[Structure]) -> np.ndarray:
    """Energy per atom that a linear fit to composition and total charge leaves over, in eV."""
    elements = np.unique(np.concatenate([_numbers(one) for one in structures]))
    charges = [float(one.system.total_charge) for one in structures]
    counts = np.array([[np.sum(_numbers(one) == z) for z in elements] for one in structures], float)
    # The fit is to energies per atom, about their mean: sums of 1e6 eV would swamp the differences.
    sizes = counts.sum(axis=1)
    groups = np.array([[one == other for other in sorted(set(charges))] for one in charges], float)
    columns = np.hstack([counts, groups]) / sizes[:, None]
    energies = np.array([one.energy for one in structures], float) / sizes
    energies -= np.median(energies)
    kept = np.ones(len(energies), bool)
    rest = energies
    for _ in range(3):  # without what was far off the fit before
        fit = np.linalg.lstsq(columns[kept], energies[kept], rcond=1e-10)[0]
        rest = energies - columns @ fit
        kept = np.abs(rest - np.median(rest)) <= 10 * max(_spread(rest), 1e-6)
    return rest


def _unreadable(problems: Sequence[Problem]) -> Finding:
    meaning = "Cannot be read, or hold values that are not finite; training would stop at them."
    return Finding("unreadable", meaning, [(one.name, one.message) for one in problems])


def _missing(structures: Sequence[Structure]) -> Finding:
    used = [label for label in LABELS if _having(structures, label)]
    lacks = [(one, [label for label in used if getattr(one, label) is None]) for one in structures]
    meaning = "Lack labels that others have. They train on what they do have."
    cases = [(one.name, f"no {', '.join(missing)}") for one, missing in lacks if missing]
    return Finding("missing labels", meaning, cases)


def _repeated(structures: Sequence[Structure], limits: Limits) -> list[Finding]:
    tolerances = {label: getattr(limits, label) for label in ("energy", "forces", "charges")}
    pairs = repeated(structures, same=limits.same, tolerances=tolerances)
    cases = [(f"{one.name} = {other.name}", differs) for one, other, differs in pairs]
    return [
        Finding(
            "duplicates",
            "The same structure with the same labels, more than once.",
            [case for case in cases if not case[1]],
        ),
        Finding(
            "contradictions",
            "The same structure with different labels: no potential can learn both.",
            [case for case in cases if case[1]],
        ),
    ]


def _outlying(
    structures: Sequence[Structure],
    values: Values,
    contacts: dict[int, np.ndarray],
    limits: Limits,
) -> list[Finding]:
    def cases(name: str, unit: str, *, floor: float, side: int = 0) -> list[tuple[str, str]]:
        of = values[name]
        if not of:
            return []
        samples = np.array(list(of.values()))
        middle = np.median(samples)
        limit = max(limits.spread * _spread(samples), floor)
        off = {
            n: v - middle for n, v in of.items() if (side * (v - middle) or abs(v - middle)) > limit
        }
        worst = sorted(off, key=lambda number: -abs(off[number]))
        return [(structures[n].name, f"{of[n]:.4g} {unit}, median {middle:.4g}") for n in worst]

    radii = {
        number: distance
        for number, distance in values["smallest_distance"].items()
        if contacts[number].min() < ATOMS_OVERLAP
    }
    return [
        Finding(
            "energy outliers",
            "Energies far off a linear fit to composition and total charge.",
            cases("energy", "eV/atom", floor=1e-3),
        ),
        Finding(
            "force outliers",
            "Forces much larger than in other structures.",
            cases("largest_force", "eV/Å", floor=1.0, side=1),
        ),
        Finding("stress outliers", "Unusual pressures.", cases("pressure", "eV/Å³", floor=1e-3)),
        Finding(
            "close atoms",
            f"Atoms closer than {ATOMS_OVERLAP} times the sum of their covalent radii.",
            [
                (structures[number].name, f"{radii[number]:.3f} Å")
                for number in sorted(radii, key=lambda number: radii[number])
            ],
        ),
    ]


def _inconsistent(structures: Sequence[Structure], values: Values, limits: Limits) -> list[Finding]:
    def cases(name: str, limit: float, text: Callable[[int], str]) -> list[tuple[str, str]]:
        off = {number: value for number, value in values[name].items() if value > limit}
        worst = sorted(off, key=lambda number: -off[number])
        return [(structures[number].name, text(number)) for number in worst]

    def sized(name: str, limit: float, unit: str) -> list[tuple[str, str]]:
        return cases(name, limit, lambda number: f"{values[name][number]:.3g} {unit}")

    def charges(number: int) -> str:
        total = float(structures[number].system.total_charge)
        charges = np.sum(np.asarray(structures[number].charges))
        return f"charges sum to {charges:+.4g} e, total charge {total:g} e"

    sums = "Charges that do not sum to the total charge."
    forces = "Forces that do not sum to zero: no potential has such forces."
    torques = "Forces that would set a molecule spinning: no potential has such forces."
    return [
        Finding("charge sums", sums, cases("charge_sum", limits.charge_sum, charges)),
        Finding("net forces", forces, sized("net_force", limits.net_force, "eV/Å")),
        Finding("torques", torques, sized("torque", limits.torque, "eV")),
        Finding("stresses", "Not symmetric.", sized("asymmetry", limits.asymmetry, "eV/Å³")),
    ]


def _having(structures: Sequence[Structure], label: str) -> list[int]:
    return [n for n, one in enumerate(structures) if getattr(one, label) is not None]


def _numbers(structure: Structure) -> np.ndarray:
    return np.asarray(structure.system.numbers)


def _largest(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=1).max(initial=0.0))


def _spread(samples: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(samples - np.median(samples))))
