"""From one requested accuracy to the parameters of an Ewald sum."""

import math

from lrpot.errors import InputError


def ewald_parameters(accuracy: float, cutoff: float) -> tuple[float, float]:
    """Splitting parameter and wave cutoff for a given real-space cutoff.

    What is left out decays as exp(-k²/4α²) in reciprocal space, and in real space at the latest
    as exp(-α² r²/1.5): that is between a point and a Gaussian that just counts as narrow, see
    `lrpot.electrostatics.ewald`. Both are taken to `accuracy`/30, a margin for ions near their
    lattice sites, whose forces are small differences of large ones; tests compare the outcome with
    converged sums over random systems and over such a salt.

    Args:
        accuracy: Requested relative error of the electrostatic forces.
        cutoff: Real-space cutoff, in Å.

    Returns:
        α in 1/Å and the largest wave number in 1/Å.
    """
    if not 1e-15 <= accuracy <= 1e-1:
        raise InputError(
            f"`accuracy` is a relative force error between 1e-15 and 1e-1, got {accuracy!r}."
        )
    if not cutoff > 0:
        raise InputError(f"The real-space cutoff must be positive (Å), got {cutoff!r}.")
    decay = math.sqrt(-math.log(accuracy / 30))
    alpha = math.sqrt(1.5) * decay / cutoff
    return alpha, 2 * alpha * decay
