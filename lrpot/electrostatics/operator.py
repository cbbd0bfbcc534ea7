"""What a Coulomb map is for atoms that are where they are."""

import abc

import equinox as eqx
from jaxtyping import Array, Float


class Operator(eqx.Module):
    """A symmetric map from charges to potentials, prepared for many charges."""

    @abc.abstractmethod
    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Potential at the atoms, in eV/e."""

    @abc.abstractmethod
    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same map as a matrix, in eV/e²."""

    @property
    def rough(self) -> "Operator | None":
        """A map that differs little and costs less, if there is one."""
        return None

    def energy(self, charges: Float[Array, " atoms"]) -> Float[Array, ""]:
        """½ qᵀφ, in eV."""
        return 0.5 * charges @ self(charges)
