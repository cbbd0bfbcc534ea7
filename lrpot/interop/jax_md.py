"""jax-md: an energy function and a neighbour list in its own conventions.

Lattice vectors are the columns of jax-md's box and the rows of our cell; its displacement is
R_a − R_b. Energy functions swallow keyword arguments they have no use for, because integrators
hand theirs on.
"""

from collections.abc import Callable
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax_md import partition, space
from jaxtyping import Array, ArrayLike, Float

from lrpot.charges import Charges
from lrpot.environment import environment_from_displacement
from lrpot.errors import InputError
from lrpot.neighbors import wave_indices
from lrpot.potential import Potential, check_elements
from lrpot.system import System, check_cell

Displacement = Callable[..., Array]


def to_jax_md(
    potential: Potential,
    displacement: Displacement,
    box: ArrayLike | None,
    numbers: ArrayLike,
    *,
    total_charge: ArrayLike | None = None,
    dr_threshold: float = 0.5,
    fractional_coordinates: bool = True,
    box_change: float = 0.0,
    **neighbor_kwargs: Any,
) -> tuple[partition.NeighborListFns, Callable[..., Array]]:
    """A potential as jax-md's `(neighbor_fn, energy_fn)`.

        neighbors = neighbor_fn.allocate(R, box=box)
        energy = energy_fn(R, neighbor=neighbors, box=box, perturbation=None, total_charge=1.0)

    `energy_fn` returns a scalar and works with every integrator and quantity of jax-md; `box`,
    `perturbation` and `total_charge` may be traced, and default to those given here.

    Args:
        potential: The potential.
        displacement: Displacement function of `jax_md.space`.
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
        **neighbor_kwargs: Passed on to `jax_md.partition.neighbor_list`.

    Raises:
        InputError: If the box is too small for the nearest image to be the only one, an element
            is unknown, or a total charge is given that the potential cannot use.
    """
    model = _Model(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change
    )
    if box is not None:
        model.check_size(dr_threshold, box_change)
    else:
        # Without a box there are no cells to sort atoms into.
        neighbor_kwargs = {"disable_cell_list": True, **neighbor_kwargs}
    neighbor_fn = partition.neighbor_list(
        displacement,
        jnp.asarray(1.0 if box is None else box),
        r_cutoff=potential.cutoff,
        dr_threshold=dr_threshold,
        fractional_coordinates=fractional_coordinates and box is not None,
        format=partition.Dense,
        **neighbor_kwargs,
    )

    def energy_fn(R: Float[Array, "atoms 3"], neighbor: Any, **kwargs: Any) -> Float[Array, ""]:
        return model(R, neighbor, **kwargs)[0].sum()

    return cast(partition.NeighborListFns, neighbor_fn), energy_fn


def charges_for_jax_md(
    potential: Potential,
    displacement: Displacement,
    box: ArrayLike | None,
    numbers: ArrayLike,
    *,
    total_charge: ArrayLike | None = None,
    fractional_coordinates: bool = True,
    box_change: float = 0.0,
) -> Callable[..., Charges]:
    """A function `charges_fn(R, neighbor=..., ...)` to go with the energy function.

    Arguments are those of `to_jax_md`. It returns everything that the charge model says, the
    flag `converged` included, which an energy function has no room for.
    """
    if potential.charge_model is None:
        raise InputError(f"A potential of recipe `{potential.recipe}` has no charges.")
    model = _Model(
        potential, displacement, box, numbers, total_charge, fractional_coordinates, box_change
    )

    def charges_fn(R: Float[Array, "atoms 3"], neighbor: Any, **kwargs: Any) -> Charges:
        charges = model(R, neighbor, **kwargs)[1]
        assert charges is not None  # checked above
        return charges

    return charges_fn


class _Model:
    """From jax-md's arguments to those of a potential."""

    def __init__(
        self,
        potential: Potential,
        displacement: Displacement,
        box: ArrayLike | None,
        numbers: ArrayLike,
        total_charge: ArrayLike | None,
        fractional: bool,
        box_change: float,
    ):
        _check_charge(potential, total_charge)
        check_elements(potential.elements, np.asarray(numbers))
        self.potential, self.displacement = potential, displacement
        self.numbers = jnp.asarray(numbers, dtype=jnp.int32)
        self.total_charge = 0.0 if total_charge is None else total_charge
        self.fractional = fractional and box is not None
        self.box = None if box is None else jnp.asarray(box)
        self.waves = None
        if self.box is not None:
            cell = np.asarray(box_matrix(self.box), dtype=float).T
            check_cell(cell)
            if potential.wave_cutoff is not None:
                self.waves = jnp.asarray(
                    wave_indices(cell, potential.wave_cutoff * (1 + box_change))
                )

    def check_size(self, dr_threshold: float, box_change: float) -> None:
        """Raise unless no second image of a neighbour can come within the cutoff."""
        assert self.box is not None
        cell = np.asarray(box_matrix(self.box), dtype=float).T
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        least, needed = heights.min() * (1 - box_change), self.potential.cutoff + dr_threshold
        if needed > least / 2:
            raise InputError(
                f"The box is too small: jax-md's displacement sees the nearest image only, so "
                f"half the smallest height of the box ({least / 2:.3f} Å) must exceed the cutoff "
                f"and the skin ({needed:.3f} Å). Repeat the cell, or use a potential with a "
                "shorter cutoff."
            )

    def __call__(
        self,
        R: Float[Array, "atoms 3"],
        neighbor: Any,
        box: Array | None = None,
        perturbation: Array | None = None,
        total_charge: ArrayLike | None = None,
        **_: Any,
    ) -> tuple[Float[Array, " atoms"], Charges | None]:
        _check_charge(self.potential, total_charge)
        passed = {"box": box, "perturbation": perturbation}
        environment = environment_from_displacement(
            self.displacement,
            R,
            self.numbers,
            neighbor.idx,
            waves=self.waves,
            **{name: value for name, value in passed.items() if value is not None},
        )
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
        system = System(positions, self.numbers, cell=cell, total_charge=charge)
        return self.potential(system, environment)


def _check_charge(potential: Potential, total_charge: ArrayLike | None) -> None:
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
