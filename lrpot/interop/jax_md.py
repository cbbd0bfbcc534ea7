"""jax-md: an energy function and a neighbour list in its own conventions.

Lattice vectors are the columns of jax-md's box and the rows of our cell; its displacement is
R_a − R_b. Energy functions swallow keyword arguments they have no use for, because integrators
hand theirs on.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_md import custom_partition, partition, space
from jaxtyping import Array, ArrayLike, Float

from lrpot.charges import Charges
from lrpot.committee import Committee
from lrpot.devices import in_full_precision
from lrpot.environment import (
    Environment,
    environment_from_shifts,
    environment_of_nearest,
)
from lrpot.errors import InputError
from lrpot.neighbors import Neighbors
from lrpot.potential import Guess, Potential, check_elements
from lrpot.system import System

Displacement = Callable[..., Array]
NeighborFns = partition.NeighborListFns | custom_partition.NeighborListMultiImageFns


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
    `perturbation` and `total_charge` may be traced, and default to those given here. In a box so
    small that a neighbour has several images within the cutoff, the list is jax-md's
    `neighbor_list_multi_image`, whose flag is `did_buffer_overflow` alone. Charges found
    iteratively start from scratch in every step; `lrpot.interop.jax_md_memory` lets them remember.

    Args:
        potential: The potential, or a committee, whose mean energy it is.
        displacement: Displacement function of `jax_md.space`, for the search of neighbours where
            coordinates are in Å; energies find the nearest image by the box.
        box: Box that goes with it: a number, a vector or an upper triangular matrix with
            lattice vectors as columns. `None` for `space.free`.
        numbers: Atomic numbers.
        total_charge: In e; zero when not given.
        dr_threshold: Skin of the neighbour list, in Å. jax-md rebuilds a list when atoms have
            moved in fractional coordinates, not when the box has changed: set it to 0 for
            constant pressure.
        fractional_coordinates: Whether coordinates are fractions of the box
            (`space.periodic_general`), or in Å (`space.periodic`).
        box_change: Largest relative growth or shrinkage of the box to be prepared for: the set
            of wave vectors is fixed by its integer coordinates.
        pbc: Whether each vector of the box is a period; all are when not given. In a slab, two of
            three, coordinates along the open vector are taken as they are: let `displacement` and
            shift come from `space.periodic_general(..., wrapped=False)`. Charges need atoms no
            further apart along it than the box is high; the energy is NaN if they are.
        **neighbor_kwargs: Passed on to `jax_md.partition.neighbor_list`.

    Raises:
        InputError: If an element is unknown, a total charge is given that the potential cannot
            use, or the box is small or not periodic in all directions and coordinates are not
            fractional.
    """
    model = JaxMdModel(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change, pbc
    )

    def energy_fn(R: Float[Array, "atoms 3"], neighbor: Any, **kwargs: Any) -> Float[Array, ""]:
        return model(R, neighbor, **kwargs)[0].sum()

    if box is None:
        # Without a box there are no cells to sort atoms into.
        neighbor_kwargs = {"disable_cell_list": True, **neighbor_kwargs}
    elif model.is_small(dr_threshold, box_change):
        if not fractional_coordinates:
            raise InputError(
                "In this box a neighbour has several images within the cutoff of "
                f"{potential.cutoff:.3f} Å, and that needs fractional coordinates "
                "(`space.periodic_general`). Or repeat the cell."
            )
        small = _small_box_list(box, potential.cutoff, dr_threshold, model.pbc, neighbor_kwargs)
        return small, energy_fn
    neighbor_fn = partition.neighbor_list(
        displacement if model.box is None or not fractional_coordinates else _distance(model.box),
        jnp.asarray(1.0 if box is None else box),
        r_cutoff=potential.cutoff,
        dr_threshold=dr_threshold,
        fractional_coordinates=fractional_coordinates and box is not None,
        format=partition.Dense,
        **neighbor_kwargs,
    )

    lengths = None if box is None else 1.0 if fractional_coordinates else box
    return _robust(neighbor_fn, lengths), energy_fn


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

    def charges_fn(R: Float[Array, "atoms 3"], neighbor: Any, **kwargs: Any) -> Charges:
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
        if box is None:
            _check_free(displacement)
        _check_charge(potential, total_charge)
        check_elements(potential.elements, np.asarray(numbers))
        self.potential = potential
        self.numbers = jnp.asarray(numbers, dtype=jnp.int32)
        self.total_charge = 0.0 if total_charge is None else total_charge
        self.fractional = fractional and box is not None
        self.box = None if box is None else jnp.asarray(box)
        self.reciprocal, self.pbc = None, (False, False, False)
        if self.box is not None:
            cell = np.asarray(box_matrix(self.box), dtype=float).T
            # Along an open vector of the box atoms may be as far apart as the box is high.
            positions = np.zeros((len(self.numbers), 3))
            positions[-1] = np.where(np.broadcast_to(True if pbc is None else pbc, 3), 0, 1) @ cell
            system = System(positions, self.numbers, cell=cell, pbc=pbc)
            self.pbc = system.pbc
            if not all(self.pbc) and not fractional:
                raise InputError(
                    f"A box with pbc={self.pbc} needs fractional coordinates "
                    "(`space.periodic_general`)."
                )
            self.reciprocal = potential.reciprocal(system, growth=box_change)

    def is_small(self, dr_threshold: float, box_change: float) -> bool:
        """Whether a second image of a neighbour can come within the cutoff."""
        assert self.box is not None
        cell = np.asarray(box_matrix(self.box), dtype=float).T
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        least = heights.min() * (1 - box_change)
        return bool(self.potential.cutoff + dr_threshold > least / 2)

    def __call__(
        self,
        R: Float[Array, "atoms 3"],
        neighbor: Any,
        *,
        guess: Guess | None = None,
        **kwargs: Any,
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        return self.potential(*self.surroundings(R, neighbor, **kwargs), guess=guess)

    @in_full_precision
    def surroundings(
        self,
        R: Float[Array, "atoms 3"],
        neighbor: Any,
        *,
        box: Array | None = None,
        perturbation: Array | None = None,
        total_charge: ArrayLike | None = None,
        **_: Any,
    ) -> tuple[System, Environment]:
        """The system and its environment, as a potential takes them."""
        _check_charge(self.potential, total_charge)
        images = hasattr(neighbor, "shifts")
        if images:
            # An atom may have crossed the boundary since the list was made, whose shifts belong
            # to where it was then.
            crossed = jax.lax.stop_gradient(jnp.round(R - neighbor.reference_position))
            R = R - jnp.where(_by_coordinate(self.pbc), crossed, 0.0)
        positions, cell = R, None
        if self.box is not None:
            matrix = box_matrix(self.box if box is None else box).astype(R.dtype)
            # `transform` and no product: its derivative is what integrators expect, in real space.
            positions = space.transform(matrix, R) if self.fractional else R
            if perturbation is not None:
                matrix = box_matrix(perturbation).astype(R.dtype) @ matrix
            cell = matrix.T
        if perturbation is not None:
            positions = positions @ box_matrix(perturbation).astype(R.dtype).T
        charge = self.total_charge if total_charge is None else total_charge
        system = System(positions, self.numbers, cell=cell, total_charge=charge, pbc=self.pbc)
        if cell is not None and not images:
            return system, environment_of_nearest(system, neighbor.idx, reciprocal=self.reciprocal)
        shifts = neighbor.shifts.astype(jnp.int32) if images else None
        overflow = jnp.asarray(neighbor.did_buffer_overflow, bool)
        neighbors = Neighbors(neighbor.idx.astype(jnp.int32), shifts, self.reciprocal, overflow)
        return system, environment_from_shifts(system, neighbors)


def _by_coordinate(pbc: tuple[bool, bool, bool]) -> Array:
    return jnp.asarray(pbc)[None, :]


def _small_box_list(
    box: ArrayLike,
    cutoff: float,
    dr_threshold: float,
    pbc: tuple[bool, bool, bool],
    kwargs: dict[str, Any],
) -> custom_partition.NeighborListMultiImageFns:
    """jax-md's neighbour list with several images of a neighbour, for any coordinates.

    Its search assumes atoms inside of the cell, so they are wrapped first.
    """
    plain = custom_partition.neighbor_list_multi_image(
        None,
        box_matrix(box),
        cutoff,
        dr_threshold=dr_threshold,
        pbc=jnp.asarray(pbc),
        fractional_coordinates=True,
        format=partition.Dense,
        **kwargs,
    )

    def inside(R: Array) -> Array:
        return jnp.where(_by_coordinate(pbc), wrapped(R), R)

    def allocate(R: Array, extra_capacity: int = 0, **rest: Any) -> Any:
        neighbors: Any = plain.allocate(inside(R), extra_capacity=extra_capacity, **rest)
        return neighbors.set(update_fn=update)

    def update(R: Array, neighbors: Any, **rest: Any) -> Any:
        updated: Any = plain.update(inside(R), neighbors.set(update_fn=plain.update), **rest)
        return updated.set(update_fn=update)

    functions: Any = custom_partition.NeighborListMultiImageFns
    return functions(allocate, update)


def _distance(box: Array) -> Callable[..., Array]:
    """Distance to the nearest image, of fractional coordinates, for the search of neighbours.

    Number by number: products of many small arrays take three times as long.
    """
    default = box_matrix(box)

    def distance(
        Ra: Array, Rb: Array, box: Array | None = None, perturbation: Array | None = None, **_: Any
    ) -> Array:
        matrix = (default if box is None else box_matrix(box)).astype(Ra.dtype)
        if perturbation is not None:
            matrix = box_matrix(perturbation).astype(Ra.dtype) @ matrix
        apart = [Ra[vector] - Rb[vector] for vector in range(3)]
        apart = [along - jnp.round(along) for along in apart]
        return jnp.sqrt(
            sum((row[0] * apart[0] + row[1] * apart[1] + row[2] * apart[2]) ** 2 for row in matrix)
        )

    return distance


def _robust(neighbor_fn: Any, lengths: ArrayLike | None) -> partition.NeighborListFns:
    """The same, for coordinates anywhere and lists inside of nested `jit`.

    The cells of jax-md 0.2.29 lose neighbours of atoms outside of the box, without a flag. Their
    size is static data, but computed as an array for fractional coordinates, and static data are
    compared: Langevin dynamics in a crystal then fail.

    Args:
        neighbor_fn: From `jax_md.partition.neighbor_list`.
        lengths: Period of each coordinate; `None` when there is none.
    """

    def inside(R: Array) -> Array:
        return R if lengths is None else wrapped(R, lengths)

    def allocate(R: Array, *args: Any, **kwargs: Any) -> Any:
        neighbors = neighbor_fn.allocate(inside(R), *args, **kwargs)
        size = None if neighbors.cell_size is None else float(neighbors.cell_size)
        return neighbors.set(cell_size=size, update_fn=update)

    def update(R: Array, neighbors: Any, **kwargs: Any) -> Any:
        updated = neighbor_fn.update(inside(R), neighbors.set(update_fn=None), **kwargs)
        return updated.set(update_fn=update)

    return dataclasses.replace(neighbor_fn, allocate=allocate, update=update)


def wrapped(R: Array, lengths: ArrayLike = 1.0) -> Array:
    """Periodic coordinates from 0 to below the given lengths, also for rounding errors below 0."""
    lengths = jnp.broadcast_to(jnp.asarray(lengths, dtype=R.dtype), R.shape)
    remainder = R % lengths
    return jnp.where(remainder < lengths, remainder, 0.0)


def _check_free(displacement: Displacement) -> None:
    """Raise `InputError` if a displacement has periods."""
    there, here = jnp.array([3.1e3, -1.7e3, 2.3e3]), jnp.zeros(3)
    found = displacement(there, here)
    if not np.allclose(found, there):
        raise InputError(
            f"Without a box, displacements are those of `space.free`; this one takes {there} for "
            f"{found}. Give the `box` that goes with it."
        )


def _check_charge(potential: Potential | Committee, total_charge: ArrayLike | None) -> None:
    if total_charge is not None and potential.charge_model is None:
        raise InputError(
            f"A potential of recipe `{potential.recipe}` has no charges and cannot use a total "
            "charge. Leave it out, or take a potential with charges."
        )


def box_matrix(box: ArrayLike) -> Float[Array, "3 3"]:
    """Any box of jax-md as a matrix with lattice vectors as columns."""
    box = jnp.asarray(box)
    if box.ndim == 2:
        return box
    return jnp.diag(jnp.broadcast_to(box, (3,)))
