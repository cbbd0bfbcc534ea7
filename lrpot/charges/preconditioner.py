"""Approximate inverses of the matrix M = A + diag(J) of an equilibration.

The stiff modes of M are long waves of charge, with energies up to 4πkₑN/(V k²): they make plain
conjugate gradients slow in proportion to the longest edge of the cell. Their part of M is known in
closed form, F Fᵀ with one column for the cosine and one for the sine of each wave,

    F_ik = (8πkₑ/V k²)^½ exp(-σ_i² k²/2) cos k·r_i    (one wave of each pair ±k).

In a slab another column is the dipole across it, see `lrpot.electrostatics.slab`. What remains is
taken to be diagonal: J, and the shorter waves, whose sum is an integral from some wave number c on,

    D_i = J_i + kₑ erfc(c σ_i)/(√π σ_i),    J_i - 2kₑc/π for a point charge.

The preconditioner is the exact inverse of D + F Fᵀ,

    B = D⁻¹ - D⁻¹F (1 + FᵀD⁻¹F)⁻¹ FᵀD⁻¹,

symmetric and positive definite whatever the atoms do. Without waves it is Jacobi's. In a large cell
F holds the longest waves alone, and those between them and c go through a coarse mesh, U B Uᵀ, see
`lrpot.charges.medium_waves`: the iterations do not grow with the cell.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.charges.medium_waves import MediumWaves, coarse_shape, medium_waves
from lrpot.electrostatics import self_potential
from lrpot.electrostatics.slab import extended_cell, slab_term
from lrpot.reciprocal import Reciprocal, wave_indices
from lrpot.system import System

SHORTEST = 1.4
"""Largest wave number in F, in 1/Å: beyond, one more wave does little for the iterations."""

MOST_COLUMNS = 300
"""Largest number of columns of F, those of the longest waves: preparing them costs its square."""

SHORTEST_OF_MESH = 0.8
"""Largest wave number on the coarse mesh, in 1/Å: shorter waves see single atoms. The mesh is for
cells in which even these would be too many for F."""

MOST_BESIDE_MESH = 150
"""Columns of F where there is a coarse mesh."""


class LongWaves(eqx.Module):
    """The inverse of D + F Fᵀ.

    Attributes:
        inverse: D⁻¹.
        columns: D⁻¹F; `None` without waves.
        factor: Cholesky factor of 1 + FᵀD⁻¹F.
        medium: U, for the waves that are not in F.
    """

    inverse: Float[Array, " atoms"]
    columns: Float[Array, "atoms columns"] | None
    factor: Float[Array, "columns columns"] | None
    medium: MediumWaves | None = None

    def __call__(self, residual: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """In e, for a residual in eV/e."""
        if self.medium is None:
            return self._of_columns(residual)
        return self.medium(self._of_columns(self.medium.transposed(residual)))

    def _of_columns(self, residual: Array) -> Array:
        found = self.inverse * residual
        if self.columns is None or self.factor is None:
            return found
        amplitudes = jax.scipy.linalg.cho_solve((self.factor, True), residual @ self.columns)
        return found - self.columns @ amplitudes


def long_waves(
    hardness: Float[Array, " atoms"],
    widths: Float[Array, " atoms"] | None,
    system: System,
    reciprocal: Reciprocal | None,
    constant: float,
) -> LongWaves:
    """Prepare the preconditioner.

    Args:
        hardness: J, in eV/e².
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: The atoms.
        reciprocal: With the longest waves, or not.
        constant: Coulomb constant, in eV Å/e².
    """
    columns, last = None, jnp.zeros((), hardness.dtype)
    if reciprocal is not None and reciprocal.longest is not None:
        columns, last = _columns(widths, system, reciprocal, constant)
        if reciprocal.coarse is not None:
            last = jnp.full_like(last, SHORTEST_OF_MESH)
    if widths is None:
        rest = hardness - 2 * constant / math.pi * last
    else:
        rest = hardness + constant * self_potential(widths) * jax.scipy.special.erfc(widths * last)
    inverse = 1 / jnp.where(rest > 0, rest, jnp.where(hardness > 0, hardness, 1.0))
    if columns is None or reciprocal is None:
        return LongWaves(inverse, None, None)
    scaled = inverse[:, None] * columns
    small = jnp.eye(columns.shape[1], dtype=columns.dtype) + columns.T @ scaled
    medium = None
    if reciprocal.coarse is not None:
        settings = dict(shortest=SHORTEST_OF_MESH, constant=constant)
        medium = medium_waves(inverse, widths, system, reciprocal, **settings)
    return LongWaves(inverse, scaled, jnp.linalg.cholesky(small), medium)


def _columns(
    widths: Array | None, system: System, reciprocal: Reciprocal, constant: float
) -> tuple[Float[Array, "atoms columns"], Float[Array, ""]]:
    """F, with 0 for padding atoms and empty slots, and the wave number where it ends."""
    assert reciprocal.longest is not None
    cell = extended_cell(system, reciprocal)
    inverse, volume = jnp.linalg.inv(cell), jnp.linalg.det(cell)
    numbers = reciprocal.longest.astype(inverse.dtype)
    k_squared = jnp.sum((2 * math.pi * numbers @ inverse.T) ** 2, axis=-1)
    filled = k_squared > 0
    weights = 8 * math.pi * constant / volume
    heights = jnp.where(filled, jnp.sqrt(weights / jnp.where(filled, k_squared, 1.0)), 0.0)
    damped = heights[None, :] * system.real[:, None].astype(inverse.dtype)
    if widths is not None:
        damped = damped * jnp.exp(-0.5 * widths[:, None] ** 2 * k_squared[None, :])
    phases = 2 * math.pi * (system.positions @ inverse) @ numbers.T
    columns = [damped * jnp.cos(phases), damped * jnp.sin(phases)]
    slab = slab_term(widths, system, reciprocal)
    if slab is not None:
        columns.append(jnp.where(system.real, math.sqrt(constant) * slab.column(), 0.0)[:, None])
    # The sphere that holds k = 0 and both of each pair.
    last = jnp.cbrt(6 * math.pi**2 * (2 * filled.sum() + 1) / volume)
    return jnp.concatenate(columns, axis=1), last


def with_long_waves(reciprocal: Reciprocal, cell: np.ndarray) -> Reciprocal:
    """What the preconditioner needs of a cell, besides what the sum needs; plain numpy."""
    columns_at_1 = abs(np.linalg.det(cell)) / (6 * math.pi**2)
    crowded = columns_at_1 * SHORTEST_OF_MESH**3 > MOST_COLUMNS
    coarse, most, shortest = None, MOST_COLUMNS, SHORTEST
    if crowded and reciprocal.mesh is not None:
        coarse = coarse_shape(cell, SHORTEST_OF_MESH)
        most, shortest = MOST_BESIDE_MESH, SHORTEST_OF_MESH
    shortest = min(shortest, (most / columns_at_1) ** (1 / 3))
    # A few more than are kept: the count above holds on average over all shapes of a cell.
    waves = wave_indices(cell, 1.2 * shortest)
    lengths = np.linalg.norm(2 * np.pi * waves @ np.linalg.inv(cell).T, axis=1)
    kept = np.argsort(lengths, kind="stable")[: most // 2]
    longest = jnp.asarray(waves[kept[lengths[kept] <= SHORTEST]])
    return dataclasses.replace(reciprocal, longest=longest, coarse=coarse)
