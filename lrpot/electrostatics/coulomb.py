"""The Coulomb map: from charges to the potential at the atoms, whatever the boundary."""

import abc
import dataclasses
from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.arraylike import ArrayLike
from lrpot.electrostatics.accuracy import (
    ewald_parameters,
    mesh_shape,
    mesh_splitting,
    pair_cost,
)
from lrpot.electrostatics.ewald import ewald_operator
from lrpot.electrostatics.mesh import mesh_operator
from lrpot.electrostatics.open import OpenOperator, open_matrix
from lrpot.electrostatics.operator import Operator
from lrpot.electrostatics.slab import extended_cell, slab_periods
from lrpot.environment import Environment
from lrpot.errors import InputError, suggestion
from lrpot.reciprocal import Mesh, Reciprocal, wave_indices
from lrpot.system import System
from lrpot.units import KE

MESH_FROM = 64
"""Number of atoms from which a mesh is faster than a sum over waves; see docs/theory.md."""

ROUGH = 1e-2
"""Relative force error of the coarser grid that goes with a mesh."""

Method = Literal["auto", "ewald", "mesh"]


class CoulombMap(eqx.Module):
    """A linear map from charges to the potential at the atoms.

    Attributes:
        cutoff: Range of the neighbour list that it needs, in Å.
        constant: Coulomb constant, in eV Å/e².
    """

    cutoff: eqx.AbstractVar[float]
    constant: eqx.AbstractVar[float]

    @abc.abstractmethod
    def reciprocal(
        self, system: System, widths: ArrayLike | None = None, *, growth: float = 0.0
    ) -> Reciprocal | None:
        """What the sum needs besides neighbours, chosen once for a cell; plain numpy.

        Args:
            system: Its cell, its number of atoms and, for a slab, its thickness matter.
            widths: [atoms] standard deviations of the charges, in Å; `None` for point charges.
            growth: Largest relative growth of the cell to be prepared for.

        Raises:
            InputError: If the sum cannot have the boundaries of the system.
        """

    @abc.abstractmethod
    def operator(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Operator:
        """The map for one system.

        Args:
            widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
            system: The atoms; padding atoms must carry no charge.
            environment: Their environment.
        """

    def __call__(
        self,
        charges: Float[Array, " atoms"],
        widths: Float[Array, " atoms"] | None,
        system: System,
        environment: Environment,
    ) -> Float[Array, " atoms"]:
        """Potential of the charges at the atoms, in eV/e; self-interaction included."""
        return self.operator(widths, system, environment)(charges)


class CoulombSum(CoulombMap):
    """Linear map from charges to the potential at the atoms, by the boundary of the system.

    Molecules, slabs and crystals may carry a net charge.

    Attributes:
        cutoff: Range of the real-space part where there are periods, in Å. Cost moves between the
            two parts with it, the result does not change.
        accuracy: Requested relative error of the electrostatic forces in a crystal or slab. Sums
            in open space are exact.
        constant: Coulomb constant, in eV Å/e²; files of other programs may have their own.
        method: How the waves of a crystal are summed: `ewald` one by one, `mesh` by a particle
            mesh, `auto` by a mesh from `MESH_FROM` atoms on.
    """

    cutoff: float = eqx.field(static=True, default=6.0)
    accuracy: float = eqx.field(static=True, default=1e-6)
    constant: float = eqx.field(static=True, default=KE)
    method: Method = eqx.field(static=True, default="auto")

    def __check_init__(self):
        ewald_parameters(self.accuracy, self.cutoff)
        if self.method not in get_args(Method):
            raise InputError(
                f"Unknown method `{self.method}`. {suggestion(self.method, get_args(Method))}"
            )

    @classmethod
    def balanced(
        cls, system: System, widths: ArrayLike | None = None, *, accuracy: float = 1e-6
    ) -> "CoulombSum":
        """A sum with the real-space cutoff at which both parts of a mesh cost least together.

        For charges alone: a potential has a neighbour list anyway, of the range of its
        descriptor, and its sum follows that.

        Args:
            system: A crystal; its cell and its number of atoms matter.
            widths: [atoms] standard deviations of the charges, in Å; `None` for point charges.
            accuracy: Requested relative error of the electrostatic forces.
        """
        if system.cell is None:
            raise InputError("There is nothing to balance without a cell: sums are exact there.")
        cell = np.asarray(system.cell, dtype=float)
        density = system.n_atoms / float(np.linalg.det(cell))
        costs = {}
        for cutoff in np.arange(3.0, 15.01, 0.25):
            cost = _mesh(accuracy, float(cutoff), cell, system, widths)[1]
            costs[float(cutoff)] = cost + pair_cost(system.n_atoms, density, cutoff)
        return cls(min(costs, key=lambda cutoff: costs[cutoff]), accuracy)

    def reciprocal(
        self, system: System, widths: ArrayLike | None = None, *, growth: float = 0.0
    ) -> Reciprocal | None:
        """As in `CoulombMap`; one periodic direction alone is refused."""
        if system.cell is None:
            return None
        empty = slab_periods(
            system, widths, accuracy=self.accuracy, cutoff=self.cutoff, growth=growth
        )
        cell = extended_cell(system, empty)
        cell = (1 + growth) * np.asarray(cell, dtype=float)
        if self.method == "ewald" or (self.method == "auto" and system.n_atoms < MESH_FROM):
            wave_cutoff = ewald_parameters(self.accuracy, self.cutoff)[1]
            return dataclasses.replace(empty, waves=jnp.asarray(wave_indices(cell, wave_cutoff)))
        mesh, _ = _mesh(self.accuracy, self.cutoff, cell, system, widths)
        return dataclasses.replace(empty, mesh=mesh)

    def operator(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Operator:
        """As in `CoulombMap`."""
        scale = self.constant / KE
        if system.cell is None:
            return OpenOperator(scale * open_matrix(system.positions, widths))
        if environment.reciprocal is not None and environment.reciprocal.mesh is not None:
            return mesh_operator(
                widths, system, environment, cutoff=self.cutoff, constant=self.constant
            )
        alpha, _ = ewald_parameters(self.accuracy, self.cutoff)
        return ewald_operator(
            widths, system, environment, alpha=alpha, cutoff=self.cutoff, constant=self.constant
        )


class FixedSum(CoulombMap):
    """An Ewald sum of given parameters, with one splitting width for all charges.

    For comparison with programs that truncate their sums: the result depends on the parameters,
    and is not accurate where they are not. `CoulombSum` chooses them by an accuracy.

    Attributes:
        alpha: Splitting parameter, in 1/Å.
        cutoff: Range of the real-space sum, in Å.
        wave_cutoff: Largest wave number, in 1/Å.
        constant: Coulomb constant, in eV Å/e².
    """

    alpha: float = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)
    wave_cutoff: float = eqx.field(static=True)
    constant: float = eqx.field(static=True, default=KE)

    def reciprocal(
        self, system: System, widths: ArrayLike | None = None, *, growth: float = 0.0
    ) -> Reciprocal | None:
        """What the sum needs besides neighbours, as in `CoulombMap`; the waves never grow."""
        if system.cell is None:
            return None
        if not all(system.pbc):
            raise InputError(
                "A sum of given parameters is for crystals and molecules, as in the programs it is "
                f"compared with; this system has pbc={system.pbc}. Use a `CoulombSum`."
            )
        return Reciprocal(jnp.asarray(wave_indices(np.asarray(system.cell), self.wave_cutoff)))

    def operator(
        self, widths: Float[Array, " atoms"] | None, system: System, environment: Environment
    ) -> Operator:
        """As in `CoulombMap`."""
        if system.cell is None:
            return OpenOperator(self.constant / KE * open_matrix(system.positions, widths))
        return ewald_operator(
            widths,
            system,
            environment,
            alpha=self.alpha,
            cutoff=self.cutoff,
            uniform=True,
            constant=self.constant,
        )


def _mesh(
    accuracy: float, cutoff: float, cell: np.ndarray, system: System, widths: ArrayLike | None
) -> tuple[Mesh, float]:
    """The cheapest mesh of an accuracy, and its cost."""
    real = np.asarray(system.numbers) > 0
    each = np.zeros(system.n_atoms) if widths is None else np.asarray(widths, dtype=float)
    alpha = mesh_splitting(accuracy, cutoff, each[real])
    wide = 1 / (np.sqrt(2) * alpha)
    # Charges that are dressed to one width share a channel, unless wide ones see their own.
    seen = each if (each[real] >= wide).any() else np.maximum(each, 1 / (2 * alpha))
    found, channel = np.unique(np.where(real, seen, seen[real][0]).round(9), return_inverse=True)
    size = alpha, cell, system.n_atoms, len(found)
    shape, order, spacing, cost = mesh_shape(accuracy, *size)
    dtype = system.positions.dtype
    mesh = Mesh(
        alpha=jnp.asarray(alpha, dtype),
        spacing=jnp.asarray(spacing, dtype),
        channel=jnp.asarray(channel, jnp.int32),
        shape=shape,
        order=order,
        narrow=tuple(bool(width < wide) for width in found),
        rough=mesh_shape(ROUGH, *size)[:2] if accuracy < ROUGH else None,
    )
    return mesh, cost
