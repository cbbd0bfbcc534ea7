"""Energy terms: each gives one energy per atom, and a potential is their sum."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges.result import Charges
from lrpot.charges.surroundings import ChargeSurroundings
from lrpot.descriptors.scaling import Scaling, element_index
from lrpot.electrostatics import Screening, self_potential
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.messages import Exchange
from lrpot.networks import ElementNetworks
from lrpot.system import System
from lrpot.units import KE


class ShortRange(eqx.Module):
    """Energy of element networks that see the surroundings, and in 4G the charge, of each atom.

    Attributes:
        networks: One output per atom.
        scale: What an output of 1 is worth, in eV.
        charge_scaling: Scaling of the last inputs, the charge and what `surroundings` tells;
            `None` when the networks do not see charges.
        surroundings: What the networks see of other charges; `None` for nothing.
    """

    networks: ElementNetworks
    scale: Float[Array, ""]
    charge_scaling: Scaling | None = None
    surroundings: ChargeSurroundings | None = None

    frozen: ClassVar[tuple[str, ...]] = ("scale",)

    def __call__(
        self,
        system: System,
        environment: Environment,
        features: Float[Array, "atoms features"],
        charges: Charges | None,
    ) -> Float[Array, " atoms"]:
        if self.charge_scaling is not None and charges is not None:
            seen = self.charge_scaling(self.seen(charges.charges, environment), system.numbers)
            features = jnp.concatenate([features, seen], axis=-1)
        return self.scale * self.networks(features, system.numbers)[:, 0]

    def seen(
        self, charges: Float[Array, " atoms"], environment: Environment
    ) -> Float[Array, "atoms charge_features"]:
        """What the networks see of charges, before it is scaled."""
        own = charges[:, None]
        if self.surroundings is None:
            return own
        return jnp.concatenate([own, self.surroundings(charges, environment)], axis=-1)


class Messages(eqx.Module):
    """Energy of what atoms learn of each other, and in 3G and 4G of their charges, in messages.

    Attributes:
        exchange: The messages.
        readout: From what an atom learns to its energy.
        scale: What an output of 1 is worth, in eV.
        charge_scaling: Scaling of the charge; `None` when charges are not seen.
    """

    exchange: Exchange
    readout: ElementNetworks
    scale: Float[Array, ""]
    charge_scaling: Scaling | None = None

    frozen: ClassVar[tuple[str, ...]] = ("scale",)

    def __call__(
        self,
        system: System,
        environment: Environment,
        features: Float[Array, "atoms features"],
        charges: Charges | None,
    ) -> Float[Array, " atoms"]:
        seen = None
        if self.charge_scaling is not None and charges is not None:
            seen = self.charge_scaling(self.seen(charges.charges, environment), system.numbers)
        told = self.exchange(seen, system.numbers, environment)
        return self.scale * self.readout(told, system.numbers)[:, 0]

    def seen(
        self, charges: Float[Array, " atoms"], environment: Environment
    ) -> Float[Array, "atoms 1"]:
        """What atoms tell of their charges, before it is scaled."""
        return charges[:, None]


class Coulomb(eqx.Module):
    """Electrostatic energy of the charges, ½ qᵀφ.

    Attributes:
        screening: Takes the energy of close pairs away; `None` for none.
        self_energy: Whether the energy of each Gaussian charge with itself counts. It belongs
            to the energy that CENT minimises, not to the electrostatic energy of 4G.
    """

    screening: Screening | None = None
    self_energy: bool = eqx.field(static=True, default=False)

    def __call__(
        self,
        system: System,
        environment: Environment,
        features: Float[Array, "atoms features"],
        charges: Charges,
    ) -> Float[Array, " atoms"]:
        energies = 0.5 * charges.charges * charges.phi
        if charges.widths is not None and not self.self_energy:
            energies -= 0.5 * charges.constant * self_potential(charges.widths) * charges.charges**2
        if self.screening is not None:
            energies += (
                charges.constant
                / KE
                * self.screening.energies(charges.charges, charges.widths, environment)
            )
        return energies


class SiteEnergy(eqx.Module):
    """Energy χ q + ½ J q² of charging each atom, the other half of the CENT energy."""

    def __call__(
        self,
        system: System,
        environment: Environment,
        features: Float[Array, "atoms features"],
        charges: Charges,
    ) -> Float[Array, " atoms"]:
        chi, hardness = charges.electronegativity, charges.hardness
        if chi is None or hardness is None:
            raise InputError("A site energy needs equilibrated charges, not local ones.")
        return (chi + 0.5 * hardness * charges.charges) * charges.charges


class Offsets(eqx.Module):
    """A constant energy per element, such as that of the free atom.

    Attributes:
        elements: Atomic numbers.
        energies: In eV.
        frozen: Fields that training leaves alone.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    energies: Float[Array, " elements"]
    frozen: tuple[str, ...] = eqx.field(static=True, default=("energies",))

    def __call__(
        self,
        system: System,
        environment: Environment,
        features: Float[Array, "atoms features"],
        charges: Charges | None,
    ) -> Float[Array, " atoms"]:
        offsets = self.energies[element_index(system.numbers, self.elements)]
        return jnp.where(system.real, offsets, 0.0)


Term = ShortRange | Messages | Coulomb | SiteEnergy | Offsets
