"""A Coulomb matrix computed once, for training.

Positions do not move in a training, nor, as a rule, do the widths of the charges.
"""

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from lrpot.electrostatics.coulomb import CoulombMap
from lrpot.electrostatics.operator import Operator
from lrpot.environment import Environment
from lrpot.reciprocal import Reciprocal
from lrpot.system import System


class KeptSum(CoulombMap):
    """A map at the one geometry that its matrix belongs to.

    Attributes:
        coulomb: The map.
        matrix: Its matrix there, in eV/e².
        is_still: Whether nothing is differentiated by positions, cell or widths, so that the
            matrix is all there is to the map. Otherwise it only helps to solve equations.
    """

    coulomb: CoulombMap
    matrix: Float[Array, "atoms atoms"]
    is_still: bool = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    constant: float = eqx.field(static=True)

    def __init__(self, coulomb: CoulombMap, matrix: Float[Array, "atoms atoms"], *, is_still: bool):
        self.coulomb, self.matrix, self.is_still = coulomb, matrix, is_still
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
