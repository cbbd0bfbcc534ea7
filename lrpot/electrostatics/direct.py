"""The exact Coulomb map: a plain sum in open space, an Ewald sum in a crystal."""

import equinox as eqx
from jaxtyping import Array, Float

from lrpot.electrostatics.accuracy import ewald_parameters
from lrpot.electrostatics.ewald import ewald_matrix, ewald_potential
from lrpot.electrostatics.open import open_matrix
from lrpot.environment import Environment
from lrpot.system import System
from lrpot.units import KE


class DirectSum(eqx.Module):
    """Linear map from charges to the potential at the atoms, by the boundary of the system.

    Attributes:
        cutoff: Range of the real-space part of the Ewald sum, in Å. Cost moves between the two
            parts with it, the result does not change.
        accuracy: Requested relative error of the electrostatic forces in a crystal. Sums in
            open space are exact.
        constant: Coulomb constant, in eV Å/e²; files of other programs may have their own.
    """

    cutoff: float = eqx.field(static=True, default=6.0)
    accuracy: float = eqx.field(static=True, default=1e-6)
    constant: float = eqx.field(static=True, default=KE)

    def __check_init__(self):
        ewald_parameters(self.accuracy, self.cutoff)

    @property
    def wave_cutoff(self) -> float:
        """Largest wave number of the reciprocal sum, in 1/Å."""
        return ewald_parameters(self.accuracy, self.cutoff)[1]

    def __call__(
        self,
        charges: Float[Array, " atoms"],
        widths: Float[Array, " atoms"] | None,
        system: System,
        environment: Environment,
    ) -> Float[Array, " atoms"]:
        """Potential of the charges at the atoms, in eV/e; self-interaction included."""
        if system.cell is None:
            return self.constant / KE * (open_matrix(system.positions, widths) @ charges)
        alpha, _ = ewald_parameters(self.accuracy, self.cutoff)
        return (self.constant / KE) * ewald_potential(
            charges, widths, system, environment, alpha=alpha, cutoff=self.cutoff
        )

    def matrix(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        if system.cell is None:
            return self.constant / KE * open_matrix(system.positions, widths)
        alpha, _ = ewald_parameters(self.accuracy, self.cutoff)
        return (self.constant / KE) * ewald_matrix(
            widths, system, environment, alpha=alpha, cutoff=self.cutoff
        )


class FixedSum(eqx.Module):
    """An Ewald sum of given parameters, with one splitting width for all charges.

    For comparison with programs that truncate their sums: the result depends on the parameters,
    and is not accurate where they are not. `DirectSum` chooses them by an accuracy.

    Attributes:
        alpha: Splitting parameter, in 1/Å.
        cutoff: Range of the real-space sum, in Å.
        wave_cutoff: Largest wave number, in 1/Å.
        constant: Coulomb constant, in eV Å/e².
    """

    alpha: float = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    wave_cutoff: float = eqx.field(static=True)
    constant: float = eqx.field(static=True, default=KE)

    def __call__(
        self,
        charges: Float[Array, " atoms"],
        widths: Float[Array, " atoms"] | None,
        system: System,
        environment: Environment,
    ) -> Float[Array, " atoms"]:
        """Potential of the charges at the atoms, in eV/e; self-interaction included."""
        return self.matrix(widths, system, environment) @ charges

    def matrix(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        if system.cell is None:
            return self.constant / KE * open_matrix(system.positions, widths)
        return (self.constant / KE) * ewald_matrix(
            widths, system, environment, alpha=self.alpha, cutoff=self.cutoff, uniform=True
        )


CoulombMap = DirectSum | FixedSum
"""Any map from charges to potentials."""
