"""Sums of charges that are given: of the whole system, or of each of its fragments."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.system import System


class Constraints(eqx.Module):
    """Σ of the charges of each group.

    Attributes:
        members: 1 where an atom belongs to a group; groups share no atom, and an atom of none
            may take any charge.
        totals: Charge of each group, in e.
        real: 1 for atoms, 0 for padding atoms, which carry no charge.
    """

    members: Float[Array, "groups atoms"]
    totals: Float[Array, " groups"]
    real: Float[Array, " atoms"]

    def spread(self) -> Float[Array, " atoms"]:
        """The charges that share each total evenly."""
        return (self.totals / self._sizes()) @ self.members

    def means(self, values: Float[Array, " atoms"]) -> Float[Array, " groups"]:
        """Mean over the atoms of each group."""
        return self.members @ values / self._sizes()

    def project(self, values: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """The part that changes no sum; 0 for padding atoms. Orthogonal and symmetric."""
        return self.real * values - self.means(values) @ self.members

    def project_matrix(self, matrix: Float[Array, "atoms atoms"]) -> Float[Array, "atoms atoms"]:
        """P M P of a symmetric matrix, with rows and columns of padding atoms at 0."""
        shares = self.members / self._sizes()[:, None]
        rows = matrix - self.members.T @ (shares @ matrix)
        both = rows - (rows @ shares.T) @ self.members
        return self.real[:, None] * both * self.real[None, :]

    def complement(self) -> Float[Array, "atoms atoms"]:
        """1 - P: what the constraints and padding atoms take away."""
        shares = self.members / self._sizes()[:, None]
        return self.members.T @ shares + jnp.diag(1 - self.real)

    def _sizes(self) -> Float[Array, " groups"]:
        return jnp.maximum(self.members.sum(axis=1), 1)


def constraints_of(system: System) -> Constraints:
    """The charges of the fragments of a system, or one group of all atoms."""
    real = system.real.astype(system.positions.dtype)
    charges = system.fragment_charges
    if charges is None:
        charges = system.total_charge[None]
    if system.fragments is None:
        return Constraints(real[None, :], charges, real)
    number = jnp.arange(len(charges))
    members = (system.fragments[None, :] == number[:, None]).astype(real.dtype)
    return Constraints(members * real[None, :], charges, real)
