"""Charges in a crystal: the Ewald sum for Gaussian and point charges in any cell.

Every narrow charge is dressed with a Gaussian of width s_i = max(σ_i, 1/2α). Pairs of narrow
charges are summed in reciprocal space with the widths s; what is left between the bare and the
dressed pair is short-ranged. A wide charge, σ_i ≥ 1/√2α, is smooth enough for the waves as it is,
and so is its potential at any other charge: its pairs take their own widths and have no
real-space part, which would reach as far as the widest charge does. In units of kₑ the matrix is

    A_ij = 4π/V Σ_{k≠0} exp(-(σ_i² + σ_j²) k²/2) cos(k·r_ij)/k²,         one of i, j being wide,

    A_ij = 4π/V Σ_{k≠0} exp(-(s_i² + s_j²) k²/2) cos(k·r_ij)/k²                     (waves)
         + Σ'_n [K(r_ijn, σ_i² + σ_j²) - K(r_ijn, s_i² + s_j²)]                    (real space)
         + δ_ij [1/(√π σ_i) - 1/(√π s_i)]                                          (self)
         - 2π/V (s_i² + s_j² - σ_i² - σ_j²)                                        (background)

otherwise, with K the kernel of `lrpot.electrostatics.kernels`. Any s gives the same sum, which is
that of the bare Gaussians over k ≠ 0: positive semidefinite, and right for charged cells in a
neutralising background too. Point charges have σ = 0, K = 1/r and no 1/(√π σ).
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.electrostatics.kernels import coulomb_kernel, self_potential
from lrpot.environment import Environment, of_neighbors
from lrpot.errors import InputError
from lrpot.system import System
from lrpot.units import KE


class _Pieces(eqx.Module):
    """Everything of the sum that does not depend on the charges."""

    real: Float[Array, "atoms neighbors"]
    cosines: Float[Array, "atoms waves"]
    sines: Float[Array, "atoms waves"]
    dampings: tuple[tuple[Float[Array, "atoms waves"], Float[Array, "atoms waves"]], ...]
    weights: Float[Array, " waves"]
    own: Float[Array, " atoms"]
    narrow: Float[Array, " atoms"]
    excess: Float[Array, " atoms"]
    background: Float[Array, ""]

    @property
    def factors(self) -> list[tuple[Array, Array]]:
        """Pairs (L, R) such that the waves contribute Σ L diag(weights) Rᵀ."""
        return [
            (phases * left, phases * right)
            for left, right in self.dampings
            for phases in (self.cosines, self.sines)
        ]


def ewald_potential(
    charges: Float[Array, " atoms"],
    widths: Float[Array, " atoms"] | None,
    system: System,
    environment: Environment,
    *,
    alpha: float,
    cutoff: float,
) -> Float[Array, " atoms"]:
    """Potential at the atoms of all charges and their images, in eV/e.

    Linear in the charges, at a cost of atoms · (neighbours + waves). The self-interaction of
    Gaussian charges is included. A charged cell sits in a uniform neutralising background, and
    the mean potential of the cell is zero.

    Args:
        charges: In e; padding atoms must carry 0.
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: Periodic system.
        environment: Its environment, with waves.
        alpha: Splitting parameter, in 1/Å. The result does not depend on it.
        cutoff: Range of the real-space sum, in Å.
    """
    pieces = _pieces(widths, system, environment, alpha=alpha, cutoff=cutoff)
    phi = jnp.sum(pieces.real * of_neighbors(charges, environment.index), axis=1)
    for left, right in pieces.factors:
        phi += left @ (pieces.weights * (charges @ right))
    phi += pieces.own * charges
    narrow, excess = pieces.narrow, pieces.excess
    phi -= pieces.background * (excess * (narrow @ charges) + narrow * (excess @ charges))
    return KE * phi


def ewald_matrix(
    widths: Float[Array, " atoms"] | None,
    system: System,
    environment: Environment,
    *,
    alpha: float,
    cutoff: float,
    uniform: bool = False,
) -> Float[Array, "atoms atoms"]:
    """The matrix of `ewald_potential`, in eV/e².

    Arguments as there. With `uniform` all charges are dressed with the width 1/2α, whatever their
    own: the textbook sum, whose real-space part reaches as far as the widest charge does.
    """
    pieces = _pieces(widths, system, environment, alpha=alpha, cutoff=cutoff, uniform=uniform)
    matrix = sum((left * pieces.weights[None, :]) @ right.T for left, right in pieces.factors)
    background = pieces.excess[:, None] * pieces.narrow[None, :]
    matrix -= pieces.background * (background + background.T)
    rows = jnp.arange(system.n_atoms)
    matrix = matrix.at[rows[:, None], environment.index].add(pieces.real, mode="drop")
    return KE * matrix.at[rows, rows].add(pieces.own)


def _pieces(
    widths: Array | None,
    system: System,
    environment: Environment,
    *,
    alpha: float,
    cutoff: float,
    uniform: bool = False,
) -> _Pieces:
    cell, waves = system.cell, environment.waves
    if cell is None or waves is None:
        raise InputError(
            "An Ewald sum needs a cell and wave vectors: build the neighbours of a periodic system "
            "with `neighbor_list(..., wave_cutoff=...)` or `potential.neighbors(system)`."
        )
    narrowest = 1 / (4 * alpha**2)
    if widths is None:
        bare, dressed = None, jnp.full_like(system.positions[:, 0], narrowest)
        narrow = jnp.ones_like(dressed)
        own = -self_potential(jnp.sqrt(dressed))
    else:
        bare = widths**2
        dressed = jnp.full_like(bare, narrowest) if uniform else jnp.maximum(bare, narrowest)
        narrow = ((bare < 2 * narrowest) | uniform).astype(bare.dtype)
        own = self_potential(widths) - self_potential(jnp.sqrt(dressed))

    volume = jnp.linalg.det(cell)
    fractional = system.positions @ jnp.linalg.inv(cell)
    numbers = waves.astype(cell.dtype)
    k_squared = jnp.sum((2 * math.pi * numbers @ jnp.linalg.inv(cell).T) ** 2, axis=-1)
    filled = k_squared > 0
    k_squared = jnp.where(filled, k_squared, 1.0)
    # The list holds one wave of each pair ±k, so each counts twice.
    weights = jnp.where(filled, 2 * 4 * math.pi / volume / k_squared, 0.0)

    def damping(squares: Array, atoms: Array) -> Array:
        return atoms[:, None] * jnp.exp(-0.5 * squares[:, None] * k_squared[None, :])

    narrow_dressed = damping(dressed, narrow)
    dampings = ((narrow_dressed, narrow_dressed),)
    if bare is not None and not uniform:
        narrow_bare, wide = damping(bare, narrow), damping(bare, 1 - narrow)
        dampings = (*dampings, (wide, narrow_bare + wide), (narrow_bare, wide))
    phases = 2 * math.pi * fractional @ numbers.T

    distances_squared = jnp.sum(environment.vectors**2, axis=-1)

    def pair(squares: Array | None) -> Array:
        gamma = None
        if squares is not None:
            around = of_neighbors(squares, environment.index)
            # Empty slots get the width of the centre: anything positive will do at that distance.
            around = jnp.where(around > 0, around, squares[:, None])
            gamma = squares[:, None] + around
        return coulomb_kernel(distances_squared, gamma)

    # 0 for empty slots, so that they drop out here.
    both_narrow = narrow[:, None] * of_neighbors(narrow, environment.index)
    within = (distances_squared < cutoff**2) & (both_narrow > 0)
    return _Pieces(
        real=jnp.where(within, pair(bare) - pair(dressed), 0.0),
        cosines=jnp.cos(phases),
        sines=jnp.sin(phases),
        dampings=dampings,
        weights=weights,
        own=own,
        narrow=narrow,
        excess=dressed if bare is None else dressed - bare,
        background=2 * math.pi / volume,
    )
