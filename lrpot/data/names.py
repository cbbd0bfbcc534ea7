"""Names that look like those of labels."""

import difflib
import functools
import re
from typing import Any

import numpy as np

_WORDS: dict[str, tuple[str, ...]] = {
    "weight": ("weight",),
    "energy": ("energy", "energie"),
    "forces": ("force", "gradient"),
    "charges": ("charge", "mulliken", "hirshfeld", "bader", "loewdin", "lowdin", "chelpg"),
    "total_charge": ("charge",),
    "stress": ("stress",),
    "virial": ("virial",),
    "dipole": ("dipole",),
    "quadrupole": ("quadrupole",),
    "Lattice": ("lattice",),
}
"""Parts of names, by label, the most telling labels first."""

_ABBREVIATIONS: dict[str, tuple[str, ...]] = {
    "weight": ("w",),
    "energy": ("e", "en", "ener", "etot", "epot", "toten", "escf"),
    "forces": ("f", "frc", "grad", "grads"),
    "charges": ("q", "qs", "chg", "resp", "ddec", "ddec6", "mbis", "nbo", "npa", "cm5", "esp"),
    "total_charge": ("q", "chg", "qtot", "totq"),
    "stress": ("sigma",),
    "dipole": ("dip", "mu"),
    "quadrupole": ("quad",),
    "Lattice": ("cell", "box", "unitcell"),
}
"""Whole parts between `_`, by label."""

_OTHER = (
    *("kinetic", "cutoff", "error", "uncertaint", "std", "toleran", "constant", "field", "max"),
    *("min", "rms", "nuclear", "core", "initial", "penalty", "spin", "magmom", "converge"),
)
"""Parts of names that are no labels, whatever else is in them."""


_CONDITIONS = {
    "field": ("field", "efield", "electricfield", "externalfield", "externalelectricfield"),
    "applied": ("applied", "appliedpotential", "appliedpotentials"),
    "fragments": ("fragment", "fragments"),
    "fragment_charges": ("fragmentcharges",),
}
"""Names without `_` and capitals, by the argument of `lrpot.System` that they look like."""


def condition(name: str, value: Any) -> str | None:
    """The argument of `lrpot.System`, such as a field, that a name of a file or of `Atoms` means.

    A field or potential that is zero everywhere means none.
    """
    plain = name.replace("_", "").lower()
    for argument, names in _CONDITIONS.items():
        if plain in names:
            array = np.asarray(value)
            zero = (
                argument in ("field", "applied") and array.dtype.kind in "iuf" and not array.any()
            )
            return None if zero or value is None else argument
    return None


def resembled(name: str, value: Any, n_atoms: int, *, by_atom: bool) -> str | None:
    """The label that a name and its value look like, if any.

    Args:
        name: In the file.
        value: What stands there.
        n_atoms: Of the structure.
        by_atom: Whether it is a column.

    Returns:
        A field of `Keys`, or `Lattice` or `pbc` of the header of extended XYZ.
    """
    array = np.asarray(value)
    if by_atom and name.lower() in ("fx", "fy", "fz"):
        return "forces"
    if name.lower() == "pbc" and array.dtype.kind == "b":
        return "pbc"
    fitting = _fitting(array, n_atoms, by_atom=by_atom)
    return _by_name(name, fitting) if fitting and _is_numeric(array) else None


@functools.lru_cache(maxsize=4096)
def _by_name(name: str, fitting: tuple[str, ...]) -> str | None:
    """The one of some labels that a name looks like."""
    parts = [one.lower() for one in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+", name)]
    whole = "".join(parts)
    if any(word in whole for word in _OTHER):
        return None
    for label, words in _WORDS.items():
        if label in fitting and any(word in whole for word in words):
            return label
    for label, short in _ABBREVIATIONS.items():
        if label in fitting and (whole in short or not {*short}.isdisjoint(parts)):
            return label
    for label in fitting:
        words = [*_WORDS[label], label.replace("_", ""), f"{_WORDS[label][0]}s"]
        if difflib.get_close_matches(whole, words, 1, 0.8):
            return label
    return None


def _fitting(array: np.ndarray, n_atoms: int, *, by_atom: bool) -> tuple[str, ...]:
    """Labels that a value of this shape can be."""
    if by_atom:
        return {(n_atoms,): ("charges",), (n_atoms, 3): ("forces",)}.get(array.shape, ())
    fitting = ["weight", "energy", "total_charge"] if array.size == 1 else []
    fitting += ["dipole"] if array.size == 3 else []
    fitting += ["virial", "stress", "quadrupole"] if array.size in (6, 9) else []
    fitting += ["Lattice"] if array.size in (3, 9) else []
    fitting += ["forces"] if array.size == 3 * n_atoms else []
    fitting += ["charges"] if array.size == n_atoms > 1 else []
    return tuple(fitting)


def _is_numeric(array: np.ndarray) -> bool:
    if array.dtype.kind not in "iufUO":
        return False
    try:
        return bool(np.isfinite(array.astype(float)).all())
    except (TypeError, ValueError):
        return False
