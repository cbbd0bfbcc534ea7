"""From one requested accuracy to the parameters of an Ewald sum or a particle mesh."""

import math

import numpy as np

from lrpot.electrostatics.splines import fast_size
from lrpot.errors import InputError

SPACINGS = (0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
"""Products of splitting parameter and mesh spacing, for `MESH_ERRORS`."""

MESH_ERRORS = {
    4: (2.4e-3, 8.7e-3, 2.1e-2, 5.1e-2, 1.2e-1, 3.2e-1),
    6: (1.4e-5, 1.4e-4, 9.0e-4, 5.1e-3, 2.8e-2, 6.2e-2),
    8: (2.3e-7, 7.6e-6, 1.2e-4, 1.5e-3, 1.8e-2, 3.2e-2),
    10: (7.5e-9, 7.3e-7, 2.8e-5, 6.3e-4, 1.3e-2, 2.7e-2),
    12: (2.8e-10, 8.2e-8, 8.2e-6, 3.0e-4, 9.6e-3, 2.6e-2),
}
"""Relative force error of the mesh by order of the splines, for rock salt whose ions are 0.1 Å off
their sites: small forces out of large ones. Random charges have a tenth of it."""

REAL_ERROR = 8.0
"""Error that exp(-α² r²) at the cutoff stands for, in the same salt."""

_COSTS = {"point": 4e-9, "wave": 1.2e-9, "pair": 60e-9}
"""Seconds for a spline point, a mesh point (times the logarithm of their number) and a pair of
neighbours, energy and forces, on one core: only their ratios matter."""


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


def mesh_spacing(accuracy: float, order: int) -> float:
    """Largest product of splitting parameter and mesh spacing that keeps an accuracy.

    Args:
        accuracy: Relative force error.
        order: Order of the splines, a key of `MESH_ERRORS`.
    """
    errors, spacings = np.log(MESH_ERRORS[order]), np.log(SPACINGS)
    wanted = math.log(accuracy)
    if wanted < errors[0]:
        # Below the table by the power law of its finest spacings.
        slope = (spacings[1] - spacings[0]) / (errors[1] - errors[0])
        return math.exp(spacings[0] + slope * (wanted - errors[0]))
    return math.exp(np.interp(wanted, errors, spacings))


def mesh_splitting(accuracy: float, cutoff: float, widths: np.ndarray) -> float:
    """Splitting parameter α of a mesh for a given real-space cutoff, in 1/Å.

    Half of the squared error is left to either side. Charges narrower than 1/2α are dressed to
    that width, and what is left of a pair decays as exp(-α² r²); with a width between 1/2α and
    1/√2α only as exp(-α² r²/1.5).

    Args:
        accuracy: Relative force error.
        cutoff: Real-space cutoff, in Å.
        widths: Standard deviations of the charges, in Å; 0 for point charges.
    """
    alpha = math.sqrt(math.log(math.sqrt(2) * REAL_ERROR / accuracy)) / cutoff
    between = (widths > 1 / (2 * alpha)) & (widths < 1 / (math.sqrt(2) * alpha))
    return math.sqrt(1.5) * alpha if between.any() else alpha


def mesh_shape(
    accuracy: float, alpha: float, cell: np.ndarray, n_atoms: int, n_channels: int
) -> tuple[tuple[int, int, int], int, float, float]:
    """Points along each vector of the cell, order of the splines, largest spacing, and the cost.

    The order is the one that costs least.

    Args:
        accuracy: Relative force error.
        alpha: Splitting parameter, in 1/Å.
        cell: Lattice vectors as rows, in Å.
        n_atoms: Number of charges to be spread.
        n_channels: Number of widths, each with a mesh.
    """

    def of_order(order: int) -> tuple[float, int, float, tuple[int, int, int]]:
        spacing = mesh_spacing(accuracy / math.sqrt(2), order) / alpha
        x, y, z = (max(math.ceil(edge / spacing), order) for edge in np.linalg.norm(cell, axis=1))
        shape = fast_size(x), fast_size(y), fast_size(z)
        points = math.prod(shape)
        cost = _COSTS["point"] * n_atoms * order**3
        return (
            cost + _COSTS["wave"] * n_channels * points * math.log2(points),
            order,
            spacing,
            shape,
        )

    cost, order, spacing, shape = min(of_order(order) for order in MESH_ERRORS)
    return shape, order, spacing, cost


def pair_cost(n_atoms: int, density: float, cutoff: float) -> float:
    """What the real-space sum costs, in the unit of `mesh_shape`.

    Args:
        n_atoms: Number of atoms.
        density: Atoms per Å³.
        cutoff: In Å.
    """
    return _COSTS["pair"] * n_atoms * density * 4 / 3 * math.pi * cutoff**3
