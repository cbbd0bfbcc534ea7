"""Charges computed once, for stages of a training that leave the charge model alone.

Like the descriptor there, they are replaced by their tangent: energies, forces and stress, and
gradients of these by all other parameters, are unchanged to the last digit.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from lrpot.charges.equilibration import Equilibration
from lrpot.charges.local import LocalCharges, element_widths
from lrpot.charges.result import Charges
from lrpot.descriptors import ACSF, Linearised
from lrpot.devices import in_full_precision
from lrpot.electrostatics import CoulombMap, KeptSum
from lrpot.electrostatics.kept import matrix_slopes
from lrpot.environment import Environment, environment_from_shifts
from lrpot.neighbors import Neighbors
from lrpot.system import System

DIRECTIONS = 4
"""Displacements whose derivatives are computed at the same time: more would leave the caches."""


class LinearisedCharges(eqx.Module):
    """Charges frozen at one structure: right there in value and first derivative.

    Attributes:
        values: The charges and what belongs to them.
        jacobian: Derivatives of all that is real in `values`, one after the other, with respect
            to positions, and to the cell if `by_cell`.
        coulomb: Of the charge model.
        radii: Likewise.
        by_cell: Whether they may be differentiated by the cell.
    """

    values: Charges
    jacobian: Float[Array, "numbers directions"]
    coulomb: CoulombMap
    radii: Float[Array, " elements"] | None
    by_cell: bool = eqx.field(static=True)

    def __call__(
        self, features: Float[Array, "atoms features"], system: System, environment: Environment
    ) -> Charges:
        numbers, rest = eqx.partition(self.values, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(numbers)
        moving = (system.positions, system.cell) if self.by_cell else (system.positions,)
        return eqx.combine(unravel(_tangent(moving, flat, self.jacobian)), rest)


def linearise_charges(
    model: LocalCharges | Equilibration,
    descriptor: ACSF | Linearised,
    system: System,
    neighbors: Neighbors,
    *,
    by_cell: bool = True,
) -> LinearisedCharges:
    """Charges of one structure and their Jacobian, which has about 15 · atoms² numbers.

    Args:
        model: The charge model.
        descriptor: From environments to features.
        system: One system.
        neighbors: Its neighbour list.
        by_cell: Whether a stress will be asked for, if there is a cell. It costs as much as all
            the rest.
    """
    widths = element_widths(model.radii, system, model.networks.elements)
    environment = environment_from_shifts(system, neighbors)
    matrix = model.coulomb.operator(widths, system, environment).matrix()
    slopes = matrix_slopes(model.coulomb, widths, system, neighbors)
    kept = KeptSum(model.coulomb, matrix, slopes=slopes, is_still=False)
    quick = eqx.tree_at(lambda one: one.coulomb, model, kept)

    def jacobian(model: LocalCharges | Equilibration, name: str, start: Array) -> tuple:
        """Derivatives by a part of the geometry, one column for each number of it."""

        def numbers(part: Array) -> tuple[Array, Charges]:
            moved = dataclasses.replace(system, **{name: part})
            environment = environment_from_shifts(moved, neighbors)
            found = model(descriptor(environment), moved, environment)
            return ravel_pytree(eqx.filter(found, eqx.is_inexact_array))[0], found

        _, along, values = jax.linearize(numbers, start, has_aux=True)
        moves = jnp.eye(start.size, dtype=start.dtype).reshape(-1, *start.shape)
        return values, jax.lax.map(along, moves, batch_size=DIRECTIONS).T

    values, columns = jacobian(quick, "positions", system.positions)
    if not by_cell or system.cell is None:
        return LinearisedCharges(values, columns, model.coulomb, model.radii, by_cell=False)
    columns = jnp.concatenate([columns, jacobian(model, "cell", system.cell)[1]], axis=1)
    return LinearisedCharges(values, columns, model.coulomb, model.radii, by_cell=True)


def linearised_size(system: System) -> int:
    """How many numbers the Jacobian of the charges of a system has, or a few more."""
    return 6 * system.n_atoms * (3 * system.n_atoms + 9)


@jax.custom_jvp
def _tangent(geometry: tuple[Array, ...], values: Array, jacobian: Array) -> Array:
    # The values belong to exactly this geometry; only the derivative has to be supplied.
    return values


@_tangent.defjvp
@in_full_precision
def _tangent_jvp(primals, tangents):
    _, values, jacobian = primals
    # What was kept is data: its own tangents are zero wherever training differentiates.
    return values, jacobian @ ravel_pytree(tangents[0])[0]
