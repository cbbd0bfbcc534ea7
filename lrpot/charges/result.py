"""What a charge model returns."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lrpot.units import KE


class Charges(eqx.Module):
    """Charges of one system and what belongs to them.

    Attributes:
        charges: In e; they sum to the total charge of the system, and padding atoms carry 0.
        phi: Electrostatic potential of all charges at the atoms, the interaction of a Gaussian
            charge with itself included, in eV/e.
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        electronegativity: χ, in eV/e; `None` unless the charges were equilibrated.
        hardness: J, in eV/e²; likewise.
        multiplier: Lagrange multiplier of the total charge, −dE/dQ of the equilibration energy,
            in eV/e, or one for each of several fragments; likewise.
        converged: False when the charges could not be determined.
        constant: Coulomb constant that `phi` was computed with, in eV Å/e².
        iterations: Of the iterative solver, as many as it applied the matrix times; `None` when
            charges were not found iteratively.
        residual: Largest imbalance that it left, in eV/e; likewise.
        adjoint: Charges Λ that answer to ∂E/∂q, in e, see `lrpot.charges.adjoint`. With them,
            `iterations`, `residual` and `converged` speak of both solutions.
    """

    charges: Float[Array, " atoms"]
    phi: Float[Array, " atoms"]
    widths: Float[Array, " atoms"] | None
    electronegativity: Float[Array, " atoms"] | None = None
    hardness: Float[Array, " atoms"] | None = None
    multiplier: Float[Array, "*fragments"] | None = None
    converged: Bool[Array, ""] = eqx.field(default_factory=lambda: jnp.asarray(True))
    constant: float = eqx.field(static=True, default=KE)
    iterations: Int[Array, ""] | None = None
    residual: Float[Array, ""] | None = None
    adjoint: Float[Array, " atoms"] | None = None
