"""What `lrpot check` reports: kinds of oddities, and the limits from which on they are reported."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is reported from where on.

    Attributes:
        same: Structures are the same if no distance between atoms differs by more, in Å.
        energy, forces, charges: Labels of the same structure contradict each other above this
            difference, in eV/atom, eV/Å and e.
        spread: An outlier is further from the median than so many robust standard deviations
            (1.48 times the median distance from the median).
        charge_sum: Between the sum of charges and the total charge, in e.
        net_force, torque: Size of their sums over a structure, in eV/Å and eV.
        asymmetry: Between opposite components of the stress, in eV/Å³.
    """

    same: float = 1e-3
    energy: float = 1e-3
    forces: float = 0.02
    charges: float = 0.01
    spread: float = 8.0
    charge_sum: float = 0.01
    net_force: float = 0.05
    torque: float = 0.1
    asymmetry: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of oddity.

    Attributes:
        kind: In a word or two.
        meaning: What it means, in a sentence.
        cases: Names of the structures, and what was found in them, the worst first.
    """

    kind: str
    meaning: str
    cases: list[tuple[str, str]]
