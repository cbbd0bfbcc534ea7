"""Several potentials that differ by chance: their mean, and how far they disagree."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lrpot.charges import Charges
from lrpot.environment import Environment
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors
from lrpot.potential import Guess, Potential
from lrpot.reciprocal import Reciprocal
from lrpot.system import Prediction, System, Uncertainty
from lrpot.terms import Term

QUANTITIES = ("energy", "forces", "charges")
"""What a committee has an uncertainty of."""


class Committee(eqx.Module):
    """Potentials of one shape, evaluated together; takes the place of a potential.

    `lrpot.predict`, the ASE calculator, `lrpot.fit` and evaluations take it as they take a
    potential. It predicts the mean of its members, and how far they are apart [schran:20].

    Attributes:
        members: Potentials that differ in their parameters only.
        factors: By quantity, what turns the standard deviation of the members into the expected
            error; see `lrpot.training.calibrate_uncertainty`.

    Raises:
        InputError: If there are fewer than two members, or their shapes or settings differ.

    Examples:
        >>> import lrpot
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> committee = Committee([lrpot.hdnnp_2g(("H",), hidden=(3,), key=key) for key in keys])
        >>> found = lrpot.predict(committee, System([[0, 0, 0], [0.8, 0, 0]], [1, 1]))
        >>> found.forces.shape, found.uncertainty.forces.shape
        ((2, 3), (2,))
    """

    members: tuple[Potential, ...]
    factors: dict[str, Float[Array, ""]]

    frozen: ClassVar[tuple[str, ...]] = ("factors",)

    def __init__(self, members: Any, factors: dict[str, Float[Array, ""]] | None = None):
        self.members = tuple(members)
        self.factors = factors or {name: jnp.ones(()) for name in QUANTITIES}
        kinds = {
            (jax.tree.structure(one), tuple(leaf.shape for leaf in jax.tree.leaves(one)))
            for one in self.members
        }
        if len(self.members) < 2 or len(kinds) > 1:
            raise InputError(
                "A committee needs two or more potentials with the same settings and shapes, got "
                f"{len(self.members)} of {len(kinds)} kinds. Build them by one recipe, with "
                "different keys."
            )

    @property
    def stacked(self) -> Potential:
        """All members as one potential, whose arrays have a leading axis `members`."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.members)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that the members are made for."""
        return self.members[0].elements

    @property
    def recipe(self) -> str:
        """Name of the recipe that the members were built by."""
        return self.members[0].recipe

    @property
    def charge_model(self) -> Any:
        """That of the first member, which tells of the others what kind they are of."""
        return self.members[0].charge_model

    @property
    def terms(self) -> dict[str, Term]:
        """Those of the first member, likewise."""
        return self.members[0].terms

    def neighbors(
        self, system: System, *, skin: float = 0.0, capacity: int | None = None
    ) -> Neighbors:
        """As `Potential.neighbors`: one list serves all members."""
        return self.members[0].neighbors(system, skin=skin, capacity=capacity)

    @property
    def cutoff(self) -> float:
        """Range of the neighbour list that the members need, in Å."""
        return self.members[0].cutoff

    def reciprocal(self, system: System, *, growth: float = 0.0) -> Reciprocal | None:
        """As `Potential.reciprocal`."""
        return self.members[0].reciprocal(system, growth=growth)

    def __call__(
        self, system: System, environment: Environment, *, guess: Guess | None = None
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        """Mean energies by atom, in eV, and the charges of each member.

        As a potential, but that all arrays of charges and guess have a leading axis `members`.
        """

        def alone(member: Potential, guess: Guess | None) -> tuple[Array, Charges | None]:
            return member(system, environment, guess=guess)

        energies, charges = jax.vmap(alone)(self.stacked, guess)
        return energies.mean(axis=0), charges

    def uncertainty(
        self, energy: Array, forces: Array | None, charges: Array | None
    ) -> Uncertainty:
        """Expected errors, from predictions of the members.

        Args:
            energy: [members], in eV.
            forces: [members, atoms, 3], in eV/Å.
            charges: [members, atoms], in e.
        """
        energy = self.factors["energy"] * jnp.std(energy, axis=0)
        if forces is not None:
            variance = jnp.mean(jnp.std(forces, axis=0) ** 2, axis=-1)
            forces = self.factors["forces"] * jnp.sqrt(variance)
        if charges is not None:
            charges = self.factors["charges"] * jnp.std(charges, axis=0)
        return Uncertainty(energy, forces, charges)

    def summary(self, each: Prediction) -> Prediction:
        """The mean of what the members predict, and their uncertainty.

        Args:
            each: Predictions of the members, with a leading axis `members`.
        """
        mean: Prediction = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), each)
        return dataclasses.replace(
            mean,
            overflow=each.overflow.any(axis=0),
            converged=each.converged.all(axis=0),
            iterations=None if each.iterations is None else each.iterations.max(axis=0),
            residual=None if each.residual is None else each.residual.max(axis=0),
            uncertainty=self.uncertainty(each.energy, each.forces, each.charges),
        )


def unstacked(stacked: Potential) -> tuple[Potential, ...]:
    """The members of a stacked potential."""
    count = len(jax.tree.leaves(stacked)[0])
    return tuple(jax.tree.map(lambda leaf, row=row: leaf[row], stacked) for row in range(count))
