"""What an atom sees of the charges around it, besides its own."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.descriptors.shells import RadialFunctions
from lrpot.environment import Environment, of_neighbors


class ChargeSurroundings(eqx.Module):
    """Features of the charges around each atom, for networks that predict its energy.

    With the radial functions R_k, the vectors r to the neighbours j and their charges q_j,

        Σ_j q_j R_k(r),   |Σ_j q_j R_k(r) r/|r||²:

    the charge of each shell, and the square of its polarity. What is beyond the cutoff acts by
    the electrostatic energy alone, so that ions far apart repel each other as points.

    Attributes:
        shells: The radial functions.
    """

    shells: RadialFunctions

    @property
    def n_features(self) -> int:
        """Features of each atom."""
        return 2 * len(self.shells.labels)

    def __call__(
        self, charges: Float[Array, " atoms"], environment: Environment
    ) -> Float[Array, "atoms features"]:
        """Charges in e, and squares in e²."""
        distances = environment.distances
        around = of_neighbors(charges, environment.index)[:, None, :]
        around *= self.shells(distances)
        arms = jnp.einsum("akn,anx->akx", around / distances[:, None, :], environment.vectors)
        return jnp.concatenate([around.sum(axis=-1), jnp.sum(arms**2, axis=-1)], axis=-1)
