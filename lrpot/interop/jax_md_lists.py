"""jax-md's neighbour lists, for any box, both kinds of coordinates, and atoms anywhere.

Both lists of jax-md search in fractions of the box here, whatever the coordinates of the user. The
cells of jax-md 0.2.29 lose neighbours of atoms outside of the box without a flag, and its search
with several images assumes atoms inside; coordinates are therefore wrapped first.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax_md import custom_partition, partition
from jaxtyping import Array, Float

from lrpot.arraylike import ArrayLike
from lrpot.devices import in_full_precision
from lrpot.errors import InputError
from lrpot.interop.jax_md_checks import PASSED_ON, check_coordinates, check_keywords

NeighborFns = partition.NeighborListFns | custom_partition.NeighborListMultiImageFns

OWN_SETTINGS = ("box_change", "dr_threshold", "fractional_coordinates", "pbc", "total_charge")
LIST_SETTINGS = ("capacity_multiplier", "custom_mask_function", "disable_cell_list")
"""Keywords of jax-md's `neighbor_list` that `to_jax_md` passes on."""


def box_matrix(box: ArrayLike) -> Float[Array, "3 3"]:
    """Any box of jax-md as a matrix with lattice vectors as columns.

    Raises:
        InputError: If it is neither one number, nor three, nor 3×3.
    """
    box = jnp.asarray(box)
    box = box if jnp.issubdtype(box.dtype, jnp.floating) else box.astype(float)
    if box.shape == (3, 3):
        return box
    if box.size != 1 and box.shape != (3,):
        raise InputError(
            "A box is one length, three lengths, or a 3×3 matrix with the lattice vectors as "
            f"columns; got the shape {box.shape}."
        )
    return jnp.diag(jnp.broadcast_to(box.reshape(-1), (3,)))


def least_height(matrix: Array | np.ndarray) -> Any:
    """The smallest distance between opposite faces of a box, in Å; in numpy for numpy's arrays."""
    xp: Any = np if isinstance(matrix, np.ndarray) else jnp
    return 1 / xp.sqrt(xp.max(xp.sum(xp.linalg.inv(matrix) ** 2, axis=1)))


def wrapped(R: Array, lengths: ArrayLike = 1.0) -> Array:
    """Periodic coordinates from 0 to below the given lengths, also for rounding errors below 0."""
    lengths = jnp.broadcast_to(jnp.asarray(lengths, dtype=R.dtype), R.shape)
    remainder = R % lengths
    return jnp.where(remainder < lengths, remainder, 0.0)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How some atoms are described in jax-md.

    Attributes:
        n_atoms: How many there are.
        box: Lattice vectors as columns, in Å; `None` in open space.
        fractional: Whether coordinates are fractions of the box, or in Å.
        pbc: Which vectors of the box are periods.
    """

    n_atoms: int
    box: Array | None
    fractional: bool
    pbc: tuple[bool, bool, bool]

    @in_full_precision
    def boxes(
        self, box: ArrayLike | None, perturbation: ArrayLike | None, dtype: Any
    ) -> tuple[Array | None, Array | None]:
        """The box that coordinates refer to, and the same deformed; `None` in open space.

        Raises:
            InputError: If a box is given in open space, or its shape is wrong.
        """
        if self.box is None:
            if box is not None:
                raise InputError(
                    "A `box` is given to functions that `to_jax_md` made without one. Make them "
                    "with the box, or leave it out here."
                )
            return None, None
        matrix = (self.box if box is None else box_matrix(box)).astype(dtype)
        if perturbation is None:
            return matrix, matrix
        return matrix, box_matrix(perturbation).astype(dtype) @ matrix

    @in_full_precision
    def fractions(self, R: Array, matrix: Array) -> Array:
        """Coordinates as fractions of a box."""
        return R if self.fractional else R @ jnp.linalg.inv(matrix).T

    def is_small(self, reach: float, matrix: Array | np.ndarray | None = None) -> Any:
        """Whether a second image of a neighbour can come within reach."""
        matrix = self.box if matrix is None else matrix
        assert matrix is not None
        return reach > least_height(matrix) / 2


def neighbor_functions(
    geometry: Geometry,
    displacement: Callable[..., Array],
    cutoff: float,
    dr_threshold: float,
    box_change: float,
    settings: dict[str, Any],
) -> NeighborFns:
    """jax-md's functions `allocate` and `update` for atoms of some geometry.

    Both take `box` and `perturbation`, and ignore what an energy function has a use for.

    Args:
        geometry: The box and the coordinates.
        displacement: Displacement function of open space; others are not needed.
        cutoff: Range of the potential, in Å.
        dr_threshold: Skin, in Å.
        box_change: Largest relative change of the box to be prepared for.
        settings: Keywords for jax-md's list, `LIST_SETTINGS`.
    """
    check_keywords("`to_jax_md`", settings, known=(*LIST_SETTINGS, *OWN_SETTINGS))
    if geometry.box is None:
        # Without a box there are no cells to sort atoms into.
        settings = {"disable_cell_list": True, **settings}
        return _open_list(geometry, displacement, cutoff, dr_threshold, settings)
    if bool(geometry.is_small((cutoff + dr_threshold) / (1 - box_change))):
        if settings.get("custom_mask_function") is not None:
            raise InputError(
                "In this box a neighbour has several images within the cutoff of "
                f"{cutoff:.3f} Å, and that list of jax-md knows no `custom_mask_function`. Leave "
                "it out, or repeat the cell."
            )
        return _all_images_list(geometry, cutoff, dr_threshold, settings)
    return _nearest_image_list(geometry, cutoff, dr_threshold, settings)


def _open_list(
    geometry: Geometry,
    displacement: Callable[..., Array],
    cutoff: float,
    dr_threshold: float,
    settings: dict[str, Any],
) -> partition.NeighborListFns:
    plain: Any = partition.neighbor_list(
        displacement,
        jnp.asarray(1.0),
        r_cutoff=cutoff,
        dr_threshold=dr_threshold,
        format=partition.Dense,
        **settings,
    )

    def arguments(R: ArrayLike, kwargs: dict[str, Any]) -> tuple[Array, Any]:
        _check_list_keywords(kwargs)
        R = check_coordinates(R, geometry.n_atoms)
        geometry.boxes(kwargs.get("box"), None, R.dtype)
        perturbation = kwargs.get("perturbation")
        return R, {} if perturbation is None else {"perturbation": jnp.asarray(perturbation)}

    def allocate(R: ArrayLike, extra_capacity: int = 0, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        return plain.allocate(R, extra_capacity, **known).set(update_fn=update)

    def update(R: ArrayLike, neighbors: Any, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        return plain.update(R, neighbors, **known)

    return dataclasses.replace(plain, allocate=allocate, update=update)


def _nearest_image_list(
    geometry: Geometry, cutoff: float, dr_threshold: float, settings: dict[str, Any]
) -> partition.NeighborListFns:
    """jax-md's neighbour list in a box at least two cutoffs across.

    Cells of the list are as wide as the least height of the box asks for, which is right for a
    box of any shape. Their size is static data, but computed as an array, and static data are
    compared: Langevin dynamics in a crystal then fail.
    """
    assert geometry.box is not None
    plain: Any = partition.neighbor_list(
        _distance(geometry.box),
        least_height(geometry.box),
        r_cutoff=cutoff,
        dr_threshold=dr_threshold,
        fractional_coordinates=True,
        format=partition.Dense,
        **settings,
    )

    def arguments(R: ArrayLike, kwargs: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        _check_list_keywords(kwargs)
        R = check_coordinates(R, geometry.n_atoms)
        box, perturbation = kwargs.get("box"), kwargs.get("perturbation")
        matrix, deformed = geometry.boxes(box, perturbation, R.dtype)
        assert matrix is not None
        assert deformed is not None
        R = wrapped(geometry.fractions(R, matrix))
        if box is None and perturbation is None:
            return R, {}
        return R, {"box": least_height(deformed), "matrix": deformed}

    def allocate(R: ArrayLike, extra_capacity: int = 0, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        neighbors = plain.allocate(R, extra_capacity, **known)
        size = None if neighbors.cell_size is None else float(neighbors.cell_size)
        return neighbors.set(cell_size=size, update_fn=update)

    def update(R: ArrayLike, neighbors: Any, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        updated = plain.update(R, neighbors.set(update_fn=None), **known)
        if known:
            # `did_buffer_overflow` does not look at cells that have become too small.
            code, lost = partition.PEC.NEIGHBOR_LIST_OVERFLOW, updated.cell_size_too_small > 0
            updated = updated.set(error=updated.error.update(code, lost))  # pyright: ignore[reportArgumentType]
        return updated.set(update_fn=update)

    return dataclasses.replace(plain, allocate=allocate, update=update)


def _all_images_list(
    geometry: Geometry, cutoff: float, dr_threshold: float, settings: dict[str, Any]
) -> custom_partition.NeighborListMultiImageFns:
    """jax-md's neighbour list with several images of a neighbour."""
    assert geometry.box is not None
    plain = custom_partition.neighbor_list_multi_image(
        None,
        geometry.box,
        cutoff,
        dr_threshold=dr_threshold,
        pbc=jnp.asarray(geometry.pbc),
        fractional_coordinates=True,
        format=partition.Dense,
        **settings,
    )

    def arguments(R: ArrayLike, kwargs: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        _check_list_keywords(kwargs)
        R = check_coordinates(R, geometry.n_atoms)
        box, perturbation = kwargs.get("box"), kwargs.get("perturbation")
        matrix, deformed = geometry.boxes(box, perturbation, R.dtype)
        assert matrix is not None
        assert deformed is not None
        R = geometry.fractions(R, matrix)
        inside = jnp.where(jnp.asarray(geometry.pbc)[None, :], wrapped(R), R)
        return inside, {} if box is None and perturbation is None else {"box": deformed}

    def allocate(R: ArrayLike, extra_capacity: int = 0, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        neighbors: Any = plain.allocate(R, extra_capacity=extra_capacity, **known)
        return neighbors.set(update_fn=update)

    def update(R: ArrayLike, neighbors: Any, **kwargs: Any) -> Any:
        R, known = arguments(R, kwargs)
        updated: Any = plain.update(R, neighbors.set(update_fn=plain.update), **known)
        return updated.set(update_fn=update)

    functions: Any = custom_partition.NeighborListMultiImageFns
    return functions(allocate, update)


def check_room(geometry: Geometry, reach: float, matrix: Array) -> None:
    """Raise `InputError` if only the nearest images are looked at in a box with several in reach.

    The shape and handedness of the box are those it was made with, so only its size is looked at.
    Values of a traced box are not known.
    """
    if not isinstance(matrix, Tracer) and bool(geometry.is_small(reach, np.asarray(matrix))):
        raise InputError(
            f"The box {np.asarray(matrix).round(4).tolist()} is so small that a neighbour has "
            f"several images within {reach:.3f} Å, which the functions of `to_jax_md` were not "
            "made for. Make them with this box, or with a larger `box_change`."
        )


def _check_list_keywords(kwargs: dict[str, Any]) -> None:
    check_keywords(
        "`neighbor_fn`",
        kwargs,
        known=("box", "extra_capacity", "perturbation"),
        ignored=(*PASSED_ON, "total_charge"),
    )


def _distance(default: Array) -> Callable[..., Array]:
    """Distance to the nearest image, of fractional coordinates, for the search of neighbours.

    Number by number: products of many small arrays take three times as long.
    """

    def distance(Ra: Array, Rb: Array, matrix: Array | None = None, **_: Any) -> Array:
        rows = (default if matrix is None else matrix).astype(Ra.dtype)
        apart = [Ra[vector] - Rb[vector] for vector in range(3)]
        apart = [along - jnp.round(along) for along in apart]
        return jnp.sqrt(
            sum((row[0] * apart[0] + row[1] * apart[1] + row[2] * apart[2]) ** 2 for row in rows)
        )

    return distance
