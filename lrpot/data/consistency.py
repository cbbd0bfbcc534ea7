"""Whether energies change by the work of forces and stresses, and if not, by which factor.

Two neighbouring structures with displacement Δr and strain Δε must have energies that differ by
−F̄ · Δr + V σ̄ : Δε, with the means of forces and stresses at both ends. Over many pairs the factors
a and b of ΔE = a (−F̄ · Δr) + b (V σ̄ : Δε) are fitted. Both are 1 for right labels, −1 for an
opposite sign, and the ratio of two units where labels are in another unit.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lrpot.data.findings import Finding
from lrpot.data.steps import FARTHEST, Step, by_kind
from lrpot.elements import SYMBOLS
from lrpot.units import BAR, BOHR, GPA, HARTREE, KCAL_PER_MOL, KJ_PER_MOL

FEWEST, ENOUGH = 4, 8
"""Pairs that it takes to name a unit or a sign, and to say that there is none that fits."""

SMALLEST_CHANGE, CERTAIN_CHANGE = 1e-4, 1e-3
"""Pairs are compared if energy or work changes by more than the first, in eV times √atoms: less may
be noise. That energies have nothing to do with the work is only said of more than the second."""

ROUNDING = 0.02
"""Uncertainty of work beside that of a long step, relative to the work."""

EXPLAINED, UNEXPLAINED = 0.35, 0.5
"""Median difference between energy and work, in uncertainties of the work: below the first the
fitted factors explain the energies, above the second the work itself does not. Correct reference
data have 0.01 to 0.2; forces that have nothing to do with the energies have more than 1."""

TOLERANCE = 0.3
"""Difference of a factor from 1 that is put down to the length of the steps."""

_ENERGIES = {
    "Ha": HARTREE,
    "Ry": HARTREE / 2,
    "kcal/mol": KCAL_PER_MOL,
    "kJ/mol": KJ_PER_MOL,
    "meV": 1e-3,
}

FORCE_FACTORS = {
    **{f"energies in {name} beside forces in eV/Å": 1 / size for name, size in _ENERGIES.items()},
    **{f"forces in {name}/Å beside energies in eV": size for name, size in _ENERGIES.items()},
    **{
        f"forces in {name}/bohr beside energies in eV": _ENERGIES[name] / BOHR
        for name in ("Ha", "Ry")
    },
    "forces per bohr (Ha and Ha/bohr, or eV and eV/bohr) beside positions in Å": 1 / BOHR,
    "positions in bohr beside forces per Å": BOHR,
    "energies in kcal/mol beside forces in Ha/bohr": HARTREE / BOHR / KCAL_PER_MOL,
    "energies in kJ/mol beside forces in Ha/bohr": HARTREE / BOHR / KJ_PER_MOL,
}
"""Change of the energy per work of the forces, for what may be in another unit."""

STRESS_FACTORS = {
    "stresses in kBar": 1e3 * BAR,
    "stresses in GPa": GPA,
    "stresses in bar": BAR,
    "stresses in Ha/bohr³": HARTREE / BOHR**3,
    "stresses in Ry/bohr³": HARTREE / 2 / BOHR**3,
    "energies in Ha beside stresses in eV/Å³": 1 / HARTREE,
}


@dataclasses.dataclass(frozen=True)
class Fit:
    """How energies depend on the work of the forces and of the stress.

    Attributes:
        factors: Change of the energy per work of the forces and per work of the stress.
        errors: Their uncertainties; infinite where nothing is known.
        unexplained: Median difference between energies and work times the factors, in
            uncertainties of the work.
        off: The same for factors of 1.
    """

    factors: np.ndarray
    errors: np.ndarray
    unexplained: float
    off: float


def compare_energies(steps: Sequence[Step]) -> tuple[list[Finding], list[str]]:
    """Compare the changes of the energies with the work of forces and stresses.

    Args:
        steps: From `lrpot.data.steps.steps_between`.

    Returns:
        What does not agree, and a sentence about what was compared.
    """
    used = [step for step in steps if _comparable(step)]
    groups, rest = [], []
    for kind, members in by_kind(used):
        if len(members) >= FEWEST:
            groups.append((_formula(kind), kind, members))
        else:
            rest += members
    if len(rest) >= FEWEST:
        groups.append(("other structures", None, rest))
    forces, stresses, counts = [], [], [0, 0, 0]
    for name, kind, members in groups:
        fit = fit_work(members)
        where = f"{len(members)} pairs of {name}"
        per_atom = {} if kind is None else {"energies per atom": 1 / len(kind[0])}
        texts = [
            _text(fit, 0, "forces", FORCE_FACTORS | per_atom, len(members)),
            _text(fit, 1, "stress", STRESS_FACTORS, len(members)),
        ]
        if fit.unexplained > EXPLAINED:
            texts = [_unrelated([one for one in members if _size(one) > CERTAIN_CHANGE]), ""]
        for cases, text in zip((forces, stresses), texts, strict=True):
            if text:
                cases.append((where, text))
        verdict = 1 if any(texts) else 2 if fit.errors.min() > 1 else 0
        counts[verdict] += len(members)
    findings = [
        Finding(
            "energies and forces",
            "Between neighbouring structures, energies do not change by the work of the forces: "
            "forces must be −dE/dr.",
            forces,
        ),
        Finding(
            "energies and stresses",
            "Between neighbouring structures, energies do not change by the work of the stress: "
            "it must be dE/dstrain/volume, in eV/Å³ and positive under tension.",
            stresses,
        ),
    ]
    return findings, [_compared(*counts)]


def fit_work(steps: Sequence[Step]) -> Fit:
    """Fit the factors of work by least absolute deviations, in uncertainties of the work."""
    work = np.array([(one.work, one.strain_work) for one in steps])
    spread = np.array([(one.work_spread, one.strain_spread) for one in steps])
    spread = spread + ROUNDING * np.abs(work)
    change = np.array([one.change for one in steps])
    factors = np.ones(2)
    for _ in range(4):  # uncertainties of the work in the units of the energies
        scale = _uncertainty(spread, factors)
        factors = _least_deviations(work / scale[:, None], change / scale)
    scale = _uncertainty(spread, factors)
    columns, left = work / scale[:, None], (change - work @ factors) / scale
    few = np.sqrt(len(left) / max(len(left) - 2, 1))
    deviation = 1.4826 * few * float(np.median(np.abs(left)))
    errors = np.full(2, np.inf)
    for column in range(2):
        size = float(np.median(np.abs(columns[:, column])))
        other = columns[:, 1 - column]
        alone = columns[:, column] - other * _slope(other, columns[:, column])
        independent = float(np.linalg.norm(alone))
        if size > 1e-6 and independent > 1e-3 * np.linalg.norm(columns[:, column]):
            # The second part bounds what anharmonic steps have in common.
            errors[column] = 5 * deviation / independent + deviation / size
    return Fit(
        factors,
        errors,
        unexplained=float(np.median(np.abs(left))),
        off=float(np.median(np.abs(change - work.sum(axis=1)) / _uncertainty(spread, np.ones(2)))),
    )


def _uncertainty(spread: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.maximum(spread @ np.maximum(np.abs(factors), 1e-6), 1e-12)


def _least_deviations(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Factors with the least sum of absolute deviations, by reweighted least squares."""
    weights = np.ones(len(target))
    factors = np.zeros(columns.shape[1])
    for _ in range(30):
        root = np.sqrt(weights)
        factors = np.linalg.lstsq(columns * root[:, None], target * root, rcond=1e-10)[0]
        left = np.abs(target - columns @ factors)
        weights = 1 / np.maximum(left, 1e-6 * max(float(np.abs(target).max()), 1e-12))
    return factors


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / (x @ x)) if (x @ x) > 0 else 0.0


def _comparable(step: Step) -> bool:
    """Whether the labels predict how the energy changes, and it is more than noise."""
    known = (step.strain < 1e-6 or step.has_stress) and (step.moved < 1e-3 or step.has_forces)
    return known and bool(np.isfinite(step.change)) and _size(step) > SMALLEST_CHANGE


def _size(step: Step) -> float:
    """The largest change of energy or work, in eV by √atoms."""
    changes = np.array([step.change, step.work, step.strain_work])
    return float(np.abs(changes).max() / np.sqrt(step.n_atoms))


def _text(fit: Fit, column: int, label: str, known: Mapping[str, float], pairs: int) -> str:
    """What is wrong with one factor, in words, or nothing."""
    factor, error = fit.factors[column], fit.errors[column]
    if not np.isfinite(error) or abs(factor - 1) <= max(TOLERANCE, error):
        return ""
    if abs(factor) <= 1e-8:
        return f"energies do not change at all, whatever the work of the {label}"
    if error > abs(factor) / 2:
        return ""
    text = f"energies change by {factor:.3g} times the work of the {label}"
    names = explanations(factor, error / abs(factor), known, label)
    if names:
        return f"{text}, as with {' or '.join(names)}"
    return text if pairs >= ENOUGH and abs(np.log(abs(factor))) > 1 else ""


def explanations(
    factor: float, error: float, known: Mapping[str, float], label: str = "forces"
) -> list[str]:
    """What a factor may come from, the nearest first; not more than three.

    Args:
        factor: Change of the energy per work.
        error: Its relative uncertainty.
        known: Factors of what may be wrong.
        label: Of what has the opposite sign where the factor is negative.
    """
    opposite = f"{label} of opposite sign" if factor < 0 else ""
    ratios = {name: abs(np.log(abs(factor) / value)) for name, value in known.items()}
    if opposite:
        ratios[""] = abs(np.log(abs(factor)))
    near = [name for name in ratios if ratios[name] <= max(0.05, min(error, 0.5))]
    names = sorted(near, key=lambda name: ratios[name])[:3]
    if "" in names:
        return [opposite]
    return [f"{name} and {opposite}" if opposite else name for name in names]


def _unrelated(steps: Sequence[Step]) -> str:
    """What is wrong if no factor makes the work of the forces explain the energies."""
    if len(steps) < ENOUGH:
        return ""
    fit = fit_work(steps)
    if fit.off <= UNEXPLAINED or fit.unexplained <= EXPLAINED:
        return ""
    return (
        f"the differences between energies and work are {fit.off:.2g} times what the length of the "
        "steps explains, and no factor mends it"
    )


def _compared(agree: int, differ: int, unclear: int) -> str:
    pairs = agree + differ + unclear
    if not pairs:
        return (
            "Energies could not be compared with the work of forces and stresses: there are too "
            f"few pairs of structures with the same atoms that differ by less than {FARTHEST} Å."
        )
    return (
        f"Energies were compared with the work of forces and stresses over {pairs} pairs of "
        f"neighbouring structures: {agree} agree, {differ} do not, {unclear} are too far apart to "
        "tell."
    )


def _formula(kind: tuple) -> str:
    numbers, charge, _ = kind
    counts = Counter(SYMBOLS[number] for number in numbers)
    formula = "".join(f"{name}{counts[name] if counts[name] > 1 else ''}" for name in counts)
    return f"{formula}, charge {charge:g} e"
