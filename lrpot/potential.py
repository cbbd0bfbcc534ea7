"""A potential: a descriptor, a charge model and a sum of energy terms."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.charges import (
    Charges,
    Equilibration,
    LinearisedCharges,
    LocalCharges,
    corrected_energies,
)
from lrpot.charges.local import element_widths
from lrpot.descriptors import ACSF, Linearised, SplitACSF
from lrpot.devices import devices_along, in_full_precision
from lrpot.elements import SYMBOLS, symbols
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.messages import Exchange
from lrpot.neighbors import Neighbors, neighbor_list
from lrpot.reciprocal import Reciprocal
from lrpot.system import System
from lrpot.terms import Coulomb, Messages, SiteEnergy, Term

Guess = tuple[Float[Array, "*members atoms"], Float[Array, "*members atoms"]]
"""Charges and their adjoint, in e: what an iterative solver starts from. For a committee of each
member."""


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
    charge_model: LocalCharges | Equilibration | LinearisedCharges | None
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
        ranges += [exchange.cutoff for exchange in self.exchanges]
        return max(ranges)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All messages between atoms, those that charges depend on first."""
        model = self.charge_model
        found = [model.exchange] if isinstance(model, Equilibration) else []
        found += [term.exchange for term in self.terms.values() if isinstance(term, Messages)]
        return tuple(one for one in found if one is not None)

    def reciprocal(self, system: System, *, growth: float = 0.0) -> Reciprocal | None:
        """What the long-range sum needs besides neighbours; `None` without charges.

        Args:
            system: One system, outside compiled code.
            growth: Largest relative growth of the cell to be prepared for.
        """
        model = self.charge_model
        if model is None:
            return None
        if isinstance(model, Equilibration):
            return model.reciprocal(system, growth=growth)
        widths = element_widths(model.radii, system, self.elements)
        return model.coulomb.reciprocal(system, widths, growth=growth)

    def with_solver(self, **settings: Any) -> "Potential":
        """The same potential with charges that are solved for in another way.

        Args:
            **settings: `solver`, `tolerance` or `max_iterations` of `lrpot.charges.Equilibration`.
        """
        if not isinstance(self.charge_model, Equilibration):
            raise InputError(f"A potential of recipe `{self.recipe}` equilibrates no charges.")
        model = dataclasses.replace(self.charge_model, **settings)
        return dataclasses.replace(self, charge_model=model)

    def on_devices(self, count: int | None = None) -> "Potential":
        """The same potential for one large system on several devices.

        Each holds and computes the neighbours of its share of the atoms, which is most of memory
        and time; positions, charges and the mesh of a long-range sum are the same on each.
        Results agree within rounding. A file of it knows nothing of devices.

        Args:
            count: How many devices share the atoms; all that JAX finds when not given.

        Raises:
            InputError: If there are not so many, or the potential has messages, which need what
                atoms of other shares have found.
        """
        mesh = devices_along("atoms", count)
        if mesh is not None and self.exchanges:
            raise InputError(
                "A potential with messages cannot share the atoms of a system between devices: run "
                "it on one."
            )
        descriptor = self.descriptor
        if not isinstance(descriptor, ACSF):
            raise InputError("Kept descriptors, of a training, are not computed on any device.")
        parts = descriptor.parts, descriptor.scaling, descriptor.columns
        split = ACSF(*parts) if mesh is None else SplitACSF(*parts, mesh=mesh)
        return dataclasses.replace(self, descriptor=split)

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
            system, self.cutoff + skin, capacity=capacity, reciprocal=self.reciprocal(system)
        )

    @in_full_precision
    def __call__(
        self, system: System, environment: Environment, *, guess: Guess | None = None
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        """Energies by atom, in eV, and the charges.

        Args:
            system: One system.
            environment: Its environment.
            guess: Charges and adjoint, in e, that an iterative solver starts from; others have no
                use for it.
        """
        features, model = self.descriptor(environment), self.charge_model

        def energies(charges: Charges | None) -> Array:
            total = jnp.zeros_like(features[:, 0])
            for term in self.terms.values():
                total += term(system, environment, features, charges)  # pyright: ignore[reportArgumentType]  (see __check_init__)
            if charges is not None and system.external is not None:
                total += system.external * charges.charges
            return total

        self._check_conditions(system)
        if isinstance(model, Equilibration) and model.is_iterative(system):
            problem = model.problem(features, system, environment)
            return corrected_energies(problem, energies, guess)
        charges = None if model is None else model(features, system, environment)
        return energies(charges), charges

    def _check_conditions(self, system: System) -> None:
        model = self.charge_model
        if model is None and system.field is not None:
            raise InputError(
                f"A potential of recipe `{self.recipe}` has no charges, and feels no field. Take "
                "one with charges, or leave the field out."
            )
        driven = system.applied is not None or system.fragments is not None
        if driven and not isinstance(model, Equilibration | LinearisedCharges):
            raise InputError(
                f"A potential of recipe `{self.recipe}` equilibrates no charges: it knows neither "
                "applied potentials nor fragments. Take a 4G or CENT potential."
            )


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
