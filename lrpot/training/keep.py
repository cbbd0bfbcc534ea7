"""What stays the same during a training, computed once and kept with the structures."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax

from lrpot.charges import Equilibration, LocalCharges, linearise_charges, linearised_size
from lrpot.charges.local import coulomb_matrix
from lrpot.data import Batch
from lrpot.descriptors import linearise
from lrpot.electrostatics import KeptSum
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import Neighbors
from lrpot.potential import Potential
from lrpot.system import System
from lrpot.training.calibrate import own_descriptor

KEEP_AT_MOST = 8e9
"""Memory that what is kept of the structures may take, in bytes; for charges once more."""


def keep_geometry(potential: Potential, batch: Batch) -> Batch:
    """The batch with descriptor values and Jacobians and Coulomb matrices of its structures."""
    coulomb = _coulomb_matrices(potential, batch) if _keeps_coulomb(potential, batch) else None
    return dataclasses.replace(batch, descriptor=_descriptors(potential, batch), coulomb=coulomb)


def kept_bytes(potential: Potential, batches: Sequence[Batch]) -> int:
    """Memory that `keep_geometry` would take for all batches."""
    per_slot = 3 * own_descriptor(potential).n_features
    total = 0
    for batch in batches:
        numbers = batch.neighbors.index.size * per_slot
        if _keeps_coulomb(potential, batch):
            numbers += batch.systems.numbers.size * batch.systems.numbers.shape[1]
        total += numbers * batch.systems.positions.dtype.itemsize
    return total


def keep_charges(
    potential: Potential, batches: Sequence[Batch], *, by_cell: bool = True
) -> list[Batch]:
    """Batches with charges and their Jacobians, for as long as the charge model is not trained.

    They come back as they are where charges would take more than `KEEP_AT_MOST` bytes or are
    found iteratively, or where descriptors are not kept either.

    Args:
        potential: The potential.
        batches: Structures.
        by_cell: Whether stress will be asked for, see `lrpot.charges.linearise_charges`.
    """
    numbers = sum(batch.size * linearised_size(_first(batch)) for batch in batches)
    if not batches or numbers * batches[0].systems.positions.dtype.itemsize > KEEP_AT_MOST:
        return list(batches)
    return [
        dataclasses.replace(batch, charges=_charges(potential, batch, by_cell))
        if batch.descriptor is not None and _solves_densely(potential, batch)
        else batch
        for batch in batches
    ]


def with_kept(potential: Potential, single: Batch, *, is_still: bool) -> Potential:
    """The potential with what is kept of one structure in place of what it would compute.

    Args:
        potential: The potential.
        single: One structure.
        is_still: Whether nothing is differentiated by positions or cell.
    """
    if single.descriptor is not None:
        potential = eqx.tree_at(lambda model: model.descriptor, potential, single.descriptor)
    if single.charges is not None:
        return dataclasses.replace(potential, charge_model=single.charges)
    if single.coulomb is not None and potential.charge_model is not None:
        kept = KeptSum(potential.charge_model.coulomb, single.coulomb, is_still=is_still)
        potential = eqx.tree_at(lambda model: model.charge_model.coulomb, potential, kept)
    return potential


def _first(batch: Batch) -> System:
    return jax.tree.map(lambda leaf: leaf[0], batch.systems)


def _solves_densely(potential: Potential, batch: Batch) -> bool:
    """Whether there are charges, and none that are found iteratively."""
    model = potential.charge_model
    if isinstance(model, Equilibration):
        return not model.is_iterative(_first(batch))
    return model is not None


def _keeps_coulomb(potential: Potential, batch: Batch) -> bool:
    """Whether the Coulomb matrices are needed, and always the same."""
    model = potential.charge_model
    learns_widths = isinstance(model, Equilibration) and "radii" not in model.frozen
    return _solves_densely(potential, batch) and not learns_widths


# One structure after the other: what is kept of a structure is large, its making larger.


@eqx.filter_jit
def _descriptors(potential: Potential, batch: Batch):
    descriptor = own_descriptor(potential)
    return jax.lax.map(
        lambda one: linearise(descriptor, environment_from_shifts(*one)),
        (batch.systems, batch.neighbors),
    )


@eqx.filter_jit
def _coulomb_matrices(potential: Potential, batch: Batch):
    model = potential.charge_model
    assert isinstance(model, LocalCharges | Equilibration)

    def matrix(one: tuple[System, Neighbors]):
        return coulomb_matrix(model, one[0], environment_from_shifts(*one))

    return jax.lax.map(matrix, (batch.systems, batch.neighbors))


@eqx.filter_jit
def _charges(potential: Potential, batch: Batch, by_cell: bool):
    def charges(single: Batch):
        kept = with_kept(potential, single, is_still=False)
        model = kept.charge_model
        assert isinstance(model, LocalCharges | Equilibration)
        return linearise_charges(
            model, kept.descriptor, single.systems, single.neighbors, by_cell=by_cell
        )

    return jax.lax.map(charges, batch)
