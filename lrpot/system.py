"""What goes into a potential (`System`) and what comes out (`Prediction`)."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from lrpot.arraylike import ArrayLike
from lrpot.errors import InputError

FLAT_CELL = 1e-6
"""A cell is flat when its volume is below this fraction of the product of its edge lengths."""


class System(eqx.Module):
    """Atoms of one structure.

    Attributes:
        positions: Cartesian coordinates (atoms, 3), in Å; need not be wrapped into the cell.
        numbers: Atomic numbers (atoms). 0 marks a padding atom, which has no effect on anything.
        cell: Lattice vectors as rows (3, 3), in Å, right-handed. `None` for open boundaries. A
            vector along which there is no periodicity only names that direction: its length and
            tilt change no energy. It may be given as zeros and becomes a unit vector at right
            angles to the others.
        total_charge: Charge of the whole system (of one cell), in e.
        pbc: Whether each vector of the cell is a period; two of three make a slab. By default
            all are, and none without a cell. One boolean stands for three.
        field: Uniform electric field (3), in V/Å, along directions without periodicity.
        applied: Electric potential (atoms) that a source applies to each atom, in V; it attracts
            negative charge when negative.
        fragments: The fragment of each atom (atoms) whose charge is given, counted from 0. Atoms of
            -1 exchange charge with a reservoir: with an applied potential they are an electrode.
        fragment_charges: Charge of each fragment (fragments), in e. By default there is one
            fragment, with the total charge; otherwise the total charge is their sum.

    Values are checked when they are known, that is outside compiled code.

    Raises:
        InputError: If shapes do not fit, a value is not finite, the cell is flat or left-handed,
            `pbc` does not go with it, a field points along a period, or fragments are unknown.

    Examples:
        >>> water = System([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
        >>> water.n_atoms, water.cell is None, float(water.total_charge)
        (3, True, 0.0)
        >>> sheet = System([[0, 0, 0]], [6], cell=np.diag([3.0, 3, 0]), pbc=(True, True, False))
        >>> sheet.cell[2].tolist()
        [0.0, 0.0, 1.0]
    """

    positions: Float[Array, "atoms 3"]
    numbers: Int[Array, " atoms"]
    cell: Float[Array, "3 3"] | None
    total_charge: Float[Array, ""]
    pbc: tuple[bool, bool, bool] = eqx.field(static=True)
    field: Float[Array, "3"] | None
    applied: Float[Array, " atoms"] | None
    fragments: Int[Array, " atoms"] | None
    fragment_charges: Float[Array, " fragments"] | None

    def __init__(
        self,
        positions: ArrayLike | list,
        numbers: ArrayLike | list,
        *,
        cell: ArrayLike | list | None = None,
        total_charge: ArrayLike = 0.0,
        pbc: ArrayLike | Sequence | None = None,
        field: ArrayLike | list | None = None,
        applied: ArrayLike | list | None = None,
        fragments: ArrayLike | list | None = None,
        fragment_charges: ArrayLike | list | None = None,
    ):
        def optional(values: ArrayLike | list | None) -> Array | None:
            return None if values is None else jnp.asarray(values, dtype=self.positions.dtype)

        self.positions = _floating(positions)
        self.numbers = jnp.asarray(numbers, dtype=jnp.int32)
        self.pbc = _periodicity(pbc, cell is not None)
        self.cell = None
        if cell is not None:
            if not isinstance(cell, Tracer):
                cell = _with_open_vectors(np.asarray(cell), self.pbc)
            self.cell = jnp.asarray(cell, dtype=self.positions.dtype)
        self.field, self.applied = optional(field), optional(applied)
        self.fragments = None if fragments is None else jnp.asarray(fragments, dtype=jnp.int32)
        self.fragment_charges = optional(fragment_charges)
        given = jnp.asarray(total_charge, dtype=self.positions.dtype)
        parts = self.fragment_charges
        self.total_charge = given if parts is None else parts.sum()
        _check_shapes(self)
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((self, given))):
            _check_values(self, given)

    @property
    def n_atoms(self) -> int:
        """Number of atoms, padding included."""
        return self.numbers.shape[0]

    @property
    def real(self) -> Bool[Array, " atoms"]:
        """True for atoms, False for padding."""
        return self.numbers > 0

    @property
    def external(self) -> Float[Array, " atoms"] | None:
        """Energy of a unit charge at each atom in the field and applied potentials, in eV/e."""
        if self.field is None and self.applied is None:
            return None
        energy = jnp.zeros_like(self.positions[:, 0])
        if self.field is not None:
            energy -= self.positions @ self.field
        return energy if self.applied is None else energy - self.applied

    def strained(self, strain: Float[Array, "3 3"]) -> "System":
        """The system after the deformation r → r + r·strain of positions and cell alike."""
        positions = self.positions + self.positions @ strain
        cell = None if self.cell is None else self.cell + self.cell @ strain
        return dataclasses.replace(self, positions=positions, cell=cell)


CONDITIONS = ("field", "applied", "fragments", "fragment_charges")
"""Fields of a `System` beside atoms, cell and total charge."""

KNOWN_TO = (
    "Fields, applied potentials and fragments are known to `lrpot.predict`, `lrpot.evaluate` and "
    "`lrpot.fit` only, as arguments of `lrpot.System`."
)


def refuse_conditions(system: System, where: str) -> None:
    """Raise `InputError` if a system has a field, applied potentials or fragments.

    Args:
        system: Any.
        where: What has no use for them, for the message.
    """
    given = [name for name in CONDITIONS if getattr(system, name) is not None]
    if given:
        raise InputError(
            f"The system has `{'`, `'.join(given)}`, which {where} cannot use. {KNOWN_TO} Leave it "
            "out here."
        )


class Uncertainty(eqx.Module):
    """Expected errors, from the disagreement of a committee.

    Attributes:
        energy: Of the total energy, in eV.
        forces: Of each component of the force on each atom, in eV/Å; `None` without forces.
        charges: In e; `None` without charges.
    """

    energy: Float[Array, ""]
    forces: Float[Array, " atoms"] | None
    charges: Float[Array, " atoms"] | None


class Prediction(eqx.Module):
    """What a potential says about one system.

    Attributes:
        energy: Total energy, in eV.
        energies: Its contributions by atom, in eV.
        forces: −∂E/∂positions, in eV/Å; `None` when not asked for.
        stress: ∂E/∂strain divided by the volume, in eV/Å³, with ASE's sign (positive under
            tension); `None` for open boundaries or when not asked for. In a slab the volume is
            that of the given cell, vacuum included, as in ASE: times the height of the cell it
            is a force per length, which does not depend on the vacuum.
        charges: Partial charges, in e; `None` for a potential without charges.
        dipole: Σ qᵢ rᵢ about the origin of the coordinates, in e Å. It depends on that origin
            for charged systems, and on the choice of images for periodic ones. `None` without
            charges.
        quadrupole: Σ qᵢ (rᵢ rᵢᵀ − rᵢ²/3) about the same origin, traceless, in e Å². It depends on
            the origin unless charge and dipole vanish, and on the choice of images for periodic
            systems. `None` without charges.
        electronegativity: χ of every atom, in eV/e; `None` unless charges are equilibrated.
        converged: False when the charges could not be determined (a singular or indefinite
            equilibration, or too many iterations); everything else is then meaningless.
        overflow: True when the neighbour list was too small to hold all neighbours.
        extrapolation: How far each raw feature of each atom is above (or, negative, below) its
            range in the training data; `None` when not asked for.
        iterations: Applications of the Coulomb map by the iterative solver of the charges; `None`
            when charges were not found iteratively.
        residual: Largest imbalance that it left, in eV/e; likewise.
        adjoint: Charges Λ that answer to ∂E/∂q, in e; likewise. See `lrpot.charges.adjoint`.
        uncertainty: Of a committee; `None` for a single potential.
    """

    energy: Float[Array, ""]
    energies: Float[Array, " atoms"]
    forces: Float[Array, "atoms 3"] | None
    stress: Float[Array, "3 3"] | None
    charges: Float[Array, " atoms"] | None
    dipole: Float[Array, "3"] | None
    quadrupole: Float[Array, "3 3"] | None
    electronegativity: Float[Array, " atoms"] | None
    converged: Bool[Array, ""]
    overflow: Bool[Array, ""]
    extrapolation: Float[Array, "atoms features"] | None = None
    iterations: Int[Array, ""] | None = None
    residual: Float[Array, ""] | None = None
    adjoint: Float[Array, " atoms"] | None = None
    uncertainty: Uncertainty | None = None


def _floating(values: ArrayLike | list) -> Array:
    array = jnp.asarray(values)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _periodicity(pbc: ArrayLike | Sequence | None, has_cell: bool) -> tuple[bool, bool, bool]:
    flags = np.asarray(has_cell if pbc is None else pbc)
    if flags.shape not in ((), (3,)):
        raise InputError(
            "`pbc` must be one boolean, or three: one for each vector of the cell. Got the shape "
            f"{flags.shape}."
        )
    first, second, third = (bool(flag) for flag in np.broadcast_to(flags, 3))
    pbc = first, second, third
    if any(pbc) and not has_cell:
        raise InputError(f"pbc={pbc} needs a `cell`: its rows are the periods.")
    if has_cell and not any(pbc):
        raise InputError(
            "A system without periodicity has no cell. Leave `cell` out, or say with `pbc` which "
            "of its vectors are periods."
        )
    return pbc


def _with_open_vectors(cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> np.ndarray:
    """The cell with unit vectors for zero rows along which there is no periodicity."""
    missing = ~np.any(cell, axis=-1) & ~np.array(pbc) if cell.shape == (3, 3) else np.zeros(3, bool)
    return upright(cell, missing) if missing.any() else cell


def upright(cell: np.ndarray, replaced: np.ndarray) -> np.ndarray:
    """The cell with one or two rows replaced by unit vectors at right angles to all others."""
    cell = np.array(cell, dtype=float)
    kept = np.flatnonzero(~replaced)
    if len(kept) == 1:
        # Any vector across the one that is kept: its products with two axes cannot both vanish.
        axis = kept[0]
        across = np.cross(cell[axis], np.eye(3)[np.argmin(np.abs(cell[axis]))])
        cell[(axis + 1) % 3] = across / (np.linalg.norm(across) or 1.0)
        replaced = np.arange(3) == (axis + 2) % 3
    for axis in np.flatnonzero(replaced):
        normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
        cell[axis] = normal / (np.linalg.norm(normal) or 1.0)  # a flat cell is refused elsewhere
    return cell


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
    for name, shape in {"field": (3,), "applied": atoms, "fragments": atoms}.items():
        values = getattr(system, name)
        if values is not None and values.shape != shape:
            raise InputError(f"`{name}` must have shape {shape}, got {values.shape}.")
    if system.field is not None and all(system.pbc):
        raise InputError(
            "A uniform field has no potential in a crystal. Take a slab, `pbc=(True, True, "
            "False)`, with the field across it, or a molecule."
        )
    charges = system.fragment_charges
    if charges is not None and (charges.ndim != 1 or system.fragments is None):
        raise InputError(
            "`fragment_charges` is one charge for each fragment, and goes with `fragments`: the "
            f"fragment of each atom. Got shape {charges.shape}."
        )


def _check_values(system: System, given_charge: Array) -> None:
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
    _check_conditions(system, float(given_charge))


def _check_conditions(system: System, given_charge: float) -> None:
    for name in ("field", "applied", "fragment_charges"):
        values = getattr(system, name)
        if values is not None and not np.isfinite(values).all():
            raise InputError(f"`{name}` is not finite: {np.asarray(values).tolist()}.")
    if system.field is not None and system.cell is not None:
        periods = np.asarray(system.cell)[list(system.pbc)]
        along = np.abs(periods @ np.asarray(system.field))
        if (along > 1e-6 * np.linalg.norm(periods, axis=1) * np.linalg.norm(system.field)).any():
            raise InputError(
                f"The field {np.asarray(system.field).tolist()} V/Å has a component along a period "
                "of the cell, where it has no potential. It may only point across a slab."
            )
    if system.fragments is not None:
        charges, found = system.fragment_charges, np.asarray(system.fragments)
        count = 1 if charges is None else len(charges)
        if len(found) and not -1 <= found.min() <= found.max() < count:
            raise InputError(
                f"`fragments` must lie between -1 (none) and {count - 1}, as there are {count} "
                f"charges of fragments; found {found.min()} to {found.max()}."
            )
        if charges is not None and given_charge not in (0.0, float(charges.sum())):
            raise InputError(
                f"The total charge {given_charge} is not the sum of `fragment_charges`, "
                f"{float(charges.sum())}. Leave it out: it follows from them."
            )


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
