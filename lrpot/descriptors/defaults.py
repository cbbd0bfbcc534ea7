"""A sensible set of symmetry functions for any elements and cutoff."""

import numpy as np

from lrpot.descriptors.acsf import ACSF, Angular, Radial, Shells
from lrpot.descriptors.scaling import identity_scaling
from lrpot.elements import element_numbers


def default_acsf(
    elements: tuple[int | str, ...],
    *,
    cutoff: float = 6.0,
    radial: int = 10,
    shells: int = 3,
    zetas: tuple[float, ...] = (1.0, 2.0, 4.0),
    function: str = "tanh3",
    weighted: bool = False,
    narrow: bool = False,
) -> ACSF:
    """Radial functions in evenly spaced shells and wide angular functions of three reaches.

    Radial functions sit at r_s from 0.8 Å to the cutoff, each as wide as the distance to the
    next one; angular functions are centred at the atom and fall to 1/e within a fraction of
    the cutoff. Scale the set with `lrpot.training.calibrate` before use.

    Args:
        elements: Symbols or atomic numbers.
        cutoff: In Å.
        radial: Number of radial functions per neighbour element.
        shells: Number of angular reaches.
        zetas: Powers ζ, each with λ = 1 and λ = -1.
        function: Cutoff function, see `lrpot.descriptors.cutoffs.CUTOFF_FUNCTIONS`.
        weighted: Weight neighbours by atomic number instead of telling elements apart: the
            number of functions then does not grow with the number of elements.
        narrow: Use narrow (G4) instead of wide (G5) angular functions.
    """
    numbers = element_numbers(elements)
    channels = () if weighted else numbers
    centers = np.linspace(0.8, cutoff, radial + 1)[:-1]
    width = centers[1] - centers[0] if radial > 1 else cutoff / 2
    radial_shells = tuple((round(float(1 / width**2), 6), round(float(at), 6)) for at in centers)
    reaches = cutoff * np.linspace(1.0, 0.3, shells)
    angular_shells = tuple((round(float(1 / reach**2), 6), 0.0) for reach in reaches)
    angles = tuple((sign, float(zeta)) for sign in (1.0, -1.0) for zeta in zetas)
    parts = (
        Radial(Shells(channels, radial_shells, cutoff, function)),
        Angular(Shells(channels, angular_shells, cutoff, function), angles, narrow),
    )
    n_features = sum(len(part.labels) for part in parts)
    return ACSF(parts, identity_scaling(numbers, n_features))
