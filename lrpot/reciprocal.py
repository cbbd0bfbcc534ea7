"""The reciprocal side of long-range sums: wave vectors, and the mesh that replaces them.

Sizes of arrays and meshes must be known before anything is compiled, so they are chosen with the
neighbour list, by the Coulomb map of the potential (`lrpot.electrostatics`).
"""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int


class Mesh(eqx.Module):
    """A grid for charges, spread by B-splines.

    Attributes:
        alpha: Splitting parameter, in 1/Å: charges narrower than 1/2α are dressed to that width.
        spacing: Largest distance of grid points that keeps the accuracy, in Å.
        channel: Channel of each atom; atoms of one channel have one width.
        shape: Grid points along each vector of the cell.
        order: Order of the splines, even: each charge is spread over order³ points.
        rough: Points and order of a coarser grid, for sums that need not be accurate; `None` where
            this one is no better.
        narrow: By channel, whether its charges interact with each other through the dressed
            widths; wide ones are smooth enough for the mesh as they are.
    """

    alpha: Float[Array, ""]
    spacing: Float[Array, ""]
    channel: Int[Array, " atoms"]
    shape: tuple[int, int, int] = eqx.field(static=True)
    order: int = eqx.field(static=True)
    narrow: tuple[bool, ...] = eqx.field(static=True)
    rough: tuple[tuple[int, int, int], int] | None = eqx.field(static=True)


class Reciprocal(eqx.Module):
    """What a long-range sum needs besides neighbours.

    Attributes:
        waves: Integer coordinates of the wave vectors of an Ewald sum, one of each pair ±k; rows
            of zeros are empty slots. `None` with a mesh.
        mesh: The mesh; `None` for a sum over waves.
        longest: The longest waves, in the same form, for the preconditioner of an iterative
            equilibration; `None` where charges are solved for directly.
        coarse: Points of a coarse mesh for the waves that the preconditioner treats besides
            `longest`; `None` when there are none.
        heights: Periods given to the directions without periodicity, in Å, and 0 along those with
            it; `None` in a crystal.
        thickness: The largest extent of the atoms along such a direction that they are good for.
    """

    waves: Int[Array, "waves 3"] | None
    mesh: Mesh | None = None
    longest: Int[Array, "longest 3"] | None = None
    heights: Float[Array, "3"] | None = None
    thickness: Float[Array, ""] | None = None
    coarse: tuple[int, int, int] | None = eqx.field(static=True, default=None)


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
