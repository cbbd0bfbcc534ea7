"""Charges in empty space: all pairs, no cutoff."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.electrostatics.kernels import coulomb_kernel
from lrpot.electrostatics.operator import Operator
from lrpot.units import KE


def open_matrix(
    positions: Float[Array, "atoms 3"], widths: Float[Array, " atoms"] | None
) -> Float[Array, "atoms atoms"]:
    """Potential at i of a unit charge at j, kₑ erf(r_ij/√2γ_ij)/r_ij with γ² = σ_i² + σ_j².

    The diagonal is the self-interaction kₑ/(√π σ_i) of a Gaussian, 0 for point charges. The
    matrix is symmetric, and positive definite for Gaussian charges.

    Args:
        positions: In Å.
        widths: Standard deviations σ of the Gaussian charges, in Å; `None` for point charges.

    Returns:
        In eV/e².
    """
    separations = positions[:, None, :] - positions[None, :, :]
    r_squared = jnp.sum(separations**2, axis=-1)
    gamma_squared = None if widths is None else widths[:, None] ** 2 + widths[None, :] ** 2
    return KE * coulomb_kernel(r_squared, gamma_squared)


class OpenOperator(Operator):
    """Charges in empty space, by their matrix."""

    full: Float[Array, "atoms atoms"]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        return self.full @ charges

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        return self.full
