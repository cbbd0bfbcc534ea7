"""Third generation: charges from the local surroundings of each atom."""

from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.result import Charges
from lrpot.descriptors.scaling import element_index
from lrpot.electrostatics import CoulombMap
from lrpot.environment import Environment
from lrpot.errors import InputError, suggestion
from lrpot.networks import ElementNetworks
from lrpot.system import System

if TYPE_CHECKING:
    from lrpot.charges.equilibration import Equilibration

Neutralisation = Literal["none", "uniform", "weighted"]


class LocalCharges(eqx.Module):
    """Charges q_i of element networks, corrected to the total charge.

    The correction Q_i = q_i + w_i (Q_tot − Σq)/Σw has

    - `uniform`: w_i = 1 [unke:19]. Not size-consistent: the excess charge of one fragment
      spreads over all of them, however far apart;
    - `weighted`: w_i > 0 predicted by a second output of the networks [zubatyuk:21]. This is an
      equilibration without Coulomb interaction, 1/w_i being the hardness;
    - `none`: no correction, and the total charge is whatever comes out. For tests.

    Attributes:
        networks: One output per atom, two for `weighted`.
        radii: Gaussian width of each element, in Å; `None` for point charges.
        coulomb: The map from charges to potentials.
        neutralisation: The rule.
    """

    networks: ElementNetworks
    radii: Float[Array, " elements"] | None
    coulomb: CoulombMap
    neutralisation: Neutralisation = eqx.field(static=True, default="uniform")

    frozen: ClassVar[tuple[str, ...]] = ("radii",)

    def __check_init__(self):
        known = get_args(Neutralisation)
        if self.neutralisation not in known:
            raise InputError(
                f"Unknown neutralisation `{self.neutralisation}`. "
                f"{suggestion(self.neutralisation, known)}"
            )

    def __call__(
        self, features: Float[Array, "atoms features"], system: System, environment: Environment
    ) -> Charges:
        outputs = self.networks(features, system.numbers)
        charges = outputs[:, 0]
        if self.neutralisation != "none":
            weights = jnp.ones_like(charges)
            if self.neutralisation == "weighted":
                weights = jax.nn.softplus(outputs[:, 1])
            weights = jnp.where(system.real, weights, 0.0)
            charges += weights * (system.total_charge - charges.sum()) / weights.sum()
        widths = element_widths(self.radii, system, self.networks.elements)
        phi = self.coulomb(charges, widths, system, environment)
        return Charges(
            charges=charges,
            phi=phi,
            widths=widths,
            converged=jnp.isfinite(phi).all(),
            constant=self.coulomb.constant,
        )


def element_widths(
    radii: Float[Array, " elements"] | None, system: System, elements: tuple[int, ...]
) -> Float[Array, " atoms"] | None:
    """Gaussian width of every atom, in Å; some positive number for padding atoms."""
    return None if radii is None else jnp.abs(radii)[element_index(system.numbers, elements)]


def coulomb_matrix(
    model: "LocalCharges | Equilibration", system: System, environment: Environment
) -> Float[Array, "atoms atoms"]:
    """Coulomb matrix of a charge model, in eV/e²; anything for padding atoms."""
    widths = element_widths(model.radii, system, model.networks.elements)
    return model.coulomb.operator(widths, system, environment).matrix()
