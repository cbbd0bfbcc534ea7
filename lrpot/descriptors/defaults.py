"""A sensible set of symmetry functions for any elements and cutoff."""

from typing import Annotated

import numpy as np

from lrpot.config import Limits, checked
from lrpot.descriptors.acsf import ACSF, Angular, Radial
from lrpot.descriptors.angles import CosinePowers
from lrpot.descriptors.scaling import identity_scaling
from lrpot.descriptors.shells import Channels, Shells
from lrpot.elements import element_numbers
from lrpot.errors import InputError

FIRST_SHELL = 0.8
"""Centre of the innermost radial function, in Å: short of the shortest bond but H-H."""

Reach = Annotated[float, Limits(least=0.1, most=100.0)]
"""A cutoff, in Å. No atom is closer, and what lies further away acts through charges."""

FUNCTIONS_AT_MOST = 20_000
"""Of a set; thousands are slow already."""


@checked("cutoff", "angular_cutoff", "spacing", "shells", "zetas", "function", "weighted", "narrow")
def default_acsf(
    elements: tuple[int | str, ...],
    *,
    cutoff: Reach = 6.0,
    angular_cutoff: Reach | None = None,
    spacing: Annotated[float, Limits(least=1e-3)] = 0.52,
    shells: Annotated[int, Limits(least=1, most=1000)] = 3,
    zetas: tuple[Annotated[float, Limits(above=0.0, most=1000.0)], ...] = (1.0, 2.0, 4.0),
    function: str = "tanh3",
    weighted: bool = False,
    narrow: bool = False,
) -> ACSF:
    """Radial functions in evenly spaced shells and wide angular functions of three reaches.

    Radial functions sit at r_s from 0.8 Å to the cutoff, each as wide as the distance to the
    next one; angular functions are centred at the atom and fall to 1/e within 1 to 0.3 times
    their cutoff. Scale the set with `lrpot.training.calibrate` before use.

    Args:
        elements: Symbols or atomic numbers.
        cutoff: In Å.
        angular_cutoff: Of the angular functions, in Å; the same as `cutoff` when not given.
            Charges gain from a longer reach, forces from a shorter one in the angular part.
        spacing: Distance between radial functions, in Å.
        shells: Number of angular reaches.
        zetas: Powers ζ, each with λ = 1 and λ = -1.
        function: Cutoff function, see `lrpot.cutoffs.CUTOFF_FUNCTIONS`.
        weighted: Weight neighbours by atomic number instead of telling elements apart: the
            number of functions then does not grow with the number of elements.
        narrow: Use narrow (G4) instead of wide (G5) angular functions.
    """
    numbers = element_numbers(elements)
    channels = Channels(() if weighted else numbers)
    angular_cutoff = cutoff if angular_cutoff is None else angular_cutoff
    if not 0 < angular_cutoff <= cutoff or not 0 < spacing < cutoff or shells < 1:
        raise InputError(
            "A default set needs 0 < angular_cutoff <= cutoff, 0 < spacing < cutoff and at least "
            f"one shell, got {angular_cutoff}, {cutoff}, {spacing} and {shells}."
        )
    count = max(1, round((cutoff - FIRST_SHELL) / spacing))
    n_channels, n_pairs = len(channels.names), len(channels.pairs)
    n_functions = n_channels * count + 2 * n_pairs * shells * len(zetas)
    if n_functions > FUNCTIONS_AT_MOST:
        raise InputError(
            f"The set would have {n_functions} symmetry functions, {count} radial ones for each of "
            f"{n_channels} elements and {shells * len(zetas) * 2} angular ones for each of "
            f"{n_pairs} pairs; at most {FUNCTIONS_AT_MOST} are made. Take a larger `spacing`, "
            "fewer `shells` or `zetas`, or `weighted`."
        )
    eta = round(1 / spacing**2, 6)
    radial_shells = tuple((eta, round(FIRST_SHELL + n * spacing, 6)) for n in range(count))
    reaches = angular_cutoff * np.linspace(1.0, 0.3, shells)
    angular_shells = tuple((round(float(1 / reach**2), 6), 0.0) for reach in reaches)
    angles = tuple((sign, float(zeta)) for sign in (1.0, -1.0) for zeta in zetas)
    parts = (
        Radial(channels, Shells(radial_shells, cutoff, function)),
        Angular(
            channels,
            Shells(angular_shells, angular_cutoff, function),
            CosinePowers(angles),
            narrow,
        ),
    )
    n_features = sum(len(part.labels) for part in parts)
    return ACSF(parts, identity_scaling(numbers, n_features))
