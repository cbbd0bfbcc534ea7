"""Fourth generation: charges that equilibrate over the whole system."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.local import element_widths
from lrpot.charges.result import Charges
from lrpot.descriptors.scaling import element_index
from lrpot.electrostatics import CoulombMap
from lrpot.environment import Environment
from lrpot.networks import ElementNetworks
from lrpot.system import System


class Equilibration(eqx.Module):
    """Charges that minimise Σ χ_i q_i + ½ J_i q_i² + ½ qᵀAq at a given total charge.

    The electronegativities χ come from element networks, the hardness J ≥ 0 is one number per
    element, and A is the Coulomb matrix of Gaussian charges [ghasemi:15, ko:21].

    Attributes:
        networks: Electronegativity, in units of `scale`.
        hardness_root: √J of each element, in √eV/e: J is positive whatever training does to it.
        radii: Gaussian width of each element, in Å; `None` for point charges (J must then
            outweigh the missing self-interaction).
        coulomb: The map from charges to potentials.
        frozen: Fields that training leaves alone.
        scale: What an output of 1 of the networks is worth, in eV/e.
    """

    networks: ElementNetworks
    hardness_root: Float[Array, " elements"]
    radii: Float[Array, " elements"] | None
    coulomb: CoulombMap
    frozen: tuple[str, ...] = eqx.field(static=True, default=("radii",))
    scale: float = eqx.field(static=True, default=1.0)

    def __call__(
        self, features: Float[Array, "atoms features"], system: System, environment: Environment
    ) -> Charges:
        elements = self.networks.elements
        electronegativity = self.scale * self.networks(features, system.numbers)[:, 0]
        row = element_index(system.numbers, elements)
        hardness = jnp.where(system.real, self.hardness_root[row] ** 2, 0.0)
        widths = element_widths(self.radii, system, elements)
        matrix = self.coulomb.matrix(widths, system, environment)
        both = system.real[:, None] & system.real[None, :]
        matrix = jnp.where(both, matrix, 0.0)
        charges, multiplier = equilibrate(
            matrix + jnp.diag(hardness), electronegativity, system.total_charge, system.real
        )
        return Charges(
            charges=charges,
            phi=matrix @ charges,
            widths=widths,
            electronegativity=electronegativity,
            hardness=hardness,
            multiplier=multiplier,
            converged=jnp.isfinite(charges).all(),
            constant=self.coulomb.constant,
        )


def equilibrate(
    matrix: Float[Array, "atoms atoms"],
    electronegativity: Float[Array, " atoms"],
    total_charge: Float[Array, ""],
    real: Array,
) -> tuple[Float[Array, " atoms"], Float[Array, ""]]:
    """Solve M q + χ + μ 1 = 0 under 1ᵀq = Q by one Cholesky factorisation.

    With x = −M⁻¹χ and y = M⁻¹1 the charges are x − μ y and μ = (1ᵀx − Q)/(1ᵀy), the Schur
    complement of the bordered matrix. Differentiated implicitly: a gradient costs two more
    triangular solves, and none goes through the factorisation.

    Args:
        matrix: Symmetric, in eV/e²; positive definite on charges that sum to zero.
        electronegativity: χ, in eV/e.
        total_charge: Q, in e.
        real: False for padding atoms, whose rows and columns must be 0.

    Returns:
        Charges in e, NaN when the matrix is not positive definite, and μ in eV/e.
    """
    ones = real.astype(matrix.dtype)
    # The sum of the charges is given, so adding c 1 1ᵀ only moves μ, by −c Q. In a crystal it lifts
    # the direction of uniform charge, which the neutralising background leaves without energy.
    lift = jnp.trace(matrix) / ones.sum() ** 2
    lifted = matrix + lift * ones[:, None] * ones[None, :] + jnp.diag(1 - ones)
    factor = jax.scipy.linalg.cho_factor(jax.lax.stop_gradient(lifted), lower=True)
    sides = jnp.stack([-electronegativity * ones, ones], axis=-1)
    x, y = jax.lax.custom_linear_solve(
        lambda v: lifted @ v,
        sides,
        solve=lambda _, b: jax.scipy.linalg.cho_solve(factor, b),
        symmetric=True,
    ).T
    multiplier = (x.sum() - total_charge) / (y @ ones)
    return x - multiplier * y, multiplier + lift * total_charge
