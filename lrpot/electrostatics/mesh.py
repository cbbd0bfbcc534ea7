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

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lrpot.electrostatics.ewald import RealSpace, real_space
from lrpot.electrostatics.slab import extended_cell, slab_term
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.reciprocal import Mesh
from lrpot.system import System
from lrpot.units import KE

_ALIASES = 4
"""Images of each wave that count in the influence function, to either side."""

ROOM = 1.1
"""A cell may grow by this factor before its mesh is too coarse: errors have doubled by then."""


class MeshOperator(eqx.Module):
    """The sum with everything done that does not depend on the charges."""

    real: RealSpace
    weights: Float[Array, "3 atoms order"]
    corner: Int[Array, "atoms 4"]
    influence: Float[Array, "channels channels x y z"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    constant: float = eqx.field(static=True, default=KE)

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        transformed = self._transform(charges)
        if len(self.influence) == 1:
            smooth = self.influence[0] * transformed
        else:
            smooth = jnp.einsum("abxyz,bxyz->axyz", self.influence, transformed)
        grid = jnp.fft.irfftn(smooth, s=self.shape, axes=(1, 2, 3), norm="forward")
        return self.constant * (self._gather(grid) + self.real(charges))

    def energy(self, charges: Float[Array, " atoms"]) -> Float[Array, ""]:
        """½ qᵀφ, in eV; its gradients cost half of those of the potential."""
        transformed = self._transform(charges)
        # Of each pair ±k, half of the spectrum holds one, but for the first and the middle plane.
        last = self.shape[2]
        twice = np.full(last // 2 + 1, 2.0)
        twice[0] = 1.0
        if last % 2 == 0:
            twice[-1] = 1.0
        channels = range(len(self.influence))
        smooth = sum(
            jnp.sum(
                jnp.asarray(twice, charges.dtype)[None, None, :]
                * self.influence[a, b]
                * (transformed[a] * jnp.conj(transformed[b])).real
            )
            for a in channels
            for b in channels
        )
        return 0.5 * self.constant * (smooth + charges @ self.real(charges))

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e², column by column."""
        return lax.map(self, jnp.eye(len(self.corner), dtype=self.weights.dtype), batch_size=8).T

    def _transform(self, charges: Array) -> Array:
        """Spectrum of the charges in each channel."""
        x, y, z = self.weights
        order = x.shape[1]
        # As products of matrices, whose derivatives are products of matrices too.
        plane = jnp.einsum("ny,nz->nyz", y, z).reshape(-1, order * order)
        spread = jnp.einsum("nx,na->nxa", charges[:, None] * x, plane)
        spread = spread.reshape(-1, 1, order, order, order)
        grid = jnp.zeros(
            (len(self.influence), *(size + order - 1 for size in self.shape)), charges.dtype
        )
        grid = lax.scatter_add(
            grid,
            self.corner,
            spread,
            lax.ScatterDimensionNumbers((1, 2, 3, 4), (), (0, 1, 2, 3)),
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )
        for axis, size in enumerate(self.shape, start=1):
            inside, beyond = jnp.split(grid, [size], axis=axis)
            head, tail = jnp.split(inside, [order - 1], axis=axis)
            grid = jnp.concatenate([head + beyond, tail], axis=axis)
        return jnp.fft.rfftn(grid, axes=(1, 2, 3))

    def _gather(self, grid: Array) -> Array:
        """Values of a grid by channel at the atoms."""
        x, y, z = self.weights
        order = x.shape[1]
        for axis in (1, 2, 3):
            first = lax.slice_in_dim(grid, 0, order - 1, axis=axis)
            grid = jnp.concatenate([grid, first], axis=axis)
        windows = lax.gather(
            grid,
            self.corner,
            lax.GatherDimensionNumbers((1, 2, 3, 4), (), (0, 1, 2, 3)),
            (1, order, order, order),
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )
        lines = jnp.einsum("nxyz,nz->nxy", windows[:, 0], z)
        return jnp.einsum("nx,nx->n", jnp.einsum("nxy,ny->nx", lines, y), x)


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

    corner, weights = _splines(system.positions @ jnp.linalg.inv(cell), mesh.shape, mesh.order)
    volume = jnp.linalg.det(cell)
    slab = slab_term(widths, system, reciprocal)
    return MeshOperator(
        real=real_space(bare, dressed, narrow, volume, environment, cutoff=cutoff, slab=slab),
        weights=weights,
        corner=jnp.concatenate([mesh.channel[:, None], corner], axis=1),
        influence=_influence(bare, dressed, cell, volume, system.real, mesh),
        shape=mesh.shape,
        constant=constant,
    )


def _splines(fractional: Array, shape: tuple[int, int, int], order: int) -> tuple[Array, Array]:
    """First of the points around each atom, along each axis, and its share in all of them."""
    sizes = jnp.asarray(shape, fractional.dtype)[None, :]
    within = fractional * sizes
    floor = jnp.floor(lax.stop_gradient(within))
    beyond = within - floor
    # Wrapped as numbers with a fraction, which in float32 may round to the size itself.
    corner = jnp.mod(floor, sizes).astype(jnp.int32) % jnp.asarray(shape, jnp.int32)[None, :]
    return corner, cardinal_splines(beyond, order).swapaxes(0, 1)


def cardinal_splines(beyond: Float[Array, "*shape"], order: int) -> Float[Array, "*shape order"]:
    """Values M_p(x + p - 1), …, M_p(x) of the cardinal B-spline of order p at 0 ≤ x < 1.

    They are the shares of p consecutive points in a charge at distance x beyond the first one,
    which the points' offset makes p/2 - 1 too far: a shift common to all atoms, without effect
    where charges are spread and potentials gathered alike.
    """
    values = [1 - beyond, beyond]
    for degree in range(3, order + 1):
        before = [*values, jnp.zeros_like(beyond)]
        previous = [jnp.zeros_like(beyond), *values]
        # values[j] is M at beyond + (degree - 1 - j).
        values = [
            (
                (beyond + (degree - 1 - j)) * previous[j]
                + (degree - (beyond + (degree - 1 - j))) * before[j]
            )
            / (degree - 1)
            for j in range(degree)
        ]
    return jnp.stack(values, axis=-1)


def _influence(
    bare: Array | None,
    dressed: Array,
    cell: Array,
    volume: Array,
    real: Array,
    mesh: Mesh,
) -> Array:
    """G by pair of channels on the half spectrum of the mesh."""
    inverse = jnp.linalg.inv(cell)
    numbers = [np.fft.fftfreq(size, 1 / size) for size in mesh.shape[:2]]
    numbers.append(np.fft.rfftfreq(mesh.shape[2], 1 / mesh.shape[2]))
    k = [
        2 * math.pi * jnp.asarray(n, cell.dtype)[:, None] * inverse[:, axis][None, :]
        for axis, n in enumerate(numbers)
    ]
    k_squared = jnp.sum(
        (k[0][:, None, None, :] + k[1][None, :, None, :] + k[2][None, None, :, :]) ** 2, axis=-1
    )
    filled = k_squared > 0
    k_squared = jnp.where(filled, k_squared, 1.0)
    x, y, z = (_spline_factor(size, mesh.order) for size in mesh.shape)
    factor = x[:, None, None] * y[None, :, None] * z[None, None, : len(numbers[2])]
    kernel = jnp.asarray(factor, cell.dtype) * jnp.where(
        filled, 4 * math.pi / volume / k_squared, 0.0
    )

    # All atoms of a channel have one width: its mean, so that derivatives find it.
    members = jnp.where(real, 1.0, 0.0).astype(cell.dtype)
    count = jnp.zeros(len(mesh.narrow), cell.dtype).at[mesh.channel].add(members)

    def of_channels(values: Array) -> Array:
        total = jnp.zeros(len(mesh.narrow), cell.dtype).at[mesh.channel].add(members * values)
        return total / jnp.maximum(count, 1.0)

    dressed = of_channels(dressed)
    bare = dressed if bare is None else of_channels(bare)

    def pair(a: int, b: int) -> Array:
        squares = dressed if mesh.narrow[a] and mesh.narrow[b] else bare
        return kernel * jnp.exp(-0.5 * (squares[a] + squares[b]) * k_squared)

    channels = range(len(mesh.narrow))
    found = jnp.stack([jnp.stack([pair(a, b) for b in channels]) for a in channels])
    spacings = jnp.linalg.norm(lax.stop_gradient(cell), axis=1) / jnp.asarray(mesh.shape)
    return jnp.where(jnp.max(spacings) <= ROOM * mesh.spacing, found, jnp.nan)


@functools.lru_cache(maxsize=64)
def _spline_factor(size: int, order: int) -> np.ndarray:
    """U²/(Σ U²)² of one axis for every wave number, in the order of a discrete transform."""
    wave = np.fft.fftfreq(size)
    images = wave[:, None] + np.arange(-_ALIASES, _ALIASES + 1)[None, :]
    squares = np.sinc(images) ** (2 * order)
    return squares[:, _ALIASES] / squares.sum(axis=1) ** 2
