"""The exact Coulomb map: a plain sum in open space, an Ewald sum in a crystal."""

import equinox as eqx
from jaxtyping import Array, Float

from lrpot.electrostatics.accuracy import ewald_parameters
from lrpot.electrostatics.ewald import ewald_matrix, ewald_potential
from lrpot.electrostatics.open import open_matrix
from lrpot.environment import Environment
from lrpot.system import System


class DirectSum(eqx.Module):
    """Linear map from charges to the potential at the atoms, by the boundary of the system.

    Attributes:
        cutoff: Range of the real-space part of the Ewald sum, in Å. Cost moves between the two
            parts with it, the result does not change.
        accuracy: Requested relative error of the electrostatic forces in a crystal. Sums in
            open space are exact.
    """

    cutoff: float = eqx.field(static=True, default=6.0)
    accuracy: float = eqx.field(static=True, default=1e-6)

    def __check_init__(self):
        ewald_parameters(self.accuracy, self.cutoff)

    @property
    def wave_cutoff(self) -> float:
        """Largest wave number of the reciprocal sum, in 1/Å."""
        return ewald_parameters(self.accuracy, self.cutoff)[1]

    @property
    def _ewald(self) -> dict:
        return dict(alpha=ewald_parameters(self.accuracy, self.cutoff)[0], cutoff=self.cutoff)

    def __call__(
        self,
        charges: Float[Array, " atoms"],
        widths: Float[Array, " atoms"] | None,
        system: System,
        environment: Environment,
    ) -> Float[Array, " atoms"]:
        """Potential of the charges at the atoms, in eV/e; self-interaction included."""
        if system.cell is None:
            return open_matrix(system.positions, widths) @ charges
        return ewald_potential(charges, widths, system, environment, **self._ewald)

    def matrix(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""
        if system.cell is None:
            return open_matrix(system.positions, widths)
        return ewald_matrix(widths, system, environment, **self._ewald)
