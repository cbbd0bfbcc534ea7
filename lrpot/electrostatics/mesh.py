"""Charges on a mesh: the Ewald sum at a cost of N log N, by smooth particle mesh.

The sum is that of `lrpot.electrostatics.ewald`, with its real-space, self and background terms.
The waves are replaced by a mesh [essmann:95]: charges are spread with cardinal B-splines of even
order p, transformed, multiplied, transformed back and gathered with the same splines,

    φ = Sᵀ G S q,    G(k) = 4π/V exp(-(s² + s'²) k²/2)/k² · Π_a U_a²/(Σ_m U_a²(n_a + m K_a))²,

with U_a = sinc(π n_a/K_a)^p. The last factor is the influence function that makes the error of
the energy least [hockney:88, cerda:08]; it depends on the shape of the mesh alone, so that G is
smooth in the cell. G ≥ 0, so that the map is symmetric and positive semidefinite like the sum.

Widths enter G, one channel of the mesh for each of them: the mesh is as fine as the narrowest
dressed charge needs, and wide Gaussians do not lengthen the real-space part. Charges that are
narrower than the dressing share one channel when there are no wide ones.
"""

import dataclasses
import math

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lrpot.electrostatics.ewald import RealSpace, real_space
from lrpot.electrostatics.operator import Operator
from lrpot.electrostatics.slab import extended_cell, slab_term
from lrpot.electrostatics.splines import (
    Splines,
    half_spectrum_sum,
    spline_factor,
    splines,
    squared_wave_numbers,
)
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.reciprocal import Mesh
from lrpot.system import System
from lrpot.units import KE

ROOM = 1.1
"""A cell may grow by this factor before its mesh is too coarse: errors have doubled by then."""


class Waves(eqx.Module):
    """The smooth part of the sum, on one grid."""

    splines: Splines
    influence: Float[Array, "channels channels x y z"]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in units of kₑ."""
        transformed = self.splines.transform(charges)
        # By sums over channels: XLA makes of the einsum many tiny products, a hundred times slower.
        channels = range(len(self.influence))
        smooth = jnp.asarray(sum(self.influence[:, b] * transformed[b][None] for b in channels))
        grid = jnp.fft.irfftn(smooth, s=self.splines.shape, axes=(1, 2, 3), norm="forward")
        return self.splines.gather(grid)

    def square(self, charges: Float[Array, " atoms"]) -> Float[Array, ""]:
        """The potential times the charges; its gradients cost half of those of the potential."""
        transformed = self.splines.transform(charges)
        channels = range(len(self.influence))
        return jnp.asarray(
            sum(
                half_spectrum_sum(
                    self.influence[a, b] * (transformed[a] * jnp.conj(transformed[b])).real,
                    self.splines.shape,
                )
                for a in channels
                for b in channels
            )
        )


class MeshOperator(Operator):
    """The sum with everything done that does not depend on the charges."""

    real: RealSpace
    waves: Waves
    rough_waves: Waves | None
    constant: float = eqx.field(static=True, default=KE)

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        return self.constant * (self.waves(charges) + self.real(charges))

    @property
    def rough(self) -> "MeshOperator | None":
        """With the coarser grid."""
        rough = self.rough_waves
        return None if rough is None else dataclasses.replace(self, waves=rough, rough_waves=None)

    def energy(self, charges: Float[Array, " atoms"]) -> Float[Array, ""]:
        """½ qᵀφ, in eV; its gradients cost half of those of the potential."""
        return 0.5 * self.constant * (self.waves.square(charges) + charges @ self.real(charges))

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e², column by column."""
        return lax.map(self, jnp.eye(len(self.real.own), dtype=self.real.own.dtype), batch_size=8).T


def mesh_operator(
    widths: Float[Array, " atoms"] | None,
    system: System,
    environment: Environment,
    *,
    cutoff: float,
    constant: float = KE,
) -> MeshOperator:
    """Potential at the atoms of all charges and their images.

    The map of `lrpot.electrostatics.ewald.ewald_operator` at a cost of N log N, for the mesh in
    `environment.reciprocal`.

    Args:
        widths: Standard deviations of the Gaussian charges, in Å, equal for all atoms of a
            channel; `None` for point charges.
        system: A crystal or a slab.
        environment: Its environment, with a mesh. The result is NaN when the cell has outgrown
            it by more than `ROOM`.
        cutoff: Range of the real-space sum, in Å.
        constant: Coulomb constant, in eV Å/e².
    """
    reciprocal = environment.reciprocal
    if system.cell is None or reciprocal is None or reciprocal.mesh is None:
        raise InputError(
            "A particle mesh needs a cell and a mesh: build the neighbours of a periodic system "
            "with `potential.neighbors(system)`, or with "
            "`neighbor_list(..., reciprocal=coulomb.reciprocal(system))`."
        )
    cell, mesh = extended_cell(system, reciprocal), reciprocal.mesh
    narrowest = 1 / (4 * mesh.alpha**2)
    bare = None if widths is None else widths**2
    shared = jnp.full_like(system.positions[:, 0], narrowest)
    dressed = shared if bare is None else jnp.maximum(bare, narrowest)
    narrow = jnp.asarray(mesh.narrow, dtype=shared.dtype)[mesh.channel]

    # All atoms of a channel have one width: its mean, so that derivatives find it.
    members = jnp.where(system.real, 1.0, 0.0).astype(cell.dtype)
    count = jnp.zeros(len(mesh.narrow), cell.dtype).at[mesh.channel].add(members)

    def of_channels(values: Array) -> Array:
        total = jnp.zeros(len(mesh.narrow), cell.dtype).at[mesh.channel].add(members * values)
        return total / jnp.maximum(count, 1.0)

    volume, fractional = jnp.linalg.det(cell), system.positions @ jnp.linalg.inv(cell)
    squares = of_channels(dressed), of_channels(dressed if bare is None else bare)

    def waves(shape: tuple[int, int, int], order: int) -> Waves:
        return Waves(
            splines(
                fractional, mesh.channel, n_channels=len(mesh.narrow), shape=shape, order=order
            ),
            _influence(*squares, cell, mesh, shape, order),
        )

    slab = slab_term(widths, system, reciprocal)
    return MeshOperator(
        real=real_space(bare, dressed, narrow, volume, environment, cutoff=cutoff, slab=slab),
        waves=waves(mesh.shape, mesh.order),
        rough_waves=None if mesh.rough is None else waves(*mesh.rough),
        constant=constant,
    )


def _influence(
    dressed: Array,
    bare: Array,
    cell: Array,
    mesh: Mesh,
    shape: tuple[int, int, int],
    order: int,
) -> Array:
    """G by pair of channels on the half spectrum of a grid."""
    k_squared = squared_wave_numbers(cell, shape)
    filled = k_squared > 0
    k_squared = jnp.where(filled, k_squared, 1.0)
    kernel = jnp.asarray(spline_factor(shape, order), cell.dtype) * jnp.where(
        filled, 4 * math.pi / jnp.linalg.det(cell) / k_squared, 0.0
    )

    def pair(a: int, b: int) -> Array:
        squares = dressed if mesh.narrow[a] and mesh.narrow[b] else bare
        return kernel * jnp.exp(-0.5 * (squares[a] + squares[b]) * k_squared)

    channels = range(len(mesh.narrow))
    found = jnp.stack([jnp.stack([pair(a, b) for b in channels]) for a in channels])
    spacings = jnp.linalg.norm(lax.stop_gradient(cell), axis=1) / jnp.asarray(mesh.shape)
    return jnp.where(jnp.max(spacings) <= ROOM * mesh.spacing, found, jnp.nan)
