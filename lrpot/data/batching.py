"""Structures of similar size stacked into batches. All padding happens here."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lrpot.charges import LinearisedCharges
from lrpot.committee import Committee
from lrpot.data.structures import LABELS, Structure, label_shapes
from lrpot.descriptors import Linearised
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors, pad_neighbors
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
        weight: How much each structure counts.
        descriptor: Descriptor values and Jacobians of the structures, when they are kept.
        coulomb: Coulomb matrices of the structures, in eV/e², when they are kept.
        charges: Charges and their Jacobians, when they are kept.
    """

    systems: System
    neighbors: Neighbors
    labels: dict[str, Float[Array, "structures ..."]]
    known: dict[str, Float[Array, " structures"]]
    weight: Float[Array, " structures"]
    descriptor: Linearised | None = None
    coulomb: Float[Array, "structures atoms atoms"] | None = None
    charges: LinearisedCharges | None = None

    @property
    def size(self) -> int:
        """Number of structures."""
        return self.systems.numbers.shape[0]

    def __getitem__(self, selection: Array) -> "Batch":
        return jax.tree.map(lambda array: array[selection], self)

    def take(self, rows: Int[Array, " structures"]) -> "Batch":
        """The structures in these rows; at −1 one without labels, which teaches nothing."""
        chosen = self[jnp.maximum(rows, 0)]
        known = {label: jnp.where(rows < 0, 0.0, have) for label, have in chosen.known.items()}
        return dataclasses.replace(chosen, known=known)


def make_batches(
    structures: Sequence[Structure], potential: Potential | Committee
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
        for chosen in _buckets(structures, lists)
    ]


def pad_system(system: System, n_atoms: int) -> System:
    """Add padding atoms, of number 0 and at the origin, up to `n_atoms`."""
    extra = n_atoms - system.n_atoms
    return dataclasses.replace(
        system,
        positions=jnp.pad(system.positions, ((0, extra), (0, 0))),
        numbers=jnp.pad(system.numbers, (0, extra)),
        applied=None if system.applied is None else jnp.pad(system.applied, (0, extra)),
        fragments=None
        if system.fragments is None
        else jnp.pad(system.fragments, (0, extra), constant_values=-1),
    )


def _buckets(structures: Sequence[Structure], lists: Sequence[Neighbors]) -> list[list[int]]:
    """Positions of the structures in each bucket: equal boundaries, similar numbers of atoms."""
    kinds: dict[Any, list[int]] = {}
    for i, (structure, neighbors) in enumerate(zip(structures, lists, strict=True)):
        kind = structure.system.pbc, jax.tree.structure((structure.system, neighbors))
        kinds.setdefault(kind, []).append(i)
    buckets: list[list[int]] = []
    for _, chosen in sorted(kinds.items(), key=lambda kind: kind[0][0]):  # open ones first
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
    n_waves = max(one.n_waves for one in lists)
    n_longest = max(one.n_longest for one in lists)
    shapes = label_shapes(n_atoms)
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
        (
            pad_system(structure.system, n_atoms),
            pad_neighbors(one, n_atoms, n_neighbors, n_waves, n_longest),
        )
        for structure, one in zip(structures, lists, strict=True)
    ]
    systems, neighbors = jax.tree.map(lambda *arrays: jnp.stack(arrays), *padded)
    weight = jnp.asarray([structure.weight for structure in structures], dtype=dtype)
    return Batch(systems, neighbors, labels, known, weight)
