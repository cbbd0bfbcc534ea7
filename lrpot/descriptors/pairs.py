"""Angular sums that need every pair of neighbours: narrow functions, and any other power ζ.

The pairs that contribute are packed first, so that everything expensive runs over them and over
nothing else. Packing is a part of the sum and not of the neighbour list: a list has a skin and
empty slots, and a capacity could overflow. Here there is room for all pairs, and blocks that stay
empty are skipped.
"""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int, UInt

from lrpot.descriptors.angles import AngularFunctions
from lrpot.descriptors.shells import Channels, RadialFunctions
from lrpot.environment import FAR, Environment

Grid = tuple[Channels, RadialFunctions, AngularFunctions]
"""Functions that are products: of channels, functions of the sides and functions of the angle."""

TILE_SHIFT = 7
"""Pairs of one atom are summed up in tiles of 2^7. Its last tile may be filled in part."""

PAIRS_PER_SLOT = 4
"""Pairs that are worked on at a time, for each slot of the neighbour list: as much as fits a cache
if the list does."""

IN_BOUNDS: Any = dict(mode="promise_in_bounds", wrap_negative_indices=False)

KEPT = "pairs"
"""Name of what differentiation keeps of a chunk: packed pairs take longer to find than to fetch."""

MARGIN = 1e-5
"""Pairs are chosen in single precision, by squares that may be too large by this part."""

RUN = 16
"""Pairs are counted in runs of this length, and runs are then added up."""

COUNTABLE = 1 << 24
"""Single precision knows all whole numbers below."""


class Pairs(eqx.Module):
    """Pairs of neighbours of some atoms, in tiles that belong to one atom each.

    Attributes:
        slots: Slots j and k of each pair, as the number j · 2^b + k with b bits enough for a slot.
        atom: To which atom a tile belongs.
        filled: How many pairs of a tile there are.
        n_blocks: How many blocks of tiles are in use; they come first.
    """

    slots: UInt[Array, "blocks tiles pairs"]
    atom: Int[Array, "blocks tiles"]
    filled: Int[Array, "blocks tiles"]
    n_blocks: Int[Array, ""]


def pair_sums(
    environment: Environment, grids: Sequence[Grid], *, cutoff: float, narrow: bool
) -> list[Float[Array, "atoms pairs functions"]]:
    """Angular sums over unordered pairs j<k of neighbours, one pair after the other.

    The same sums as `lrpot.descriptors.moments.moment_sums`, for any angular function. Grids
    that are summed together share the search for pairs and the geometry of each.

    Args:
        environment: Of the atoms.
        grids: What to sum; one result for each.
        cutoff: Where the functions of the sides end, in Å.
        narrow: Whether the third side r_jk has its factor too.
    """
    n_atoms, n_slots = environment.index.shape
    dtype = environment.dtype
    sizes = [
        (len(channels.pairs), len(shells.labels) * len(angles.labels))
        for channels, shells, angles in grids
    ]
    nothing = [jnp.zeros((n_atoms, *size), dtype) for size in sizes]
    if n_slots < 2:
        return nothing
    pairs = checkpoint_name(near_pairs(environment.vectors, cutoff, narrow=narrow), KEPT)
    n_blocks, _, tile = pairs.slots.shape
    bits = n_slots.bit_length()
    numbers = environment.neighbors.reshape(-1)
    components = [along.reshape(-1) for along in environment.components]
    lengths = environment.distances.reshape(-1)
    # Cutoff functions and their slopes.
    ones = jnp.ones_like(lengths)
    tables = [jax.jvp(shells.cut, (lengths,), (ones,)) for _, shells, _ in grids]

    # Computing a block again takes less time than keeping what lies between.
    @jax.checkpoint
    def block(slots: Array, atom: Array, filled: Array) -> list[Array]:
        real = jnp.arange(tile, dtype=jnp.int32)[None, :] < filled[:, None]
        slots = slots.astype(jnp.int32)
        row = n_slots * atom[:, None]
        ends = [
            functools.partial(_pick, index=row + slot)
            for slot in (slots >> bits, slots & ((1 << bits) - 1))
        ]
        vectors = [[end(one) for one in components] for end in ends]
        sides = [_length(vector, end(lengths)) for vector, end in zip(vectors, ends, strict=True)]
        cosines, third = _triangle(*vectors, *sides, real)
        sums = []
        for zeros, table, (channels, shells, angles) in zip(nothing, tables, grids, strict=True):
            value, slope = table
            cuts = [
                _looked_up(end(value), end(slope), side)
                for end, side in zip(ends, sides, strict=True)
            ]
            if narrow:
                radial = shells.products([*sides, third], [*cuts, shells.cut(third)])
            else:
                radial = shells.products(sides, cuts)
            first, second = (end(numbers) for end in ends)
            weights = channels.pair_weights(first, second, dtype)
            weights = jnp.where(real[:, None, :], weights, 0)
            by_tile = jnp.einsum("tcp,tfp->tcf", weights, _products(radial, angles(cosines)))
            sums.append(zeros.at[atom].add(by_tile))
        return sums

    @jax.checkpoint
    def add_block(sums: list[Array], number: Array) -> tuple[list[Array], None]:
        here = pairs.slots[number], pairs.atom[number], pairs.filled[number]
        new = jax.lax.cond(number < pairs.n_blocks, block, lambda *_: nothing, *here)
        return [old + more for old, more in zip(sums, new, strict=True)], None

    return jax.lax.scan(add_block, nothing, jnp.arange(n_blocks, dtype=jnp.int32))[0]


def near_pairs(vectors: Float[Array, "atoms neighbors 3"], cutoff: float, *, narrow: bool) -> Pairs:
    """Pairs of neighbours that may contribute, each once, packed to the front.

    Args:
        vectors: To at least two neighbours, in Å.
        cutoff: Largest length of a side, in Å.
        narrow: Whether r_jk is such a side.
    """
    n_atoms, n_slots = vectors.shape[:2]
    n_pairs = n_slots * (n_slots - 1) // 2
    shift = min(TILE_SHIFT, (n_pairs - 1).bit_length())
    tile = 1 << shift
    per_block = max(1, PAIRS_PER_SLOT * n_atoms * n_slots // tile)
    n_blocks = -(-n_atoms * -(-n_pairs // tile) // per_block)
    room = n_blocks * per_block * tile

    # Pairs (j, j + m) around a circle of an odd number of slots: each of them once.
    odd = n_slots | 1
    half = odd // 2
    limit = np.float32((1 + MARGIN) * cutoff**2)
    places = jax.lax.stop_gradient(vectors).astype(jnp.float32)
    places = jnp.pad(places, ((0, 0), (0, odd - n_slots), (0, 0)), constant_values=FAR)
    places = [places[:, :, axis] for axis in range(3)]
    inside = _square(places) < limit
    near = inside[:, :, None] & _following(inside, half)
    if narrow:
        steps = [one[:, :, None] - _following(one, half) for one in places]
        near = near & (_square(steps) < limit)

    # Every atom begins a tile, and in it the pairs follow each other: count them, run by run.
    whole = -(-half // RUN) * RUN
    near = jnp.pad(near, ((0, 0), (0, 0), (0, whole - half))).reshape(n_atoms, -1, RUN)
    of_run = jnp.sum(near, axis=-1, dtype=jnp.int32)
    up_to_run = jnp.cumsum(of_run, axis=-1)
    count = up_to_run[:, -1]
    tiles = (count + tile - 1) >> shift
    end = jnp.cumsum(tiles)
    start_of_run = ((end - tiles) << shift)[:, None] + up_to_run - of_run
    # One product counts within runs and adds where they start, if it can.
    added = start_of_run if room < COUNTABLE else jnp.zeros_like(start_of_run)
    before = np.concatenate([np.triu(np.ones((RUN, RUN)), 1), np.ones((1, RUN))])
    counted = jnp.concatenate([near, added[:, :, None]], axis=-1, dtype=jnp.float32)
    rank = jnp.matmul(
        counted.reshape(-1, RUN + 1), jnp.asarray(before, jnp.float32), precision="highest"
    ).astype(jnp.int32)
    rank = rank + (start_of_run - added).reshape(-1, 1)

    # There is one place more, which takes the pairs left out.
    target = jnp.where(near.reshape(-1, RUN), rank, room).reshape(-1)
    first = np.arange(odd)
    second = (first[:, None] + 1 + np.arange(half)[None, :]) % odd
    codes = (first[:, None] << n_slots.bit_length()) + np.pad(second, ((0, 0), (0, whole - half)))
    codes = np.broadcast_to(codes.reshape(1, -1), (n_atoms, codes.size)).reshape(-1)
    slots = jnp.zeros(room + 1, jnp.uint16 if codes.max() < 1 << 16 else jnp.uint32)
    slots = slots.at[target].set(jnp.asarray(codes, slots.dtype), **IN_BOUNDS)

    number = jnp.arange(n_blocks * per_block, dtype=jnp.int32)
    atom = jnp.sum(number[:, None] >= end[None, :], axis=1, dtype=jnp.int32)
    atom = jnp.minimum(atom, n_atoms - 1)
    filled = jnp.clip(count[atom] - ((number - (end - tiles)[atom]) << shift), 0, tile)
    return Pairs(
        slots=slots[:room].reshape(n_blocks, per_block, tile),
        atom=atom.reshape(n_blocks, per_block),
        filled=filled.reshape(n_blocks, per_block),
        n_blocks=-(-end[-1] // per_block),
    )


@jax.custom_jvp
def _products(radial: list[Array], angular: list[Array]) -> Array:
    """[tiles, functions, pairs]: every radial with every angular function."""
    products = [r * a for r in radial for a in angular]
    values = jnp.zeros((len(products[0]), len(products), products[0].shape[1]), products[0].dtype)
    for number, row in enumerate(products):
        values = jax.lax.dynamic_update_slice_in_dim(values, row[:, None, :], number, axis=1)
    return values


@_products.defjvp
def _products_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # Written row by row, and so summed up row by row when transposed: faster than reductions.
    radial, angular = (
        list(zip(*both, strict=True)) for both in zip(primals, tangents, strict=True)
    )
    rows = [dr * a + r * da for r, dr in radial for a, da in angular]
    return _products(*primals), jnp.stack(rows, axis=1)


# What is known of each neighbour is looked up, but differentiated through the vectors of a pair: of
# all that is looked up, only their components then collect derivatives. And where JAX would
# multiply by a reciprocal, these rules divide: XLA repeats a product, with all that leads to it, in
# each of the six components, while it computes a quotient once.


@jax.custom_jvp
def _length(vector: list[Array], length: Array) -> Array:
    """The length of a vector, which is known."""
    del vector
    return length


@_length.defjvp
def _length_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    vector, length = primals
    return length, _dot(vector, tangents[0]) / length


@jax.custom_jvp
def _looked_up(value: Array, slope: Array, side: Array) -> Array:
    """The value of a function of a side, which is known with its slope."""
    del slope, side
    return value


@_looked_up.defjvp
def _looked_up_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, slope, _ = primals
    return value, slope * tangents[2]


@jax.custom_jvp
def _triangle(
    first: list[Array], second: list[Array], one: Array, other: Array, real: Array
) -> tuple[Array, Array]:
    """Cosine between two vectors of known lengths, and the distance of their ends."""
    cosines = _dot(first, second) / (one * other)
    across = [a - b for a, b in zip(first, second, strict=True)]
    return cosines, jnp.sqrt(jnp.where(real, _dot(across, across), 1.0))


@_triangle.defjvp
def _triangle_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    first, second, one, other, _ = primals
    d_first, d_second, d_one, d_other, _ = tangents
    cosines, third = _triangle(*primals)
    across = [a - b for a, b in zip(first, second, strict=True)]
    d_across = [a - b for a, b in zip(d_first, d_second, strict=True)]
    turned = (_dot(d_first, second) + _dot(first, d_second)) / (one * other)
    stretched = cosines * (d_one / one + d_other / other)
    return (cosines, third), (turned - stretched, _dot(across, d_across) / third)


def _following(values: Array, half: int) -> Array:
    """[atoms, slots, half]: the values of the next slots, around the circle."""
    twice = jnp.concatenate([values, values], axis=1)
    window = functools.partial(jax.lax.dynamic_slice_in_dim, twice, slice_size=half, axis=1)
    return jax.vmap(window, out_axes=1)(1 + jnp.arange(values.shape[1], dtype=jnp.int32))


def _pick(table: Array, *, index: Array) -> Array:
    return table.at[index].get(**IN_BOUNDS)


def _dot(first: list[Array], second: list[Array]) -> Array:
    return functools.reduce(jnp.add, [a * b for a, b in zip(first, second, strict=True)])


def _square(components: list[Array]) -> Array:
    return _dot(components, components)
