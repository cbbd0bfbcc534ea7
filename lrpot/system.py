"""What goes into a potential (`System`) and what comes out (`Prediction`)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from lrpot.errors import InputError

FLAT_CELL = 1e-6
"""A cell is flat when its volume is below this fraction of the product of its edge lengths."""


class System(eqx.Module):
    """Atoms of one structure.

    Attributes:
        positions: Cartesian coordinates, in Å; need not be wrapped into the cell.
        numbers: Atomic numbers. 0 marks a padding atom, which has no effect on anything.
        cell: Lattice vectors as rows, in Å, right-handed. `None` for open boundaries; a cell
            means periodicity in all three directions.
        total_charge: Charge of the whole system (of one cell), in e.

    Values are checked when they are known, that is outside compiled code.

    Raises:
        InputError: If shapes do not fit, a value is not finite, or the cell is flat or
            left-handed.

    Example:
        >>> water = System([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
        >>> water.n_atoms, water.cell is None, float(water.total_charge)
        (3, True, 0.0)
    """

    positions: Float[Array, "atoms 3"]
    numbers: Int[Array, " atoms"]
    cell: Float[Array, "3 3"] | None
    total_charge: Float[Array, ""]

    def __init__(
        self,
        positions: ArrayLike | list,
        numbers: ArrayLike | list,
        *,
        cell: ArrayLike | list | None = None,
        total_charge: ArrayLike = 0.0,
    ):
        self.positions = _floating(positions)
        self.numbers = jnp.asarray(numbers, dtype=jnp.int32)
        self.cell = None if cell is None else jnp.asarray(cell, dtype=self.positions.dtype)
        self.total_charge = jnp.asarray(total_charge, dtype=self.positions.dtype)
        _check_shapes(self)
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            _check_values(self)

    @property
    def n_atoms(self) -> int:
        """Number of atoms, padding included."""
        return self.numbers.shape[0]

    @property
    def real(self) -> Bool[Array, " atoms"]:
        """True for atoms, False for padding."""
        return self.numbers > 0

    def strained(self, strain: Float[Array, "3 3"]) -> "System":
        """The system after the deformation r → r + r·strain of positions and cell alike."""
        positions = self.positions + self.positions @ strain
        cell = None if self.cell is None else self.cell + self.cell @ strain
        return System(positions, self.numbers, cell=cell, total_charge=self.total_charge)


class Prediction(eqx.Module):
    """What a potential says about one system.

    Attributes:
        energy: Total energy, in eV.
        energies: Its contributions by atom, in eV.
        forces: −∂E/∂positions, in eV/Å; `None` when not asked for.
        stress: ∂E/∂strain divided by the volume, in eV/Å³, with ASE's sign (positive under
            tension); `None` for open boundaries or when not asked for.
        charges: Partial charges, in e; `None` for a potential without charges.
        dipole: Σ qᵢ rᵢ about the origin of the coordinates, in e Å. It depends on that origin
            for charged systems, and on the choice of images for periodic ones. `None` without
            charges.
        electronegativity: χ of every atom, in eV/e; `None` unless charges are equilibrated.
        converged: False when the charges could not be determined (a singular or indefinite
            equilibration); everything else is then meaningless.
        overflow: True when the neighbour list was too small to hold all neighbours.
        extrapolation: How far each raw feature of each atom is above (or, negative, below) its
            range in the training data; `None` when not asked for.
    """

    energy: Float[Array, ""]
    energies: Float[Array, " atoms"]
    forces: Float[Array, "atoms 3"] | None
    stress: Float[Array, "3 3"] | None
    charges: Float[Array, " atoms"] | None
    dipole: Float[Array, "3"] | None
    electronegativity: Float[Array, " atoms"] | None
    converged: Bool[Array, ""]
    overflow: Bool[Array, ""]
    extrapolation: Float[Array, "atoms features"] | None = None


def _floating(values: ArrayLike | list) -> Array:
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _check_shapes(system: System) -> None:
    atoms = system.numbers.shape
    if len(atoms) != 1 or system.positions.shape != (*atoms, 3):
        raise InputError(
            "`positions` must have shape (atoms, 3) and `numbers` shape (atoms,), got "
            f"{system.positions.shape} and {atoms}."
        )
    if system.cell is not None and system.cell.shape != (3, 3):
        raise InputError(
            "`cell` must have shape (3, 3), lattice vectors as rows, or be None for open "
            f"boundaries, got {system.cell.shape}."
        )
    if system.total_charge.shape != ():
        raise InputError(
            f"`total_charge` must be a single number, got shape {system.total_charge.shape}."
        )


def _check_values(system: System) -> None:
    positions, numbers = np.asarray(system.positions), np.asarray(system.numbers)
    if not np.isfinite(positions).all():
        atom = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise InputError(
            f"The position of atom {atom} is not finite: {positions[atom].tolist()}. "
            "Look for a failed optimisation or an exploded simulation upstream."
        )
    if (numbers < 0).any():
        atom = int(np.argmax(numbers < 0))
        raise InputError(f"Atom {atom} has the atomic number {numbers[atom]}; it must be positive.")
    if not np.isfinite(system.total_charge):
        raise InputError(f"`total_charge` is not finite: {float(system.total_charge)}.")
    if system.cell is not None:
        check_cell(np.asarray(system.cell))


def check_cell(cell: np.ndarray) -> None:
    """Raise `InputError` unless the rows of `cell` span a right-handed, non-flat cell."""
    if not np.isfinite(cell).all():
        raise InputError(f"The cell is not finite: {cell.tolist()}.")
    volume, edges = float(np.linalg.det(cell)), np.linalg.norm(cell, axis=1)
    if abs(volume) <= FLAT_CELL * np.prod(edges) or np.prod(edges) == 0:
        raise InputError(
            f"The cell is flat: its rows {cell.tolist()} span a volume of {abs(volume):.3g} Å³. "
            "Give three independent lattice vectors, or `cell=None` for open boundaries."
        )
    if volume < 0:
        raise InputError(
            f"The cell is left-handed (determinant {volume:.6g} Å³): rows {cell.tolist()}. Swap "
            "two lattice vectors, or reverse all three; the crystal stays the same."
        )
