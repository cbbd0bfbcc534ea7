"""The dense neighbour list.

Lists are built here outside compiled code, with vesin. Inside a compiled jax-md loop jax-md's own
lists are used (`lrpot.interop.jax_md`).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from lrpot.errors import InputError
from lrpot.reciprocal import Reciprocal
from lrpot.system import System, upright

OVERLAP = 0.1
"""Two atoms closer than this, in Å, are an error of the input."""

MOST_CELLS = 5e4
"""vesin 0.6 ends the process on a thin crystal of more search cells than about twice this."""


class Neighbors(eqx.Module):
    """All neighbours of every atom within a cutoff, periodic images included.

    Attributes:
        index: Neighbour j of atom i, nearest first; `n_atoms` marks an empty slot.
        shifts: Whole lattice vectors to add to the position of j; `None` for open boundaries,
            0 along vectors that are no periods.
        reciprocal: What a long-range sum needs besides; `None` when nothing asks for it.
        overflow: True when a row had more neighbours than slots; the furthest are missing.
    """

    index: Int[Array, "atoms neighbors"]
    shifts: Int[Array, "atoms neighbors 3"] | None
    reciprocal: Reciprocal | None
    overflow: Bool[Array, ""]

    @property
    def n_waves(self) -> int:
        """Slots for wave vectors."""
        waves = None if self.reciprocal is None else self.reciprocal.waves
        return 0 if waves is None else len(waves)

    @property
    def n_longest(self) -> int:
        """Slots for the longest waves, of a preconditioner."""
        longest = None if self.reciprocal is None else self.reciprocal.longest
        return 0 if longest is None else len(longest)


def neighbor_list(
    system: System,
    cutoff: float,
    *,
    capacity: int | None = None,
    reciprocal: Reciprocal | None = None,
) -> Neighbors:
    """Build the neighbour list of one system (plain numpy, not for compiled code).

    Args:
        system: The atoms; padding atoms have no neighbours and are nobody's neighbour.
        cutoff: Largest distance of a neighbour, in Å. May exceed the cell: an atom then
            appears once for each image, its own images included.
        capacity: Slots per atom. By default as many as the fullest atom needs. When too
            small, the nearest neighbours are kept and `overflow` is set.
        reciprocal: What a long-range sum needs besides, passed on.

    Raises:
        InputError: If two atoms are closer than `OVERLAP`.
    """
    real = np.flatnonzero(np.asarray(system.numbers) > 0)
    positions = np.asarray(system.positions, dtype=float)[real]
    periodic = np.array(system.pbc)
    cell = np.eye(3) if system.cell is None else np.asarray(system.cell, dtype=float)
    if periodic.all():
        pairs = _pairs_in_crystal(positions, cell, cutoff)
    else:
        pairs = _pairs(positions, upright(cell, ~periodic), periodic, cutoff)
    centers, others, shifts, distances = pairs
    if len(distances) and distances.min() < OVERLAP:
        pair = int(np.argmin(distances))
        raise InputError(
            f"Atoms {real[centers[pair]]} and {real[others[pair]]} lie on top of each other "
            f"(distance {distances[pair]:.3g} Å, less than {OVERLAP} Å). Check for duplicated "
            "atoms, a wrong cell or a wrong unit of length."
        )
    order = np.lexsort((others, distances, centers))
    centers, others, shifts = real[centers[order]], real[others[order]], shifts[order]

    counts = np.bincount(centers, minlength=system.n_atoms)
    needed = int(counts.max(initial=0))
    width = needed if capacity is None else capacity
    slots = np.arange(len(centers)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = slots < width
    where = centers[kept], slots[kept]
    index = np.full((system.n_atoms, width), system.n_atoms, dtype=np.int32)
    index[where] = others[kept]
    dense_shifts = np.zeros((system.n_atoms, width, 3), dtype=np.int32)
    dense_shifts[where] = shifts[kept]
    return Neighbors(
        index=jnp.asarray(index),
        shifts=None if system.cell is None else jnp.asarray(dense_shifts),
        reciprocal=reciprocal,
        overflow=jnp.asarray(needed > width),
    )


def pad_neighbors(
    neighbors: Neighbors, n_atoms: int, n_neighbors: int, n_waves: int = 0, n_longest: int = 0
) -> Neighbors:
    """Add empty rows and slots up to the given shape."""
    old_atoms, old_slots = neighbors.index.shape
    grown = ((0, n_atoms - old_atoms), (0, n_neighbors - old_slots))
    index = jnp.where(neighbors.index == old_atoms, n_atoms, neighbors.index)
    shifts, reciprocal = neighbors.shifts, neighbors.reciprocal
    if reciprocal is not None and reciprocal.waves is not None:
        waves = jnp.pad(reciprocal.waves, ((0, n_waves - len(reciprocal.waves)), (0, 0)))
        reciprocal = eqx.tree_at(lambda r: r.waves, reciprocal, waves)
    if reciprocal is not None and reciprocal.mesh is not None:
        channel = jnp.pad(reciprocal.mesh.channel, (0, n_atoms - old_atoms))
        reciprocal = eqx.tree_at(lambda r: r.mesh.channel, reciprocal, channel)
    if reciprocal is not None and n_longest > neighbors.n_longest:
        none = jnp.zeros((0, 3), dtype=jnp.int32)
        longest = none if reciprocal.longest is None else reciprocal.longest
        longest = jnp.pad(longest, ((0, n_longest - len(longest)), (0, 0)))
        reciprocal = eqx.tree_at(
            lambda r: r.longest, reciprocal, longest, is_leaf=lambda x: x is None
        )
    return Neighbors(
        index=jnp.pad(index, grown, constant_values=n_atoms),
        shifts=None if shifts is None else jnp.pad(shifts, (*grown, (0, 0))),
        reciprocal=reciprocal,
        overflow=neighbors.overflow,
    )


def in_buckets(neighbors: Neighbors, at_least: Neighbors | None = None) -> Neighbors:
    """The same list with its shapes rounded up, so that similar systems share compiled code.

    Args:
        neighbors: A list of one system.
        at_least: An earlier list of as many atoms, whose shapes are not gone below.
    """
    lists = [neighbors] if at_least is None else [neighbors, at_least]
    sizes = [(one.index.shape[1], one.n_waves, one.n_longest) for one in lists]
    slots, waves, longest = (_round_up(max(size)) for size in zip(*sizes, strict=True))
    return pad_neighbors(neighbors, len(neighbors.index), slots, waves, longest)


def _round_up(count: int) -> int:
    """To a multiple of about a tenth of the count, at least 4; none stay none."""
    step = max(4, 1 << max(0, (count // 8).bit_length() - 1))
    return -(-count // step) * step


def _pairs(
    positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[np.ndarray, ...]:
    """Centres, others, shifts and distances of all pairs, both ways, in any boundaries.

    Vectors of the cell that are no periods stand at right angles to all others.
    """
    from scipy.spatial import KDTree

    # A tree does not mind how far fragments are apart; the grids of cells of vesin do.
    fractional = positions @ np.linalg.inv(cell)
    home = np.where(periodic, np.floor(fractional), 0.0)
    fractional -= home
    margin = np.where(periodic, cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0), 0.0)
    reach = np.ceil(margin).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    images = fractional[None, :, :] + steps.reshape(-1, 1, 3)
    near = (images >= -margin) & (images <= 1 + margin) | ~periodic
    step, atom = np.nonzero(near.all(axis=2))
    around = KDTree(images[step, atom] @ cell)
    found = KDTree(fractional @ cell).sparse_distance_matrix(around, cutoff, output_type="ndarray")
    steps = steps.reshape(-1, 3)[step]
    centers, image, distances = found["i"], found["j"], found["v"]
    others, shifts = atom[image], steps[image]
    distinct = (centers != others) | shifts.any(axis=1)
    centers, others, shifts = centers[distinct], others[distinct], shifts[distinct]
    shifts = shifts - (home[others] - home[centers]).astype(int)
    return centers, others, shifts, distances[distinct]


def _pairs_in_crystal(
    positions: np.ndarray, cell: np.ndarray, cutoff: float
) -> tuple[np.ndarray, ...]:
    """The same for all images in a crystal."""
    import vesin  # it imports ASE, which `import lrpot` does not wait for

    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if heights.min() < cutoff and np.prod(np.maximum(heights / cutoff, 1)) > MOST_CELLS:
        raise InputError(
            f"A cell with the heights {np.round(heights, 3).tolist()} Å is too thin for its width: "
            "neighbours cannot be searched in it. Repeat it in the thin direction, or leave out "
            "empty space."
        )
    search = vesin.NeighborList(cutoff=cutoff, full_list=True)
    return tuple(search.compute(positions, cell, True, quantities="ijSd"))
