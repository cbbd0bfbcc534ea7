"""The dense neighbour list, and its counterpart in reciprocal space.

Lists are built here outside compiled code, with vesin. Inside a compiled jax-md loop jax-md's own
lists are used (`lrpot.interop.jax_md`).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from lrpot.errors import InputError
from lrpot.system import System

OVERLAP = 0.1
"""Two atoms closer than this, in Å, are an error of the input."""

MOST_CELLS = 5e4
"""vesin 0.6 ends the process on a thin crystal of more search cells than about twice this."""


class Neighbors(eqx.Module):
    """All neighbours of every atom within a cutoff, periodic images included.

    Attributes:
        index: Neighbour j of atom i, nearest first; `n_atoms` marks an empty slot.
        shifts: Whole lattice vectors to add to the position of j; `None` for open boundaries.
        waves: Integer coordinates of the wave vectors of the reciprocal sum, one of each pair
            ±k; rows of zeros are empty slots. `None` when nothing asks for them.
        overflow: True when a row had more neighbours than slots; the furthest are missing.
    """

    index: Int[Array, "atoms neighbors"]
    shifts: Int[Array, "atoms neighbors 3"] | None
    waves: Int[Array, "waves 3"] | None
    overflow: Bool[Array, ""]


def neighbor_list(
    system: System,
    cutoff: float,
    *,
    capacity: int | None = None,
    wave_cutoff: float | None = None,
) -> Neighbors:
    """Build the neighbour list of one system (plain numpy, not for compiled code).

    Args:
        system: The atoms; padding atoms have no neighbours and are nobody's neighbour.
        cutoff: Largest distance of a neighbour, in Å. May exceed the cell: an atom then
            appears once for each image, its own images included.
        capacity: Slots per atom. By default as many as the fullest atom needs. When too
            small, the nearest neighbours are kept and `overflow` is set.
        wave_cutoff: Largest wave number of the reciprocal sum, in 1/Å, for a periodic system.

    Raises:
        InputError: If two atoms are closer than `OVERLAP`.
    """
    real = np.flatnonzero(np.asarray(system.numbers) > 0)
    positions = np.asarray(system.positions, dtype=float)[real]
    periodic = system.cell is not None
    cell = np.asarray(system.cell, dtype=float) if periodic else np.zeros((3, 3))
    pairs = _pairs_in_crystal(positions, cell, cutoff) if periodic else _pairs(positions, cutoff)
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
        shifts=jnp.asarray(dense_shifts) if periodic else None,
        waves=jnp.asarray(wave_indices(cell, wave_cutoff)) if periodic and wave_cutoff else None,
        overflow=jnp.asarray(needed > width),
    )


def _pairs(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
    """Centres, others, shifts and distances of all pairs in open space, both ways."""
    from scipy.spatial import KDTree

    # A tree does not mind how far fragments are apart; a grid of cells would.
    one_way = KDTree(positions).query_pairs(cutoff, output_type="ndarray")
    centers, others = np.concatenate([one_way, one_way[:, ::-1]]).T
    distances = np.linalg.norm(positions[others] - positions[centers], axis=1)
    return centers, others, np.zeros((len(centers), 3), dtype=np.int32), distances


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


def wave_indices(cell: np.ndarray, wave_cutoff: float) -> np.ndarray:
    """Integer coordinates n of all k = 2π n·inv(cell)ᵀ with 0 < |k| ≤ cutoff, one of each ±k."""
    limits = np.floor(wave_cutoff * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    ranges = [np.arange(-limit, limit + 1) for limit in limits]
    waves = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    waves = waves[
        len(waves) // 2 + 1 :
    ]  # in this order the second half is the negative of the first
    wave_numbers = np.linalg.norm(2 * np.pi * waves @ np.linalg.inv(cell).T, axis=1)
    return waves[wave_numbers <= wave_cutoff].astype(np.int32)
