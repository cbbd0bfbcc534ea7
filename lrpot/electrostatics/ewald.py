"""Charges in a crystal or slab: the Ewald sum for Gaussian and point charges in any cell.

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

otherwise, with K the kernel of `lrpot.electrostatics.kernels`; a slab adds the term of
`lrpot.electrostatics.slab`. Any s gives the same sum, which is that of the bare Gaussians over
k ≠ 0: positive semidefinite, and right for charged cells in a neutralising background too. Point
charges have σ = 0, K = 1/r and no 1/(√π σ).
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lrpot.electrostatics.kernels import complementary_kernel, self_potential
from lrpot.electrostatics.operator import Operator
from lrpot.electrostatics.slab import SlabTerm, extended_cell, slab_term
from lrpot.environment import Environment, of_neighbors
from lrpot.errors import InputError
from lrpot.system import System
from lrpot.units import KE


class RealSpace(eqx.Module):
    """What a sum has besides its waves: close pairs, self-interaction, background, boundaries."""

    pairs: Float[Array, "atoms neighbors"]
    index: Int[Array, "atoms neighbors"]
    own: Float[Array, " atoms"]
    narrow: Float[Array, " atoms"]
    excess: Float[Array, " atoms"]
    background: Float[Array, ""]
    slab: SlabTerm | None

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in units of kₑ."""
        phi = jnp.sum(self.pairs * of_neighbors(charges, self.index), axis=1) + self.own * charges
        narrow, excess = self.narrow, self.excess
        phi -= self.background * (excess * (narrow @ charges) + narrow * (excess @ charges))
        return phi if self.slab is None else phi + self.slab(charges)

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix."""
        background = self.background * self.excess[:, None] * self.narrow[None, :]
        rows = jnp.arange(len(self.own))
        matrix = -(background + background.T)
        if self.slab is not None:
            matrix += self.slab.matrix()
        matrix = matrix.at[rows[:, None], self.index].add(self.pairs, mode="drop")
        return matrix.at[rows, rows].add(self.own)


def real_space(
    bare: Float[Array, " atoms"] | None,
    dressed: Float[Array, " atoms"],
    narrow: Float[Array, " atoms"],
    volume: Float[Array, ""],
    environment: Environment,
    *,
    cutoff: float,
    slab: SlabTerm | None = None,
) -> RealSpace:
    """Everything but the waves, for given squares of the bare and of the dressed widths.

    Args:
        bare: σ², in Å²; `None` for point charges.
        dressed: s², in Å².
        narrow: 1 for charges whose pairs are dressed, 0 for wide ones.
        volume: Of the cell, in Å³.
        environment: Where the neighbours are.
        cutoff: Range of the pairs, in Å.
        slab: What makes a single slab of a stack of them; `None` in a crystal.
    """
    own = -self_potential(jnp.sqrt(dressed))
    if bare is not None:
        own += self_potential(jnp.sqrt(bare))
    squared = environment.squared_distances
    within = squared < cutoff**2
    if bare is None:  # all wear the same
        pairs = complementary_kernel(squared, jnp.full_like(squared, 2 * dressed[0]))
    else:

        def beyond(squares: Array) -> Array:
            around = of_neighbors(squares, environment.index)
            # Empty slots get the width of the centre: anything positive will do so far away.
            around = jnp.where(around > 0, around, squares[:, None])
            return complementary_kernel(squared, squares[:, None] + around)

        # 0 for empty slots, so that they drop out here.
        both_narrow = narrow[:, None] * of_neighbors(narrow, environment.index)
        within &= both_narrow > 0
        pairs = beyond(dressed) - beyond(bare)
    return RealSpace(
        pairs=jnp.where(within, pairs, 0.0),
        index=environment.index,
        own=own,
        narrow=narrow,
        excess=dressed if bare is None else dressed - bare,
        background=2 * math.pi / volume,
        slab=slab,
    )


class EwaldOperator(Operator):
    """The sum with everything done that does not depend on the charges."""

    real: RealSpace
    cosines: Float[Array, "atoms waves"]
    sines: Float[Array, "atoms waves"]
    dampings: tuple[tuple[Float[Array, "atoms waves"], Float[Array, "atoms waves"]], ...]
    weights: Float[Array, " waves"]
    constant: float = eqx.field(static=True, default=KE)

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        phi = self.real(charges)
        for left, right in self._factors():
            phi += left @ (self.weights * (charges @ right))
        return self.constant * phi

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        waves = sum((left * self.weights[None, :]) @ right.T for left, right in self._factors())
        return self.constant * (self.real.matrix() + waves)

    def _factors(self) -> list[tuple[Array, Array]]:
        """Pairs (L, R) such that the waves contribute Σ L diag(weights) Rᵀ."""
        return [
            (phases * left, phases * right)
            for left, right in self.dampings
            for phases in (self.cosines, self.sines)
        ]


def ewald_operator(
    widths: Float[Array, " atoms"] | None,
    system: System,
    environment: Environment,
    *,
    alpha: float,
    cutoff: float,
    uniform: bool = False,
    constant: float = KE,
) -> EwaldOperator:
    """Potential at the atoms of all charges and their images.

    Linear in the charges, at a cost of atoms · (neighbours + waves). The self-interaction of
    Gaussian charges is included. A charged crystal sits in a uniform neutralising background, and
    the mean potential of its cell is zero. A slab has none: far from it the potential is that of a
    charged sheet, -2π kₑ Q |z|/area, up to a constant of its dipole. Padding atoms must carry no
    charge.

    Args:
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: A crystal or a slab.
        environment: Its environment, with waves.
        alpha: Splitting parameter, in 1/Å. The result does not depend on it.
        cutoff: Range of the real-space sum, in Å.
        uniform: Dress all charges with the width 1/2α, whatever their own: the textbook sum,
            whose real-space part reaches as far as the widest charge does.
        constant: Coulomb constant, in eV Å/e².
    """
    reciprocal = environment.reciprocal
    if system.cell is None or reciprocal is None or reciprocal.waves is None:
        raise InputError(
            "An Ewald sum needs a cell and wave vectors: build the neighbours of a periodic system "
            "with `potential.neighbors(system)`, or with "
            "`neighbor_list(..., reciprocal=coulomb.reciprocal(system))`."
        )
    cell = extended_cell(system, reciprocal)
    narrowest = 1 / (4 * alpha**2)
    bare = None if widths is None else widths**2
    shared = jnp.full_like(system.positions[:, 0], narrowest)
    dressed, narrow = shared, jnp.ones_like(shared)
    if bare is not None and not uniform:
        dressed = jnp.maximum(bare, narrowest)
        narrow = (bare < 2 * narrowest).astype(bare.dtype)

    volume = jnp.linalg.det(cell)
    fractional = system.positions @ jnp.linalg.inv(cell)
    numbers = reciprocal.waves.astype(cell.dtype)
    k_squared = jnp.sum((2 * math.pi * numbers @ jnp.linalg.inv(cell).T) ** 2, axis=-1)
    filled = k_squared > 0
    k_squared = jnp.where(filled, k_squared, 1.0)

    def damping(squares: Array, atoms: Array) -> Array:
        return atoms[:, None] * jnp.exp(-0.5 * squares[:, None] * k_squared[None, :])

    narrow_dressed = damping(dressed, narrow)
    dampings = ((narrow_dressed, narrow_dressed),)
    if bare is not None and not uniform:
        narrow_bare, wide = damping(bare, narrow), damping(bare, 1 - narrow)
        dampings = (*dampings, (wide, narrow_bare + wide), (narrow_bare, wide))
    phases = 2 * math.pi * fractional @ numbers.T
    slab = slab_term(widths, system, reciprocal)
    return EwaldOperator(
        real=real_space(bare, dressed, narrow, volume, environment, cutoff=cutoff, slab=slab),
        cosines=jnp.cos(phases),
        sines=jnp.sin(phases),
        dampings=dampings,
        # The list holds one wave of each pair ±k, so each counts twice.
        weights=jnp.where(filled, 2 * 4 * math.pi / volume / k_squared, 0.0),
        constant=constant,
    )
