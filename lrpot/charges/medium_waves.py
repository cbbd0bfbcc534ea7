"""The waves that are too many for a matrix and too long for a diagonal, on a coarse mesh.

The part of M = A + diag(J) from the waves of a shell, D + S G S†, is nearly diagonal in them where
atoms are spread evenly: with T(k) = Σ_i exp(-σ_i² k²)/D_i, wave k takes the factor 1 + T G. So
charges are spread on a coarse mesh, multiplied and gathered,

    U = 1 - D⁻¹ S g S†,    g(k) = (1 - (1 + T G)^-½)/T,

and U D⁻¹ U† is close to the inverse of D + S G S†: each U does the square root of it, so that the
product stays positive semidefinite wherever the atoms are. Where they fill a part of the cell only,
they see a denser crystal than its average, and T is multiplied by that.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.electrostatics.slab import extended_cell
from lrpot.electrostatics.splines import (
    Splines,
    fast_size,
    half_spectrum_sum,
    spline_factor,
    splines,
    squared_wave_numbers,
)
from lrpot.reciprocal import Reciprocal
from lrpot.system import System

ORDER = 4
"""Of the splines; the mesh need not be accurate."""

SPACING = 2.0
"""Product of the shortest waves' k and the spacing of the mesh."""


class MediumWaves(eqx.Module):
    """The map U.

    Attributes:
        inverse: D⁻¹, 0 for padding atoms.
        splines: Shares of the atoms in the points of the mesh.
        damping: exp(-σ² k²/2) by channel, that is by width.
        response: g over the transforms of the splines.
    """

    inverse: Float[Array, " atoms"]
    splines: Splines
    damping: Float[Array, "channels x y z"]
    response: Float[Array, "x y z"]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """U q, in e."""
        return charges - self.inverse * self._smooth(charges)

    def transposed(self, residual: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """U† r, in eV/e."""
        return residual - self._smooth(self.inverse * residual)

    def _smooth(self, charges: Array) -> Array:
        """S g S†."""
        amplitudes = jnp.sum(self.damping * self.splines.transform(charges), axis=0)
        spectrum = self.damping * (self.response * amplitudes)[None]
        return self.splines.gather(
            jnp.fft.irfftn(spectrum, s=self.splines.shape, axes=(1, 2, 3), norm="forward")
        )


def medium_waves(
    inverse: Float[Array, " atoms"],
    widths: Float[Array, " atoms"] | None,
    system: System,
    reciprocal: Reciprocal,
    *,
    shortest: float,
    constant: float,
) -> MediumWaves:
    """Prepare the map for all waves up to a number, but for those in `reciprocal.longest`.

    Args:
        inverse: D⁻¹, in e²/eV.
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: The atoms.
        reciprocal: With a mesh, whose channels are those of the coarse one too.
        shortest: Largest wave number, in 1/Å.
        constant: Coulomb constant, in eV Å/e².
    """
    shape, mesh, longest = reciprocal.coarse, reciprocal.mesh, reciprocal.longest
    assert shape is not None
    assert mesh is not None
    assert longest is not None
    inverse = jnp.where(system.real, inverse, 0.0)
    cell = extended_cell(system, reciprocal)
    shares = splines(
        system.positions @ jnp.linalg.inv(cell),
        mesh.channel,
        n_channels=len(mesh.narrow),
        shape=shape,
        order=ORDER,
    )
    k_squared = squared_wave_numbers(cell, shape)
    factor = jnp.asarray(spline_factor(shape, ORDER), inverse.dtype)

    def by_channel(values: Array) -> Array:
        sums = jnp.zeros(len(mesh.narrow), inverse.dtype).at[mesh.channel].add(values)
        return sums[:, None, None, None]

    weights = by_channel(inverse)
    damping = jnp.ones((len(mesh.narrow), *k_squared.shape), inverse.dtype)
    if widths is not None:
        squares = by_channel(inverse * widths**2) / jnp.where(weights > 0, weights, 1.0)
        damping = jnp.exp(-0.5 * squares * k_squared[None])

    # How much denser than on average it is around the atoms, over lengths of the longest waves
    # that are left: 1 in a crystal, 2 in a slab with as much empty space.
    vectors = 2 * math.pi * longest.astype(cell.dtype) @ jnp.linalg.inv(cell).T
    blurred = factor * jnp.exp(-k_squared / jnp.max(jnp.sum(vectors**2, axis=-1)))
    density = jnp.abs(shares.transform(inverse).sum(axis=0)) ** 2
    denser = half_spectrum_sum(blurred * density, shape) / inverse.sum() ** 2

    of_waves = denser * jnp.sum(weights * damping**2, axis=0)
    filled = k_squared > 0
    coulomb = 4 * math.pi * constant / jnp.linalg.det(cell) / jnp.where(filled, k_squared, 1.0)
    response = (1 - 1 / jnp.sqrt(1 + of_waves * coulomb)) / of_waves
    left = filled & (k_squared <= shortest**2) & _but_for(longest, shape)
    return MediumWaves(inverse, shares, damping, jnp.where(left, factor * response, 0.0))


def coarse_shape(cell: np.ndarray, shortest: float) -> tuple[int, int, int]:
    """Points of the coarse mesh along each vector of the cell.

    Args:
        cell: Lattice vectors as rows, in Å.
        shortest: Largest wave number, in 1/Å.
    """
    edges = np.linalg.norm(cell, axis=1)
    x, y, z = (max(math.ceil(shortest * edge / SPACING), ORDER) for edge in edges)
    return fast_size(x), fast_size(y), fast_size(z)


def _but_for(waves: Array, shape: tuple[int, int, int]) -> Array:
    """Mask of the half spectrum without some waves and their negatives."""
    mask = jnp.ones(shape, bool)
    for signed in (waves, -waves):
        mask = mask.at[tuple((signed % jnp.asarray(shape, waves.dtype)[None, :]).T)].set(False)
    return mask[:, :, : shape[2] // 2 + 1]
