"""What an atom sees of the charges around it, besides its own."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.result import Charges
from lrpot.descriptors.shells import RadialFunctions
from lrpot.electrostatics import self_potential
from lrpot.environment import Environment, of_neighbors


class ChargeSurroundings(eqx.Module):
    """Features of the charges around each atom, for networks that predict its energy.

    With the radial functions R_k, the vectors r to the neighbours j and their charges q_j,

        φ_i - kₑ q_i/(√π σ_i),   Σ_j q_j R_k(r),   |Σ_j q_j R_k(r) r/|r||²:

    the electrostatic potential of all others, near and far (with σ = 0, of all images too), the
    charge of each shell, and the square of its polarity.

    Attributes:
        shells: The radial functions.
    """

    shells: RadialFunctions

    @property
    def n_features(self) -> int:
        """Features of each atom."""
        return 1 + 2 * len(self.shells.labels)

    def __call__(
        self, charges: Charges, environment: Environment
    ) -> Float[Array, "atoms features"]:
        """φ in eV/e, charges in e, and squares in e²."""
        others = charges.phi
        if charges.widths is not None:
            others -= charges.constant * self_potential(charges.widths) * charges.charges
        distances = environment.distances
        around = of_neighbors(charges.charges, environment.index)[:, None, :]
        around *= self.shells(distances)
        arms = jnp.einsum("akn,anx->akx", around / distances[:, None, :], environment.vectors)
        parts = [others[:, None], around.sum(axis=-1), jnp.sum(arms**2, axis=-1)]
        return jnp.concatenate(parts, axis=-1)
