"""Cardinal B-splines: charges of atoms on a grid, and values of a grid at atoms."""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int
from scipy.fft import next_fast_len

from lrpot.devices import in_full_precision

ON_PROCESSORS, ON_ACCELERATORS = 1 << 18, 1 << 26
"""Points of the grid that are written or read at once: what fits a cache, or keeps many busy."""

_ALIASES = 4
"""Images of each wave that count in the influence function, to either side."""


class Splines(eqx.Module):
    """What each atom shares with the points of a grid around it.

    Attributes:
        weights: Shares along each axis.
        corner: Channel of the grid, and the first point along each axis.
        n_channels: Number of grids.
        shape: Grid points along each vector of the cell.
    """

    weights: Float[Array, "atoms 3 order"]
    corner: Int[Array, "atoms 4"]
    n_channels: int = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)

    def transform(self, charges: Float[Array, " atoms"]) -> Array:
        """Spectrum of the charges in each channel."""
        order = self.weights.shape[2]
        grown = (self.n_channels, *(size + order - 1 for size in self.shape))
        grid = _spread(grown, self.corner, self.weights, charges)
        # What went beyond the end of an axis belongs to its beginning: slabs, added in place.
        for axis, size in enumerate(self.shape, start=1):
            beyond = lax.slice_in_dim(grid, size, size + order - 1, axis=axis)
            first = (slice(None),) * axis + (slice(0, order - 1),)
            grid = grid.at[first].add(beyond)
        x_size, y_size, z_size = self.shape
        return jnp.fft.rfftn(grid[:, :x_size, :y_size, :z_size], axes=(1, 2, 3))

    def gather(self, grid: Array) -> Float[Array, " atoms"]:
        """Values of a grid by channel at the atoms."""
        order = self.weights.shape[2]
        grid = jnp.pad(grid, ((0, 0), *((0, order - 1) for _ in self.shape)))
        for axis, size in enumerate(self.shape, start=1):
            first = lax.slice_in_dim(grid, 0, order - 1, axis=axis)
            grid = lax.dynamic_update_slice_in_dim(grid, first, size, axis=axis)
        return _gather(grid, self.corner, self.weights)


_OF_CHANNELS = lax.ScatterDimensionNumbers((1, 2, 3, 4), (), (0, 1, 2, 3))
_FROM_CHANNELS = lax.GatherDimensionNumbers((1, 2, 3, 4), (), (0, 1, 2, 3))


def _shares(weights: Array, charges: Array) -> Array:
    """The shares of some atoms in the points around them, times their charges."""
    # As products of matrices, whose derivatives are products of matrices too.
    x, y, z = weights.swapaxes(0, 1)
    order = x.shape[1]
    plane = jnp.einsum("ny,nz->nyz", y, z).reshape(-1, order * order)
    shares = jnp.einsum("nx,na->nxa", charges[:, None] * x, plane)
    return shares.reshape(-1, 1, order, order, order)


def _add_shares(grid: Array, corner: Array, shares: Array) -> Array:
    within = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    return lax.scatter_add(grid, corner, shares, _OF_CHANNELS, mode=within)


def _gather_from(grid: Array, corner: Array, weights: Array) -> Array:
    """Values of the grid at some atoms."""
    x, y, z = weights.swapaxes(0, 1)
    window = (1, *(x.shape[1],) * 3)
    within = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    windows = lax.gather(grid, corner, _FROM_CHANNELS, window, mode=within)
    lines = jnp.einsum("nxyz,nz->nxy", windows[:, 0], z)
    return jnp.einsum("nx,nx->n", jnp.einsum("nxy,ny->nx", lines, y), x)


# Some atoms at a time, so that what is written and read again stays in the cache. The change of a
# grid is carried along, also where it is read only: what a derivative adds to it is then added in
# place. The grid itself is not, or it would be kept once for every round.


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spread(shape: tuple[int, ...], corner: Array, weights: Array, charges: Array) -> Array:
    if jax.default_backend() == "cpu":
        return _spread_one_by_one(shape)(corner, weights, charges)

    def add(grid: Array, some: tuple[Array, ...]) -> tuple[Array, None]:
        place, *values = some
        return _add_shares(grid, place, _shares(*values)), None

    blocks = _in_blocks((corner, weights, charges), weights)
    return lax.scan(add, jnp.zeros(shape, charges.dtype), blocks)[0]


def _spread_one_by_one(shape: tuple[int, ...]) -> Callable[..., Array]:
    """For processors: shares are added where they are made, in a fifth of the time of a scatter.

    It has no derivatives. Systems of a batch take turns, or their windows would be scattered.
    """

    @sequential_vmap
    def spread(corner: Array, weights: Array, charges: Array) -> Array:
        x, y, z = weights.swapaxes(0, 1)
        window = (1, *(x.shape[1],) * 3)

        def add(grid: Array, atom: tuple[Array, ...]) -> tuple[Array, None]:
            place, x, y, z = atom
            shares = x[:, None, None] * y[None, :, None] * z[None, None, :]
            there = lax.dynamic_slice(grid, tuple(place), window)
            return lax.dynamic_update_slice(grid, there + shares[None], tuple(place)), None

        atoms = corner, charges[:, None] * x, y, z
        return lax.scan(add, jnp.zeros(shape, charges.dtype), atoms)[0]

    return spread


@_spread.defjvp
@in_full_precision
def _spread_jvp(shape: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    corner, weights, charges = primals

    def add(grid: Array, some: tuple) -> tuple[Array, None]:
        place, *values = some
        more = jax.jvp(_shares, tuple(values[:2]), tuple(values[2:]))[1]
        return _add_shares(grid, place, more), None

    blocks = _in_blocks((corner, weights, charges, *tangents[1:]), weights)
    change = lax.scan(add, jnp.zeros(shape, charges.dtype), blocks)[0]
    return _spread(shape, *primals), change


@jax.custom_jvp
def _gather(grid: Array, corner: Array, weights: Array) -> Array:
    def read(some: tuple[Array, ...]) -> Array:
        return _gather_from(grid, *some)

    values = lax.map(read, _in_blocks((corner, weights), weights))
    return values.reshape(-1)[: len(corner)]


@_gather.defjvp
@in_full_precision
def _gather_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    grid, corner, weights = primals

    @jax.checkpoint
    def read(moving: Array, some: tuple[Array, ...]) -> tuple[Array, Array]:
        place, here, turning = some

        def values(grid: Array, weights: Array) -> Array:
            return _gather_from(grid, place, weights)

        return moving, jax.jvp(values, (grid, here), (moving, turning))[1]

    blocks = _in_blocks((corner, weights, tangents[2]), weights)
    changes = lax.scan(read, tangents[0], blocks)[1]
    return _gather(*primals), changes.reshape(-1)[: len(corner)]


def _in_blocks(arrays: tuple[Array, ...], weights: Array) -> tuple[Array, ...]:
    return tuple(_blocks(array, weights.shape[2]) for array in arrays)


def _blocks(array: Array, order: int) -> Array:
    """An array by atom, (blocks, atoms in one, ...), filled up with zeros."""
    n_atoms = len(array)
    at_once = ON_PROCESSORS if jax.default_backend() == "cpu" else ON_ACCELERATORS
    n_blocks = max(1, -(-n_atoms * order**3 // at_once))
    size = -(-n_atoms // n_blocks)
    grown = ((0, n_blocks * size - n_atoms),) + ((0, 0),) * (array.ndim - 1)
    return jnp.pad(array, grown).reshape(n_blocks, size, *array.shape[1:])


def splines(
    fractional: Float[Array, "atoms 3"],
    channel: Int[Array, " atoms"],
    *,
    n_channels: int,
    shape: tuple[int, int, int],
    order: int,
) -> Splines:
    """The shares of atoms.

    Args:
        fractional: Positions in units of the cell vectors, anywhere.
        channel: Which grid each atom is on.
        n_channels: Number of grids.
        shape: Grid points along each vector of the cell.
        order: Order of the splines, even: an atom shares in order³ points.
    """
    sizes = jnp.asarray(shape, fractional.dtype)[None, :]
    within = fractional * sizes
    floor = jnp.floor(lax.stop_gradient(within))
    # Wrapped as numbers with a fraction, which in float32 may round to the size itself.
    corner = jnp.mod(floor, sizes).astype(jnp.int32) % jnp.asarray(shape, jnp.int32)[None, :]
    return Splines(
        weights=cardinal_splines(within - floor, order),
        corner=jnp.concatenate([channel[:, None], corner], axis=1),
        n_channels=n_channels,
        shape=shape,
    )


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


def squared_wave_numbers(
    cell: Float[Array, "3 3"], shape: tuple[int, int, int]
) -> Float[Array, "x y z"]:
    """k² of the half spectrum of a grid, in 1/Å²."""
    inverse = jnp.linalg.inv(cell)
    numbers = [np.fft.fftfreq(size, 1 / size) for size in shape[:2]]
    numbers.append(np.fft.rfftfreq(shape[2], 1 / shape[2]))
    k = [
        2 * math.pi * jnp.asarray(n, cell.dtype)[:, None] * inverse[:, axis][None, :]
        for axis, n in enumerate(numbers)
    ]
    return jnp.sum(
        (k[0][:, None, None, :] + k[1][None, :, None, :] + k[2][None, None, :, :]) ** 2, axis=-1
    )


def half_spectrum_sum(values: Float[Array, "x y z"], shape: tuple[int, int, int]) -> Array:
    """Sum over the whole spectrum of what is equal at k and -k.

    Args:
        values: On the half spectrum.
        shape: Points of the grid.
    """
    # The half holds one of each pair, but for the first and the middle plane.
    twice = np.full(shape[2] // 2 + 1, 2.0)
    twice[0] = 1.0
    if shape[2] % 2 == 0:
        twice[-1] = 1.0
    return jnp.sum(jnp.asarray(twice, values.dtype)[None, None, :] * values)


def fast_size(size: int) -> int:
    """The next number of points with a fast transform."""
    return int(next_fast_len(size, real=True))  # pyright: ignore[reportArgumentType]


@functools.lru_cache(maxsize=16)
def spline_factor(shape: tuple[int, int, int], order: int) -> np.ndarray:
    """Π U²/(Σ U²)² on the half spectrum of a grid, with U the transforms of the splines."""
    x, y, z = (_of_axis(size, order) for size in shape)
    return x[:, None, None] * y[:, None] * z[: shape[2] // 2 + 1]


def _of_axis(size: int, order: int) -> np.ndarray:
    """The factor of one axis for every wave number, in the order of a discrete transform."""
    wave = np.fft.fftfreq(size)
    images = wave[:, None] + np.arange(-_ALIASES, _ALIASES + 1)[None, :]
    squares = np.sinc(images) ** (2 * order)
    return squares[:, _ALIASES] / squares.sum(axis=1) ** 2
