"""Cardinal B-splines: the shares of atoms in the points of a grid."""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.fft import next_fast_len

from lrpot.electrostatics.grid import gather, spread

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
        shape = (self.n_channels, *self.shape)
        return jnp.fft.rfftn(spread(shape, self.corner, self.weights, charges), axes=(1, 2, 3))

    def gather(self, grid: Array) -> Float[Array, " atoms"]:
        """Values of a grid by channel at the atoms."""
        return gather(grid, self.corner, self.weights)


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
    x, y, z = (
        k[0][:, None, None, axis] + k[1][None, :, None, axis] + k[2][None, None, :, axis]
        for axis in range(3)
    )
    return x**2 + y**2 + z**2


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
