"""The one door of geometry: from positions and a neighbour list to vectors between atoms."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lrpot.neighbors import Neighbors
from lrpot.reciprocal import Reciprocal
from lrpot.system import System

FAR = 1.0e4
"""Distance, in Å, at which empty slots appear: beyond every cutoff, so they need no masks."""


class Environment(eqx.Module):
    """What every atom sees around it.

    Attributes:
        components: x, y and z of r_j − r_i, from the centre to each neighbour, in Å: three
            arrays, as derivatives of one with all three take several times as long. Empty slots
            hold a constant vector of length `FAR`, so that they drop out of everything with a
            cutoff.
        index: Index of the neighbour; `n_atoms` for empty slots.
        centers: Atomic numbers of the centres, 0 for padding atoms.
        neighbors: Atomic numbers of the neighbours, 0 for empty slots.
        reciprocal: What a long-range sum needs besides neighbours.
    """

    components: tuple[Float[Array, "atoms neighbors"], ...]
    index: Int[Array, "atoms neighbors"]
    centers: Int[Array, " atoms"]
    neighbors: Int[Array, "atoms neighbors"]
    reciprocal: Reciprocal | None

    @classmethod
    def of_vectors(
        cls,
        vectors: Float[Array, "atoms neighbors 3"],
        index: Int[Array, "atoms neighbors"],
        centers: Int[Array, " atoms"],
        neighbors: Int[Array, "atoms neighbors"],
        reciprocal: Reciprocal | None = None,
    ) -> "Environment":
        """With r_j − r_i in one array."""
        components = (vectors[..., 0], vectors[..., 1], vectors[..., 2])
        return cls(components, index, centers, neighbors, reciprocal)

    @property
    def vectors(self) -> Float[Array, "atoms neighbors 3"]:
        """r_j − r_i, in Å."""
        return jnp.stack(self.components, axis=-1)

    @property
    def squared_distances(self) -> Float[Array, "atoms neighbors"]:
        """|r_j − r_i|², in Å²."""
        x, y, z = self.components
        return x**2 + y**2 + z**2

    @property
    def distances(self) -> Float[Array, "atoms neighbors"]:
        """|r_j − r_i|, in Å."""
        return jnp.sqrt(self.squared_distances)

    @property
    def dtype(self) -> jnp.dtype:
        """Of the vectors."""
        return self.components[0].dtype


def of_neighbors(
    values: Float[Array, "atoms *shape"] | Int[Array, "atoms *shape"],
    index: Int[Array, "rows neighbors"],
) -> Float[Array, "rows neighbors *shape"] | Int[Array, "rows neighbors *shape"]:
    """Values of atoms looked up for every neighbour, 0 for empty slots."""
    return values.at[index].get(mode="fill", fill_value=0)


def environment_from_shifts(system: System, neighbors: Neighbors) -> Environment:
    """Vectors from whole lattice shifts: any cell, also one smaller than the cutoff."""
    components = _components(system.positions, neighbors.index)
    if system.cell is not None and neighbors.shifts is not None:
        for vector in range(3):
            for axis in range(3):
                components[axis] += neighbors.shifts[:, :, vector] * system.cell[vector, axis]
    return _environment(components, system.numbers, neighbors.index, neighbors.reciprocal)


def environment_of_nearest(
    system: System,
    index: Int[Array, "atoms neighbors"],
    *,
    reciprocal: Reciprocal | None = None,
) -> Environment:
    """Vectors to the nearest image of each neighbour: a cell at least two cutoffs across.

    Args:
        system: One system in a cell, atoms anywhere.
        index: Dense neighbour list; `n_atoms` marks empty slots.
        reciprocal: What a long-range sum needs besides neighbours.
    """
    assert system.cell is not None
    components = _components(system.positions, index)
    inverse = jax.lax.stop_gradient(jnp.linalg.inv(system.cell))
    apart = jax.lax.stop_gradient(tuple(components))
    for vector in range(3):
        if system.pbc[vector]:
            cells = jnp.round(sum(apart[axis] * inverse[axis, vector] for axis in range(3)))
            for axis in range(3):
                components[axis] -= cells * system.cell[vector, axis]
    return _environment(components, system.numbers, index, reciprocal)


def _components(positions: Array, index: Array) -> list[Array]:
    """x, y and z of r_j − r_i, without images."""
    # Axis by axis: a look-up of single numbers is ten times as fast as one of rows of three.
    return [of_neighbors(along, index) - along[:, None] for along in positions.T]


def _environment(
    components: Sequence[Array], numbers: Array, index: Array, reciprocal: Reciprocal | None
) -> Environment:
    filled = index < numbers.shape[0]
    # Replacing the vector, and not what is computed from it, keeps gradients of empty slots at 0.
    return Environment(
        components=tuple(
            jnp.where(filled, along, empty)
            for along, empty in zip(components, (FAR, 0.0, 0.0), strict=True)
        ),
        index=index,
        centers=numbers,
        neighbors=of_neighbors(numbers, index),
        reciprocal=reciprocal,
    )
