"""From one requested accuracy to the parameters of an Ewald sum."""

import math

from lrpot.errors import InputError


def ewald_parameters(accuracy: float, cutoff: float) -> tuple[float, float]:
    """Splitting parameter and wave cutoff for a given real-space cutoff.

    What is left out decays as exp(-α² r²) in real and exp(-k²/4α²) in reciprocal space. Both
    are taken to `accuracy`/10, the tenth being a margin for slowly convergent forces; tests
    compare the outcome with converged sums over random systems.

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
    decay = math.sqrt(-math.log(accuracy / 10))
    alpha = decay / cutoff
    return alpha, 2 * alpha * decay
