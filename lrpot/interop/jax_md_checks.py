"""What the jax-md adapter refuses: unknown keywords, and boxes and coordinates that do not fit."""

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lrpot.arraylike import ArrayLike
from lrpot.errors import InputError, suggestion
from lrpot.system import KNOWN_TO

PASSED_ON = ("dt", "gamma", "kT", "pressure", "t")
"""Keywords that integrators of jax-md hand on to an energy function, which has no use for them."""

_CONDITIONS = ("field", "applied", "fragment")
"""In names of what only `lrpot.System` knows."""


def check_keywords(
    where: str, given: Iterable[str], *, known: Iterable[str], ignored: Iterable[str] = ()
) -> None:
    """Raise `InputError` for a keyword that would change nothing.

    Args:
        where: What the keywords were given to.
        given: The keywords that were given.
        known: Those that are used.
        ignored: Those that may be there for other functions.
    """
    for name in given:
        if name in known or name in ignored:
            continue
        advice = suggestion(name, known)
        if any(condition in name for condition in _CONDITIONS):
            advice = f"{KNOWN_TO} Leave it out here, where it would change nothing."
        raise InputError(f"Unknown keyword `{name}` of {where}. {advice}")


def check_coordinates(R: ArrayLike, n_atoms: int) -> Array:
    """The coordinates as an array; `InputError` unless there are three for each atom."""
    R = jnp.asarray(R)
    if R.shape != (n_atoms, 3):
        raise InputError(
            f"Coordinates must have shape ({n_atoms}, 3), one row for each of the `numbers`, got "
            f"{R.shape}."
        )
    return R if jnp.issubdtype(R.dtype, jnp.floating) else R.astype(float)


def check_numbers(numbers: ArrayLike) -> np.ndarray:
    """Atomic numbers as an array; `InputError` unless there is one whole number for each atom."""
    found = np.asarray(numbers)
    whole = np.issubdtype(found.dtype, np.number) and (found == np.round(found)).all()
    if found.ndim != 1 or not whole:
        raise InputError(
            "`numbers` must be one atomic number for each atom, whole numbers of shape (atoms,). "
            f"Got the shape {found.shape} and the type {found.dtype}."
        )
    return found


def check_dense(neighbor: Any, n_atoms: int) -> None:
    """Raise `InputError` unless a neighbour list is one of those that `to_jax_md` makes."""
    index = getattr(neighbor, "idx", None)
    shape = getattr(index, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != n_atoms:
        found = type(index).__name__ if shape is None else f"the shape {shape}"
        raise InputError(
            f"`neighbor` must be a neighbour list of `to_jax_md`, with `idx` of {n_atoms} rows "
            f"(`format=Dense`); got an `idx` of {found}. Make it with "
            "`neighbor_fn.allocate(R)`."
        )


def check_free(displacement: Callable[..., Array]) -> None:
    """Raise `InputError` if a displacement has periods."""
    there, here = jnp.array([3.1e3, -1.7e3, 2.3e3]), jnp.zeros(3)
    found = displacement(there, here)
    if not np.allclose(found, there):
        raise InputError(
            f"Without a box, displacements are those of `space.free`; this one takes {there} for "
            f"{found}. Give the `box` that goes with it."
        )


def check_displacement(
    displacement: Callable[..., Array],
    box: np.ndarray,
    *,
    fractional: bool,
    pbc: tuple[bool, bool, bool],
) -> None:
    """Raise `InputError` if a displacement does not have the periods of the box.

    Args:
        displacement: Displacement function of `jax_md.space`.
        box: [3, 3] lattice vectors as columns, in Å.
        fractional: Whether coordinates are fractions of the box, or in Å.
        pbc: Along which vectors of the box there are periods.
    """
    here, there = np.array([0.11, 0.74, 0.43]), np.array([1.93, 0.09, -0.12])
    unit = np.eye(3) if fractional else box.T
    found = np.asarray(displacement(jnp.asarray(here @ unit), jnp.asarray(there @ unit)))
    apart = here - there
    nearest = apart - np.round(apart)
    # Along an open vector both the plain difference and the nearest image will do.
    expected = np.where(pbc, nearest, apart), nearest
    fits = found.shape == (3,) and any(
        np.allclose(np.linalg.solve(box, found), one, rtol=0, atol=1e-3) for one in expected
    )
    if not fits:
        raise InputError(
            "The displacement function does not go with the box: it takes atoms that are "
            f"{(box @ nearest).round(4).tolist()} Å apart for {found.round(4).tolist()} Å. Make "
            f"it with the same box, {box.round(4).tolist()} (lattice vectors as columns), and "
            f"`fractional_coordinates={fractional}`."
        )
