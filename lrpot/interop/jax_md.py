"""jax-md: an energy function and a neighbour list in its own conventions.

Lattice vectors are the columns of jax-md's box and the rows of our cell; its displacement is
R_a − R_b. Energy functions ignore the keyword arguments `PASSED_ON`, because integrators hand
theirs on, and refuse all others that they do not know.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax_md import space
from jaxtyping import Array, Float

from lrpot.arraylike import ArrayLike
from lrpot.charges import Charges
from lrpot.committee import Committee
from lrpot.devices import in_full_precision
from lrpot.environment import (
    Environment,
    environment_from_shifts,
    environment_of_nearest,
)
from lrpot.errors import InputError
from lrpot.interop.jax_md_checks import (
    PASSED_ON,
    check_coordinates,
    check_dense,
    check_displacement,
    check_free,
    check_keywords,
    check_numbers,
)
from lrpot.interop.jax_md_lists import (
    Geometry,
    NeighborFns,
    box_matrix,
    check_room,
    neighbor_functions,
)
from lrpot.neighbors import Neighbors
from lrpot.potential import Guess, Potential, check_elements
from lrpot.system import System

Displacement = Callable[..., Array]

USED = ("box", "guess", "neighbor", "perturbation", "total_charge")
"""Keywords that change what a function for jax-md returns."""


def to_jax_md(
    potential: Potential | Committee,
    displacement: Displacement,
    box: ArrayLike | None,
    numbers: ArrayLike,
    *,
    total_charge: ArrayLike | None = None,
    dr_threshold: float = 0.5,
    fractional_coordinates: bool = True,
    box_change: float = 0.0,
    pbc: ArrayLike | Sequence | None = None,
    **neighbor_kwargs: Any,
) -> tuple[NeighborFns, Callable[..., Array]]:
    """A potential as jax-md's `(neighbor_fn, energy_fn)`.

        neighbors = neighbor_fn.allocate(R, box=box)
        energy = energy_fn(R, neighbor=neighbors, box=box, perturbation=None, total_charge=1.0)

    `energy_fn` returns a scalar and works with every integrator and quantity of jax-md; `box`,
    `perturbation` and `total_charge` may be traced, and default to those given here. Keywords that
    integrators hand on (`dt`, `gamma`, `kT`, `pressure`, `t`) are ignored; others are refused.
    Coordinates may lie anywhere, in the box or outside. `did_buffer_overflow` of a list is true
    when it lacks room or its cells have become too small: allocate it anew. In a box so small that
    a neighbour has several images within the cutoff, the list is jax-md's
    `neighbor_list_multi_image`; in one that becomes so small by a traced `box`, energies are NaN.
    Charges found iteratively start from scratch in every step; `lrpot.interop.jax_md_memory` lets
    them remember.

    Args:
        potential: The potential, or a committee, whose mean energy it is.
        displacement: Displacement function of `jax_md.space` that goes with the box, which is
            checked. Energies and lists find images by the box.
        box: Box: one length, three lengths, or any right-handed 3×3 matrix with lattice vectors
            as columns, in Å. `None` for `space.free`.
        numbers: Atomic numbers (atoms).
        total_charge: In e; zero when not given.
        dr_threshold: Skin of the neighbour list, in Å. jax-md rebuilds a list when atoms have
            moved in fractional coordinates, not when the box has changed: set it to 0 for
            constant pressure.
        fractional_coordinates: Whether coordinates are fractions of the box
            (`space.periodic_general`), or in Å (`space.periodic`, or `space.periodic_general` with
            `fractional_coordinates=False`).
        box_change: Largest relative growth or shrinkage of the box to be prepared for: the set
            of wave vectors is fixed by its integer coordinates.
        pbc: Whether each vector of the box is a period; all are when not given. In a slab, two of
            three, coordinates along the open vector are taken as they are: let `displacement` and
            shift come from `space.periodic_general(..., wrapped=False)`. Charges need atoms no
            further apart along it than the box is high; the energy is NaN if they are.
        **neighbor_kwargs: `capacity_multiplier`, `custom_mask_function` and `disable_cell_list` of
            `jax_md.partition.neighbor_list`.

    Raises:
        InputError: If an element or a keyword is unknown, a total charge is given that the
            potential cannot use, or box, displacement and coordinates do not go together. From
            `energy_fn` and the functions of the list, too.
    """
    model = JaxMdModel(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change, pbc
    )

    def energy_fn(R: ArrayLike, neighbor: Any, **kwargs: Any) -> Float[Array, ""]:
        return model(R, neighbor, **kwargs)[0].sum()

    sizes = potential.cutoff, dr_threshold, box_change
    return neighbor_functions(model.geometry, displacement, *sizes, neighbor_kwargs), energy_fn


def charges_for_jax_md(
    potential: Potential | Committee,
    displacement: Displacement,
    box: ArrayLike | None,
    numbers: ArrayLike,
    *,
    total_charge: ArrayLike | None = None,
    fractional_coordinates: bool = True,
    box_change: float = 0.0,
    pbc: ArrayLike | Sequence | None = None,
) -> Callable[..., Charges]:
    """A function `charges_fn(R, neighbor=..., ...)` to go with the energy function.

    Arguments are those of `to_jax_md`. It returns everything that the charge model says, the
    flag `converged` included, which an energy function has no room for; of a committee, with a
    leading axis for its members.
    """
    if potential.charge_model is None:
        raise InputError(f"A potential of recipe `{potential.recipe}` has no charges.")
    model = JaxMdModel(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change, pbc
    )

    def charges_fn(R: ArrayLike, neighbor: Any, **kwargs: Any) -> Charges:
        charges = model(R, neighbor, **kwargs)[1]
        assert charges is not None  # checked above
        return charges

    return charges_fn


class JaxMdModel:
    """From jax-md's arguments to those of a potential."""

    def __init__(
        self,
        potential: Potential | Committee,
        displacement: Displacement,
        box: ArrayLike | None,
        numbers: ArrayLike,
        total_charge: ArrayLike | None,
        fractional: bool,
        box_change: float,
        pbc: ArrayLike | Sequence | None,
    ):
        _check_charge(potential, total_charge)
        check_elements(potential.elements, check_numbers(numbers))
        self.potential = potential
        self.numbers = jnp.asarray(numbers, dtype=jnp.int32)
        self.total_charge = 0.0 if total_charge is None else total_charge
        matrix = None if box is None else box_matrix(box)
        cell = None if matrix is None else np.asarray(matrix, dtype=float).T
        positions = np.zeros((len(self.numbers), 3))
        if cell is not None and len(positions):
            # Along an open vector of the box atoms may be as far apart as the box is high.
            positions[-1] = cell[~np.broadcast_to(True if pbc is None else pbc, 3)].sum(axis=0)
        system = System(positions, self.numbers, cell=cell, pbc=pbc, total_charge=self.total_charge)
        if cell is None:
            check_free(displacement)
        else:
            check_displacement(displacement, cell.T, fractional=fractional, pbc=system.pbc)
        self.reciprocal = potential.reciprocal(system, growth=box_change)
        self.geometry = Geometry(
            n_atoms=len(self.numbers),
            box=matrix,
            fractional=fractional and box is not None,
            pbc=system.pbc,
        )

    def __call__(
        self, R: ArrayLike, neighbor: Any, *, guess: Guess | None = None, **kwargs: Any
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        return self.potential(*self.surroundings(R, neighbor, **kwargs), guess=guess)

    @in_full_precision
    def surroundings(
        self,
        R: ArrayLike,
        neighbor: Any,
        *,
        box: ArrayLike | None = None,
        perturbation: ArrayLike | None = None,
        total_charge: ArrayLike | None = None,
        **passed_on: Any,
    ) -> tuple[System, Environment]:
        """The system and its environment, as a potential takes them."""
        check_keywords("the functions for jax-md", passed_on, known=USED, ignored=PASSED_ON)
        _check_charge(self.potential, total_charge)
        check_dense(neighbor, self.geometry.n_atoms)
        R = check_coordinates(R, self.geometry.n_atoms)
        matrix, deformed = self.geometry.boxes(box, perturbation, R.dtype)
        positions, images = R, hasattr(neighbor, "shifts")
        if matrix is not None:
            positions = self._in_the_list(R, neighbor, matrix) if images else R
            # `transform` and no product: its derivative is what integrators expect, in real space.
            if self.geometry.fractional:
                positions = space.transform(matrix, positions)
        if perturbation is not None:
            positions = positions @ box_matrix(perturbation).astype(R.dtype).T
        if deformed is not None and not images and (box is not None or perturbation is not None):
            positions = self._if_room(positions, deformed)
        system = System(
            positions,
            self.numbers,
            cell=None if deformed is None else deformed.T,
            total_charge=self.total_charge if total_charge is None else total_charge,
            pbc=self.geometry.pbc,
        )
        if deformed is not None and not images:
            return system, environment_of_nearest(system, neighbor.idx, reciprocal=self.reciprocal)
        shifts = neighbor.shifts.astype(jnp.int32) if images else None
        overflow = jnp.asarray(neighbor.did_buffer_overflow, bool)
        neighbors = Neighbors(neighbor.idx.astype(jnp.int32), shifts, self.reciprocal, overflow)
        return system, environment_from_shifts(system, neighbors)

    def _in_the_list(self, R: Array, neighbor: Any, matrix: Array) -> Array:
        """Coordinates on the side of the boundary where they were when the list was made.

        The shifts of the list belong there.
        """
        moved = self.geometry.fractions(R, matrix) - neighbor.reference_position
        crossed = jax.lax.stop_gradient(jnp.round(moved))
        crossed = jnp.where(jnp.asarray(self.geometry.pbc)[None, :], crossed, 0.0)
        return R - (crossed if self.geometry.fractional else crossed @ matrix.T)

    def _if_room(self, positions: Array, box: Array) -> Array:
        """The positions, where the nearest images are all that is within the cutoff; NaN elsewhere.

        Raises:
            InputError: If the box is known, and too small.
        """
        if not isinstance(box, Tracer):
            check_room(self.geometry, self.potential.cutoff, box)
        small = self.geometry.is_small(self.potential.cutoff, jax.lax.stop_gradient(box))
        return jnp.where(small, jnp.nan, positions)


def _check_charge(potential: Potential | Committee, total_charge: ArrayLike | None) -> None:
    if total_charge is not None and potential.charge_model is None:
        raise InputError(
            f"A potential of recipe `{potential.recipe}` has no charges and cannot use a total "
            "charge. Leave it out, or take a potential with charges."
        )
