"""Charges of atoms on a periodic grid, and values of a grid at atoms, with fast derivatives.

Some atoms at a time, so that what is written and read again stays in the cache.

Spreading and gathering are each the transpose of the other, and so are a change of the shares and
the slopes by the shares. Left to itself, a derivative would find these transposes by taking the
steps of a sum apart, at several times the cost.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int

from lrpot.devices import in_full_precision

ON_PROCESSORS, ON_ACCELERATORS = 1 << 15, 1 << 26
"""Points of the grid that are written or read at once: what fits a cache, or keeps many busy."""

Corner = Int[Array, "atoms 4"]
"""Channel of the grid, and the first point along each axis."""

Weights = Float[Array, "atoms 3 order"]
"""Shares of each atom along each axis."""

Grid = Float[Array, "channels x y z"]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def spread(
    shape: tuple[int, int, int, int],
    corner: Corner,
    weights: Weights,
    charges: Float[Array, " atoms"],
) -> Grid:
    """The charges on a periodic grid of so many channels and points along each axis."""
    if jax.default_backend() == "cpu":
        grown = _grown(shape, weights.shape[2])
        return _folded(_spread_one_by_one(grown)(corner, weights, charges), shape)
    return _added(_shares, shape, corner, weights, charges)


@spread.defjvp
@in_full_precision
def _spread_jvp(shape: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    corner, weights, charges = primals
    more = _with_transpose(
        lambda charges: spread(shape, corner, weights, charges),
        lambda grid: gather(grid, corner, weights),
        tangents[2],
    )
    moved = _with_transpose(
        lambda changes: _spread_changes(shape, corner, weights, changes),
        lambda grid: _slopes(grid, corner, weights),
        charges[:, None, None] * tangents[1],
    )
    return spread(shape, *primals), more + moved


@jax.custom_jvp
def gather(grid: Grid, corner: Corner, weights: Weights) -> Float[Array, " atoms"]:
    """Values of a periodic grid at the atoms, summed with their shares."""
    return _read(_gather_from, grid, corner, weights)


@gather.defjvp
@in_full_precision
def _gather_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    grid, corner, weights = primals
    there = _with_transpose(
        lambda grid: gather(grid, corner, weights),
        lambda charges: spread(grid.shape, corner, weights, charges),
        tangents[0],
    )
    here = jnp.sum(_slopes(grid, corner, weights) * tangents[2], axis=(1, 2))
    return gather(*primals), there + here


def _spread_changes(shape: tuple[int, ...], corner: Array, weights: Array, changes: Array) -> Array:
    """How the grid of unit charges changes with their shares along the axes."""

    def change(weights: Array, changes: Array) -> Array:
        unit = jnp.ones_like(weights[:, 0, 0])
        return jax.jvp(lambda weights: _shares(weights, unit), (weights,), (changes,))[1]

    return _added(change, shape, corner, weights, changes)


@jax.custom_jvp
def _slopes(grid: Array, corner: Array, weights: Array) -> Array:
    """Derivatives of the gathered values by the shares along the axes."""
    return _read(_slopes_from, grid, corner, weights)


@_slopes.defjvp
@in_full_precision
def _slopes_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    grid, corner, weights = primals
    there = _with_transpose(
        lambda grid: _slopes(grid, corner, weights),
        lambda changes: _spread_changes(grid.shape, corner, weights, changes),
        tangents[0],
    )

    @jax.checkpoint
    def change(grid: Array, corner: Array, weights: Array, changes: Array) -> Array:
        def slopes(weights: Array) -> Array:
            return _slopes_from(grid, corner, weights)

        return jax.jvp(slopes, (weights,), (changes,))[1]

    here = _read(change, grid, corner, weights, tangents[2])
    return _slopes(*primals), there + here


def _with_transpose(
    apply: Callable[[Array], Array], transpose: Callable[[Array], Array], values: Array
) -> Array:
    """A linear map T with a transpose of its own; both may depend on anything.

    JAX has this for systems of equations that are symmetric. So T is in one: y = T v solves x = v,
    y - T x = 0, its transpose has Tᵀ in place of T, and the two together are symmetric. What is
    known beforehand, the compiler drops.
    """
    shapes = 2 * (values.shape, jax.eval_shape(apply, values).shape)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def joined(*parts: Array) -> Array:
        return jnp.concatenate([part.reshape(-1) for part in parts])

    def parted(vector: Array) -> list[Array]:
        parts = jnp.split(vector, ends)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def equations(unknowns: Array) -> Array:
        x, y, u, w = parted(unknowns)
        return joined(u - transpose(w), w, x, y - apply(x))

    def solution(_, sides: Array) -> Array:
        u, w, x, y = parted(sides)
        return joined(x, y + apply(x), u + transpose(w), w)

    nothing, none = (jnp.zeros(shape, values.dtype) for shape in shapes[:2])
    sides = joined(nothing, none, values, none)
    return parted(lax.custom_linear_solve(equations, sides, solution, symmetric=True))[1]


def _spread_one_by_one(shape: tuple[int, ...]) -> Callable[..., Array]:
    """For processors: shares are added where they are made, in a fifth of the time of a scatter.

    It has no derivatives. Systems of a batch take turns, or their windows would be scattered.
    """

    @sequential_vmap
    def one_by_one(corner: Array, weights: Array, charges: Array) -> Array:
        x, y, z = weights.swapaxes(0, 1)
        window = (1, *(x.shape[1],) * 3)

        def add(grid: Array, atom: tuple[Array, ...]) -> tuple[Array, None]:
            place, x, y, z = atom
            shares = x[:, None, None] * y[None, :, None] * z[None, None, :]
            there = lax.dynamic_slice(grid, tuple(place), window)
            return lax.dynamic_update_slice(grid, there + shares[None], tuple(place)), None

        atoms = corner, charges[:, None] * x, y, z
        return lax.scan(add, jnp.zeros(shape, charges.dtype), atoms)[0]

    return one_by_one


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


def _windows(grid: Array, corner: Array, order: int) -> Array:
    """What of the grid some atoms have a share in."""
    within = lax.GatherScatterMode.PROMISE_IN_BOUNDS
    window = (1, order, order, order)
    return lax.gather(grid, corner, _FROM_CHANNELS, window, mode=within)[:, 0]


def _gather_from(grid: Array, corner: Array, weights: Array) -> Array:
    """Values of the grid at some atoms."""
    x, y, z = weights.swapaxes(0, 1)
    lines = jnp.einsum("nxyz,nz->nxy", _windows(grid, corner, x.shape[1]), z)
    return jnp.einsum("nx,nx->n", jnp.einsum("nxy,ny->nx", lines, y), x)


def _slopes_from(grid: Array, corner: Array, weights: Array) -> Array:
    """Derivatives of these values by the shares."""
    x, y, z = weights.swapaxes(0, 1)
    windows = _windows(grid, corner, x.shape[1])
    lines = jnp.einsum("nxyz,nz->nxy", windows, z)
    planes = jnp.sum(windows * x[:, :, None, None], axis=1)
    along_x = jnp.sum(lines * y[:, None, :], axis=2)
    along_y = jnp.sum(lines * x[:, :, None], axis=1)
    along_z = jnp.sum(planes * y[:, :, None], axis=1)
    return jnp.stack([along_x, along_y, along_z], axis=1)


def _grown(shape: tuple[int, ...], order: int) -> tuple[int, ...]:
    """Of a grid that goes on beyond the end of its axes, so that no atom is at an end."""
    return shape[0], *(size + order - 1 for size in shape[1:])


def _repeated(grid: Array, order: int) -> Array:
    """A periodic grid that goes on so."""
    grown = _grown(grid.shape, order)
    wide = jnp.pad(grid, [(0, new - old) for new, old in zip(grown, grid.shape, strict=True)])
    for axis, size in enumerate(grid.shape[1:], start=1):
        first = lax.slice_in_dim(wide, 0, order - 1, axis=axis)
        wide = lax.dynamic_update_slice_in_dim(wide, first, size, axis=axis)
    return wide


def _folded(wide: Array, shape: tuple[int, ...]) -> Array:
    """The periodic grid: what went beyond the end of an axis belongs to its beginning."""
    for axis, size in enumerate(shape[1:], start=1):
        beyond = lax.slice_in_dim(wide, size, wide.shape[axis], axis=axis)
        first = (slice(None),) * axis + (slice(0, wide.shape[axis] - size),)
        wide = wide.at[first].add(beyond)
    return wide[:, : shape[1], : shape[2], : shape[3]]


def _added(
    function: Callable[..., Array],
    shape: tuple[int, ...],
    corner: Array,
    weights: Array,
    values: Array,
) -> Array:
    """The grid of what a function of weights and values adds to the windows of the atoms."""

    def add(grid: Array, some: tuple[Array, ...]) -> tuple[Array, None]:
        place, *here = some
        within = lax.GatherScatterMode.PROMISE_IN_BOUNDS
        return lax.scatter_add(grid, place, function(*here), _OF_CHANNELS, mode=within), None

    order = weights.shape[2]
    blocks = tuple(_blocks(array, order) for array in (corner, weights, values))
    wide = jnp.zeros(_grown(shape, order), values.dtype)
    return _folded(lax.scan(add, wide, blocks)[0], shape)


def _read(
    function: Callable[..., Array], grid: Array, corner: Array, weights: Array, *others: Array
) -> Array:
    """What a function of a grid and of some atoms finds, atom by atom."""
    order = weights.shape[2]
    wide = _repeated(grid, order)
    blocks = tuple(_blocks(array, order) for array in (corner, weights, *others))
    found = lax.map(lambda some: function(wide, *some), blocks)
    return found.reshape(-1, *found.shape[2:])[: len(corner)]


def _blocks(array: Array, order: int) -> Array:
    """An array by atom, (blocks, atoms in one, ...), filled up with zeros."""
    n_atoms = len(array)
    at_once = ON_PROCESSORS if jax.default_backend() == "cpu" else ON_ACCELERATORS
    n_blocks = max(1, -(-n_atoms * order**3 // at_once))
    size = -(-n_atoms // n_blocks)
    grown = ((0, n_blocks * size - n_atoms),) + ((0, 0),) * (array.ndim - 1)
    return jnp.pad(array, grown).reshape(n_blocks, size, *array.shape[1:])
