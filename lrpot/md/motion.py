"""What of a system moves, how heavy it is, and how fast it starts."""

import dataclasses
from typing import Any

import numpy as np

from lrpot.errors import InputError
from lrpot.md.constraints import fixed_components
from lrpot.md.settings import Settings
from lrpot.system import System, upright
from lrpot.units import FEMTOSECOND

SPACE = 10.0
"""A cell is at least so much higher than its slab, in Å."""

REST = 1e-6
"""A system whose centre of mass has less than this share of the kinetic energy is at rest."""


@dataclasses.dataclass(frozen=True)
class Motion:
    """What of a system moves, how heavy it is, and how fast it starts.

    Attributes:
        masses: [atoms], in amu.
        fixed: [atoms, 3], true for Cartesian components that do not move; `None` if all do.
        velocities: [atoms, 3], in Å/fs; `None` if they are to be drawn.
    """

    masses: np.ndarray
    fixed: np.ndarray | None = None
    velocities: np.ndarray | None = None

    def centred(self, settings: Settings) -> bool:
        """Whether the motion of the centre of mass is conserved, and no part of the temperature.

        Fixed atoms take momentum up, and so does the noise of `langevin`.
        """
        return self.fixed is None and settings.ensemble != "langevin"

    def freedom(self, settings: Settings) -> int:
        """Number of degrees of freedom that share the temperature."""
        components = 3 * len(self.masses)
        if self.fixed is not None:
            return components - int(self.fixed.sum())
        return max(components - 3, 1) if self.centred(settings) else components

    @property
    def momenta(self) -> np.ndarray | None:
        """At the start, in √(amu eV); `None` if they are to be drawn."""
        if self.velocities is None:
            return None
        return self.masses[:, None] * self.velocities / FEMTOSECOND


def motion_of(
    system: System,
    settings: Settings,
    *,
    masses: Any = None,
    fixed: Any = None,
    velocities: Any = None,
) -> Motion:
    """Check what was said of the motion of a system; as given, before the cell is turned.

    Raises:
        InputError: If masses, mask or velocities have the wrong shape or impossible values, fixed
            components have velocities, or the ensemble cannot do with them.
    """
    motion = Motion(
        masses_of(system, masses),
        fixed_components(fixed, system.n_atoms),
        _velocities_of(system, velocities),
    )
    if motion.fixed is not None:
        if settings.ensemble == "npt":
            raise InputError(
                "Constant pressure scales all positions, and fixed atoms would have to move: take "
                "`nvt` or `langevin`, or free the atoms."
            )
        if motion.velocities is not None and motion.velocities[motion.fixed].any():
            raise InputError("Fixed atoms must have velocity zero, and some of them do not.")
    if motion.velocities is not None and settings.ensemble in ("nvt", "npt"):
        _check_rest(motion, settings)
    return motion


def masses_of(system: System, masses: Any) -> np.ndarray:
    """Masses of the atoms in amu, those of the elements when not given."""
    from ase.data import atomic_masses

    if masses is None:
        return atomic_masses[np.asarray(system.numbers)]
    masses = np.asarray(masses, dtype=float)
    good = (masses > 0) & np.isfinite(masses)
    if masses.shape != (system.n_atoms,) or not good.all():
        raise InputError(
            f"`masses` must be {system.n_atoms} positive numbers in amu, one for each atom; got "
            f"{masses.tolist()}."
        )
    return masses


def _velocities_of(system: System, velocities: Any) -> np.ndarray | None:
    if velocities is None:
        return None
    velocities = np.asarray(velocities, dtype=float)
    if velocities.shape != (system.n_atoms, 3):
        raise InputError(
            f"`velocities` must have shape ({system.n_atoms}, 3), in Å/fs, got {velocities.shape}."
        )
    if not np.isfinite(velocities).all():
        atom = int(np.flatnonzero(~np.isfinite(velocities).all(axis=1))[0])
        raise InputError(
            f"The velocity of atom {atom} is not finite: {velocities[atom].tolist()}. Give numbers "
            "in Å/fs, or leave the velocities out to have them drawn."
        )
    return velocities


def centre_velocity(masses: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Velocity of the centre of mass."""
    return masses @ velocities / masses.sum()


def moves_as_a_whole(masses: np.ndarray, velocities: np.ndarray) -> bool:
    """Whether the centre of mass has a share of the kinetic energy that counts."""
    drift = centre_velocity(masses, velocities)
    whole = masses @ (velocities**2).sum(axis=1)
    return bool(masses.sum() * (drift**2).sum() > REST * whole)


def _check_rest(motion: Motion, settings: Settings) -> None:
    assert motion.velocities is not None
    if motion.fixed is None and moves_as_a_whole(motion.masses, motion.velocities):
        speed = np.linalg.norm(centre_velocity(motion.masses, motion.velocities))
        raise InputError(
            f"The centre of mass moves with {speed:.3g} Å/fs, and the thermostat of "
            f"`{settings.ensemble}` would take that for heat. Subtract its velocity from all "
            "atoms, or take `nve` or `langevin`."
        )


def turned(system: System, motion: Motion) -> tuple[System, Motion]:
    """Turn a periodic system so that its cell is lower triangular, as jax-md wants it.

    A cell without space for the atoms along an open vector gets a longer one.

    Raises:
        InputError: If single components of atoms are fixed that are not along x, y or z any more.
    """
    if system.cell is None:
        return system, motion
    system = _with_space(system)
    q, r = np.linalg.qr(np.asarray(system.cell).T)
    rotation = q * np.sign(np.diag(r))[None, :]
    system = dataclasses.replace(
        system,
        positions=np.asarray(system.positions) @ rotation,
        cell=np.tril(np.asarray(system.cell) @ rotation),
    )
    fixed, velocities = motion.fixed, motion.velocities
    if fixed is not None:
        fixed = _turned_mask(fixed, rotation)
    if velocities is not None:
        velocities = velocities @ rotation
    return system, dataclasses.replace(motion, fixed=fixed, velocities=velocities)


def _with_space(system: System) -> System:
    cell = np.asarray(system.cell)
    open_vectors = ~np.array(system.pbc)
    across = upright(cell, open_vectors)
    heights = np.ptp(np.asarray(system.positions) @ np.linalg.inv(across), axis=0) + SPACE
    low = open_vectors & (np.abs(np.diag(cell @ np.linalg.inv(across))) < heights)
    return dataclasses.replace(system, cell=np.where(low[:, None], heights[:, None] * across, cell))


def _turned_mask(fixed: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    axes = np.round(np.abs(rotation))
    if np.allclose(np.abs(rotation), axes, atol=1e-6):
        return (fixed @ axes).astype(bool)
    if (fixed.any(axis=1) & ~fixed.all(axis=1)).any():
        raise InputError(
            "Single components of atoms are fixed, and the cell has to be turned for jax-md: give "
            "it with its first vector along x and its second in the xy plane, or fix whole atoms."
        )
    return fixed
