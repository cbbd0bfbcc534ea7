"""Numbers as files hold them, and the total charge of a structure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrpot.data.files import flat
from lrpot.errors import InputError

TOTAL_CHARGE = ("total_charge", "charge")
"""Names of the total charge, unless another one is given."""

WHOLE = 0.01
"""Largest difference, in e, between the sum of initial charges and a whole number."""


def numbers_of(value: Any, key: str, where: str) -> np.ndarray:
    """A value as an array of numbers; nothing, truth values and words are refused.

    Raises:
        InputError: If it is not numeric; structure and key are named.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "iufUO" and value is not None:
            return np.asarray(array, dtype=float)
    except (TypeError, ValueError):
        pass
    raise InputError(f"{where}: `{key}` is not numeric: {value!r}. Give a number, or leave it out.")


def number_of(value: Any, key: str, where: str) -> float:
    """A value as one finite number, which may stand in an array of its own.

    Raises:
        InputError: If it is not; structure and key are named.
    """
    numbers = numbers_of(value, key, where)
    if numbers.size != 1:
        raise InputError(f"{where}: `{key}` must be a single number, got {value!r}.")
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: `{key}` is not finite: {value!r}.")
    return float(numbers.reshape(()))


def total_charge_of(
    atoms: Any, name: str = "The structure", names: Sequence[str] = TOTAL_CHARGE
) -> float:
    """The total charge of `ase.Atoms`, in e.

    It is `atoms.info["total_charge"]`, else `atoms.info["charge"]`, else the sum of the initial
    charges, where there are any, and zero otherwise.

    Args:
        atoms: Of ASE.
        name: Of the structure, for messages.
        names: To look under, in place of these two.

    Raises:
        InputError: If the value is not a number, or initial charges do not sum to a whole number.
    """
    info = flat(atoms.info)
    for key in names:
        if key in info:
            return number_of(info[key], key, name)
    total = float(_initial_charges(atoms).sum())
    if not abs(total - round(total)) <= WHOLE:
        raise InputError(
            f"{name}: its initial charges sum to {total:.4g} e, which is not a whole number, and "
            f"there is no total charge. Give it as `{names[0]}`."
        )
    return float(round(total))


def has_initial_charges(atoms: Any) -> bool:
    """Whether any initial charge is not zero."""
    return bool(_initial_charges(atoms).any())


def _initial_charges(atoms: Any) -> np.ndarray:
    return np.asarray(atoms.arrays.get("initial_charges", 0.0), dtype=float)
