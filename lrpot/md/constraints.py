"""Fixed atoms and components: read from ASE's constraints, and given back to ASE."""

from typing import Any

import ase
import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane, FixScaled

from lrpot.errors import InputError

REMOVE = "Remove it, or ignore all constraints (`ignore_constraints`, `--ignore-constraints`)."


def fixed_components(fixed: Any, n_atoms: int) -> np.ndarray | None:
    """A mask of fixed atoms or components as booleans [atoms, 3]; `None` if nothing is fixed.

    Args:
        fixed: Booleans, [atoms] or [atoms, 3], true for what does not move; or `None`.
        n_atoms: Number of atoms.

    Raises:
        InputError: If it is anything else, or leaves nothing that moves.
    """
    if fixed is None:
        return None
    mask = np.asarray(fixed)
    if mask.dtype != bool or mask.shape not in ((n_atoms,), (n_atoms, 3)):
        raise InputError(
            f"`fixed` must be booleans of shape ({n_atoms},) or ({n_atoms}, 3), true for what does "
            f"not move; got {mask.dtype} of shape {mask.shape}."
        )
    if mask.ndim == 1:
        mask = np.repeat(mask[:, None], 3, axis=1)
    if mask.all():
        raise InputError("All atoms are fixed, so that nothing can move. Free some of them.")
    return mask if mask.any() else None


def fixed_of(atoms: ase.Atoms) -> np.ndarray:
    """Booleans [atoms, 3], true for the Cartesian components that ASE's constraints fix.

    Known are `FixAtoms` and `FixCartesian`, and `FixScaled`, `FixedPlane` and `FixedLine` where the
    directions that they leave free are Cartesian axes or planes of two of them.

    Raises:
        InputError: If there is another constraint.
    """
    fixed = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
            continue
        free = _free_space(constraint, atoms)
        name = type(constraint).__name__
        if free is None:
            raise InputError(
                f"The structure has the constraint `{name}`, which is not supported: known are "
                f"fixed atoms (FixAtoms) and fixed components (FixCartesian, FixScaled). {REMOVE}"
            )
        axes = np.round(np.diag(free)).astype(bool)
        if not np.allclose(free, np.diag(axes.astype(float)), atol=1e-6):
            raise InputError(
                f"The constraint `{name}` leaves free a direction that is not along x, y or z, "
                f"which is not supported: turn the structure, or fix whole atoms. {REMOVE}"
            )
        fixed[constraint.index] |= ~axes
    return fixed


def _free_space(constraint: Any, atoms: ase.Atoms) -> np.ndarray | None:
    """Projector onto the directions in which atoms may move; `None` for an unknown constraint."""
    if isinstance(constraint, FixCartesian):
        return np.diag((~constraint.mask).astype(float))
    if isinstance(constraint, FixScaled):
        vectors = np.asarray(atoms.cell.complete())[~constraint.mask]
        return np.linalg.pinv(vectors) @ vectors
    if isinstance(constraint, FixedPlane):
        normal = constraint.dir / np.linalg.norm(constraint.dir)
        return np.eye(3) - np.outer(normal, normal)
    if isinstance(constraint, FixedLine):
        line = constraint.dir / np.linalg.norm(constraint.dir)
        return np.outer(line, line)
    return None


def constrain(atoms: ase.Atoms, fixed: np.ndarray | None) -> None:
    """Give atoms of ASE the constraints of a mask [atoms, 3]."""
    if fixed is None:
        return
    whole = fixed.all(axis=1)
    partly = np.flatnonzero(fixed.any(axis=1) & ~whole)
    constraints: list[Any] = [FixCartesian([int(one)], mask=fixed[one]) for one in partly]
    if whole.any():
        constraints.append(FixAtoms(np.flatnonzero(whole)))
    atoms.set_constraint(constraints)
