"""Structures of similar size stacked into batches. All padding happens here."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.data.structures import LABELS, Structure
from lrpot.descriptors import Linearised
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors
from lrpot.potential import Potential
from lrpot.system import System

BUCKET_RATIO = 1.5
"""Within a bucket the largest structure has at most this many times the atoms of the smallest."""


class Batch(eqx.Module):
    """Structures of one size bucket, each array with a leading axis `structures`.

    Attributes:
        systems: Padded systems.
        neighbors: Their neighbour lists, padded to the same shape.
        labels: Reference values by name; zeros where a structure has none.
        known: By the same names, 1 where a structure has the label and 0 where not.
        descriptor: Descriptor values and Jacobians of the structures, when they are kept.
    """

    systems: System
    neighbors: Neighbors
    labels: dict[str, Float[Array, "structures ..."]]
    known: dict[str, Float[Array, " structures"]]
    descriptor: Linearised | None = None

    @property
    def size(self) -> int:
        """Number of structures."""
        return self.systems.numbers.shape[0]

    def __getitem__(self, selection: Array) -> "Batch":
        return jax.tree.map(lambda array: array[selection], self)


def make_batches(
    structures: Sequence[Structure], potential: Potential
) -> list[tuple[Batch, np.ndarray]]:
    """Stack structures into one batch per size bucket.

    Args:
        structures: Any mixture of sizes, elements, total charges and boundaries.
        potential: Decides about range and content of the neighbour lists.

    Returns:
        Batches, each with the positions of its structures in `structures`.

    Raises:
        InputError: If a structure holds an element that the potential does not know, or
            overlapping atoms; it is named.
    """
    lists = []
    for structure in structures:
        try:
            lists.append(potential.neighbors(structure.system))
        except InputError as error:
            raise InputError(f"{structure.name}: {error}") from None
    return [
        (_stack([structures[i] for i in chosen], [lists[i] for i in chosen]), np.array(chosen))
        for chosen in _buckets(structures)
    ]


def pad_system(system: System, n_atoms: int) -> System:
    """Add padding atoms, of number 0 and at the origin, up to `n_atoms`."""
    extra = n_atoms - system.n_atoms
    return System(
        jnp.pad(system.positions, ((0, extra), (0, 0))),
        jnp.pad(system.numbers, (0, extra)),
        cell=system.cell,
        total_charge=system.total_charge,
    )


def pad_neighbors(
    neighbors: Neighbors, n_atoms: int, n_neighbors: int, n_waves: int = 0
) -> Neighbors:
    """Add empty rows and slots up to the given shape."""
    old_atoms, old_slots = neighbors.index.shape
    grown = ((0, n_atoms - old_atoms), (0, n_neighbors - old_slots))
    index = jnp.where(neighbors.index == old_atoms, n_atoms, neighbors.index)
    shifts, waves = neighbors.shifts, neighbors.waves
    return Neighbors(
        index=jnp.pad(index, grown, constant_values=n_atoms),
        shifts=None if shifts is None else jnp.pad(shifts, (*grown, (0, 0))),
        waves=None if waves is None else jnp.pad(waves, ((0, n_waves - len(waves)), (0, 0))),
        overflow=neighbors.overflow,
    )


def _buckets(structures: Sequence[Structure]) -> list[list[int]]:
    """Positions of the structures in each bucket: equal boundaries, similar numbers of atoms."""
    buckets: list[list[int]] = []
    for periodic in (False, True):
        chosen = [i for i, s in enumerate(structures) if (s.system.cell is not None) == periodic]
        chosen.sort(key=lambda i: structures[i].system.n_atoms)
        least = None
        for i in chosen:
            n_atoms = structures[i].system.n_atoms
            if least is None or n_atoms > BUCKET_RATIO * least:
                least = n_atoms
                buckets.append([])
            buckets[-1].append(i)
    return buckets


def _stack(structures: Sequence[Structure], lists: Sequence[Neighbors]) -> Batch:
    n_atoms = max(structure.system.n_atoms for structure in structures)
    n_neighbors = max(neighbors.index.shape[1] for neighbors in lists)
    n_waves = max(0 if one.waves is None else len(one.waves) for one in lists)
    shapes = dict(energy=(), forces=(n_atoms, 3), stress=(3, 3), charges=(n_atoms,), dipole=(3,))
    dtype = structures[0].system.positions.dtype
    labels, known = {}, {}
    for label in LABELS:
        stacked = np.zeros((len(structures), *shapes[label]))
        for number, structure in enumerate(structures):
            value = getattr(structure, label)
            if value is not None:
                stacked[(number, *(slice(0, size) for size in value.shape))] = value
        labels[label] = jnp.asarray(stacked, dtype=dtype)
        have = [float(getattr(structure, label) is not None) for structure in structures]
        known[label] = jnp.asarray(have, dtype=dtype)
    padded = [
        (pad_system(structure.system, n_atoms), pad_neighbors(one, n_atoms, n_neighbors, n_waves))
        for structure, one in zip(structures, lists, strict=True)
    ]
    systems, neighbors = jax.tree.map(lambda *arrays: jnp.stack(arrays), *padded)
    return Batch(systems, neighbors, labels, known)
