"""Short-range screening, which leaves close pairs to the short-range networks."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.cutoffs import check_cutoff, cutoff_function
from lrpot.electrostatics.kernels import coulomb_kernel
from lrpot.environment import Environment, of_neighbors
from lrpot.errors import InputError
from lrpot.units import KE


class Screening(eqx.Module):
    """Switches the Coulomb energy of a pair off at short range.

    f_s(r) = 0 below `inner`, ½[1 − cos(π (r − inner)/(outer − inner))] up to `outer`, then 1
    [ko:21]. The charges themselves are equilibrated without it.

    Attributes:
        inner, outer: In Å.
        function: Shape of the switch, a name of `lrpot.cutoffs.CUTOFF_FUNCTIONS`; the one above
            is `cos`.
    """

    inner: float = eqx.field(static=True)
    outer: float = eqx.field(static=True)
    function: str = eqx.field(static=True, default="cos")

    def __check_init__(self):
        check_cutoff(self.function, self.outer)
        if not 0 <= self.inner < self.outer:
            raise InputError(
                f"Screening needs 0 <= inner < outer, got inner={self.inner} and "
                f"outer={self.outer} Å."
            )

    def missing(self, distances: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """1 − f_s(r): the share of a pair's Coulomb energy that is taken away."""
        return cutoff_function(
            distances - self.inner, cutoff=self.outer - self.inner, function=self.function
        )

    def energies(
        self,
        charges: Float[Array, " atoms"],
        widths: Float[Array, " atoms"] | None,
        environment: Environment,
    ) -> Float[Array, " atoms"]:
        """−½ kₑ Σ_j (1 − f_s(r_ij)) q_i q_j K(r_ij), to be added to the full Coulomb energy, in eV.

        An image of the atom itself counts with the same ½.
        """
        gamma = None
        if widths is not None:
            around = of_neighbors(widths, environment.index)
            gamma = widths[:, None] ** 2 + around**2
        kernel = coulomb_kernel(environment.squared_distances, gamma)
        pair = self.missing(environment.distances) * kernel
        return (
            -0.5 * KE * charges * jnp.sum(pair * of_neighbors(charges, environment.index), axis=1)
        )
