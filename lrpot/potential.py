"""A potential: a descriptor, a charge model and a sum of energy terms."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.charges import Charges, Equilibration, LocalCharges
from lrpot.descriptors import ACSF, Linearised
from lrpot.elements import SYMBOLS, symbols
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors, neighbor_list
from lrpot.system import System
from lrpot.terms import Coulomb, SiteEnergy, Term


class Potential(eqx.Module):
    """An interatomic potential. Build one with a recipe of `lrpot.MODELS`.

    Attributes:
        elements: Atomic numbers it is made for, sorted.
        descriptor: From environments to features.
        charge_model: From features to charges; `None` for a potential without charges.
        terms: Energy terms by name; the energy is their sum.
        recipe: Name of the recipe it was built by.
    """

    elements: tuple[int, ...] = eqx.field(static=True)
    descriptor: ACSF | Linearised
    charge_model: LocalCharges | Equilibration | None
    terms: dict[str, Term]
    recipe: str = eqx.field(static=True, default="custom")

    def __check_init__(self):
        needy = [
            name for name, term in self.terms.items() if isinstance(term, Coulomb | SiteEnergy)
        ]
        if needy and self.charge_model is None:
            raise InputError(f"The term `{needy[0]}` needs charges, but there is no charge model.")

    @property
    def cutoff(self) -> float:
        """Range of the neighbour list that the potential needs, in Å."""
        ranges = [self.descriptor.cutoff]
        if self.charge_model is not None:
            ranges.append(self.charge_model.coulomb.cutoff)
        for term in self.terms.values():
            if isinstance(term, Coulomb) and term.screening is not None:
                ranges.append(term.screening.outer)
        return max(ranges)

    @property
    def wave_cutoff(self) -> float | None:
        """Largest wave number of the reciprocal sum, in 1/Å; `None` without charges."""
        return None if self.charge_model is None else self.charge_model.coulomb.wave_cutoff

    def neighbors(
        self, system: System, *, skin: float = 0.0, capacity: int | None = None
    ) -> Neighbors:
        """Neighbour list with everything that this potential needs of it.

        Args:
            system: One system, outside compiled code.
            skin: Added to the cutoff, in Å, for a list that stays valid while atoms move.
            capacity: Slots per atom; by default as many as needed.

        Raises:
            InputError: If an element is not one of the potential's, or atoms overlap.
        """
        check_elements(self.elements, np.asarray(system.numbers))
        return neighbor_list(
            system, self.cutoff + skin, capacity=capacity, wave_cutoff=self.wave_cutoff
        )

    def __call__(
        self, system: System, environment: Environment
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        """Energies by atom, in eV, and the charges."""
        features = self.descriptor(environment)
        charges = None
        if self.charge_model is not None:
            charges = self.charge_model(features, system, environment)
        energies = jnp.zeros_like(features[:, 0])
        for term in self.terms.values():
            energies += term(system, environment, features, charges)  # pyright: ignore[reportArgumentType]  (see __check_init__)
        return energies, charges


def check_elements(elements: tuple[int, ...], numbers: np.ndarray) -> None:
    """Raise `InputError` if an atom is of none of the elements; padding atoms are fine."""
    unknown = np.flatnonzero(~np.isin(numbers, (0, *elements)))
    if len(unknown):
        atom, number = int(unknown[0]), int(numbers[unknown[0]])
        name = SYMBOLS[number] if number < len(SYMBOLS) else "?"
        raise InputError(
            f"Element {number} ({name}, atom {atom}) is not one of this potential's elements: "
            f"{symbols(elements)}. Build it with that element too, or leave the structure out."
        )


def trainable(potential: Any) -> Any:
    """A tree of booleans: True for arrays that are learnt, False for statistics and settings.

    A module names the fields that training leaves alone in its attribute `frozen`.
    """

    def learnt(path: tuple[Any, ...], leaf: Any) -> bool:
        node = potential
        for key in path:
            if isinstance(node, eqx.Module):
                if key.name in getattr(node, "frozen", ()):
                    return False
                node = getattr(node, key.name)
            else:
                node = node[getattr(key, "key", getattr(key, "idx", None))]
        return eqx.is_inexact_array(leaf)

    return jax.tree_util.tree_map_with_path(learnt, potential)


def count_parameters(potential: Potential) -> int:
    """Number of learnt parameters."""
    learnt = eqx.filter(potential, trainable(potential))
    return sum(leaf.size for leaf in jax.tree.leaves(learnt))


Recipe = Callable[..., Potential]
