"""A Coulomb matrix computed once, for training.

Positions do not move in a training, nor, as a rule, do the widths of the charges.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.arraylike import ArrayLike
from lrpot.electrostatics.coulomb import CoulombMap
from lrpot.electrostatics.operator import Operator
from lrpot.environment import Environment, environment_from_shifts
from lrpot.neighbors import Neighbors
from lrpot.reciprocal import Reciprocal
from lrpot.system import System


class KeptSum(CoulombMap):
    """A map at the one geometry that its matrix belongs to.

    Attributes:
        coulomb: The map.
        matrix: Its matrix there, in eV/e².
        is_still: Whether nothing is differentiated by positions, cell or widths, so that the
            matrix is all there is to the map. Otherwise it only helps to solve equations.
        slopes: Derivatives of the matrix, see `matrix_slopes`: with them, nothing is
            differentiated by cell or widths, and by positions only once.
    """

    coulomb: CoulombMap
    matrix: Float[Array, "atoms atoms"]
    slopes: Float[Array, "atoms atoms 3"] | None
    is_still: bool = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    constant: float = eqx.field(static=True)

    def __init__(
        self,
        coulomb: CoulombMap,
        matrix: Float[Array, "atoms atoms"],
        *,
        is_still: bool,
        slopes: Float[Array, "atoms atoms 3"] | None = None,
    ):
        self.coulomb, self.matrix, self.is_still = coulomb, matrix, is_still
        self.slopes = slopes
        self.cutoff, self.constant = coulomb.cutoff, coulomb.constant

    def reciprocal(
        self, system: System, widths: ArrayLike | None = None, *, growth: float = 0.0
    ) -> Reciprocal | None:
        """As in `CoulombMap`."""
        return self.coulomb.reciprocal(system, widths, growth=growth)

    def operator(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Operator:
        """As in `CoulombMap`."""
        if self.slopes is not None:
            return SlopingOperator(self.matrix, self.slopes, system.positions)
        moving = None if self.is_still else self.coulomb.operator(widths, system, environment)
        return KeptOperator(self.matrix, moving)


class KeptOperator(Operator):
    """The map of a `KeptSum`; its matrix has no derivatives.

    Attributes:
        full: The matrix, in eV/e².
        moving: The map with its derivatives by positions, if they are asked for.
    """

    full: Float[Array, "atoms atoms"]
    moving: Operator | None

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        return self.full @ charges if self.moving is None else self.moving(charges)

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        return self.full


class SlopingOperator(Operator):
    """The map of a `KeptSum` with slopes: a matrix that is linear in the positions.

    Attributes:
        full: The matrix, in eV/e².
        slopes: Its derivatives.
        positions: Where the matrix belongs to, as a variable.
    """

    full: Float[Array, "atoms atoms"]
    slopes: Float[Array, "atoms atoms 3"]
    positions: Float[Array, "atoms 3"]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""
        moved = self.positions - jax.lax.stop_gradient(self.positions)
        own = jnp.einsum("ijx,ix,j->i", self.slopes, moved, charges)
        others = jnp.einsum("jix,jx,j->i", self.slopes, moved, charges)
        return self.full @ charges + own + others

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        return self.full


def matrix_slopes(
    coulomb: CoulombMap,
    widths: Float[Array, " atoms"] | None,
    system: System,
    neighbors: Neighbors,
) -> Float[Array, "atoms atoms 3"]:
    """D with dA_ij = D_ij·dr_i + D_ji·dr_j for any displacements, 0 for padding atoms.

    The potentials of a unit charge at j, summed over all atoms, have the derivative D_kj by the
    position of any other atom k. By that of j itself, it is that of all others and, on a mesh, a
    little of its own.

    Args:
        coulomb: The map.
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: One system.
        neighbors: Its neighbour list.
    """
    real = system.real.astype(system.positions.dtype)

    def total(positions: Array, unit: Array) -> Array:
        moved = dataclasses.replace(system, positions=positions)
        environment = environment_from_shifts(moved, neighbors)
        return coulomb(unit, widths, moved, environment) @ real

    def column(unit: Array) -> Array:
        return jax.grad(total)(system.positions, unit)

    sums = jax.lax.map(column, jnp.diag(real)).swapaxes(0, 1)
    sums = sums * (real[:, None] * real[None, :])[:, :, None]
    same = jnp.eye(len(real), dtype=real.dtype)[:, :, None]
    slopes = (1 - same) * sums
    own = jnp.einsum("jjx->jx", sums) - slopes.sum(axis=1)
    return slopes + 0.5 * same * own[:, None, :]
