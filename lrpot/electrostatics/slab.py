"""Slabs: what makes the sum over a stack of slabs that of a single one.

A slab is repeated along its unit normal n with a period L of our choice, and summed as a crystal.
Its charges differ from a crystal's by the part of the waves that is constant in the plane, which
is known in closed form: a sum over k ∥ n, k ≠ 0, of Gaussians that do not overlap with their
images is (2π/A)(L/6 - |z| + (z² + γ²)/L), and a single sheet has -(2π/A)|z|. In units of kₑ

    A_ij = A_ij(crystal) - 2π/V [(z_i - z_j)² + σ_i² + σ_j² + L²/6],      z = r·n,  V = L · area,

with the sum over all k ≠ 0 of the bare Gaussians as A(crystal) [yeh:99], net charges included
[ballenegger:09]. What is left of the images, waves along the plane, decays as exp(-|k| gap)
across the gap between them.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lrpot.arraylike import ArrayLike
from lrpot.errors import InputError
from lrpot.reciprocal import Reciprocal
from lrpot.system import System

ROOM = 3.0
"""Atoms may move so much further apart along the normal before a slab must be set up anew, in Å."""


class SlabTerm(eqx.Module):
    """The difference between a single slab and a stack of them, in units of kₑ.

    Attributes:
        z: Height of the atoms above their mean, in Å.
        squares: σ², in Å²; 0 for point charges.
        shift: L²/6, in Å².
        factor: -2π/V, in 1/Å³.
    """

    z: Float[Array, " atoms"]
    squares: Float[Array, " atoms"]
    shift: Float[Array, ""]
    factor: Float[Array, ""]

    def __call__(self, charges: Float[Array, " atoms"]) -> Float[Array, " atoms"]:
        """Its potential at the atoms, in e/Å."""
        total, dipole = charges.sum(), self.z @ charges
        spread = self.z**2 + self.squares
        return self.factor * (
            (spread + self.shift) * total - 2 * dipole * self.z + spread @ charges
        )

    def matrix(self) -> Float[Array, "atoms atoms"]:
        """The same as a matrix, in 1/Å."""
        apart = self.z[:, None] - self.z[None, :]
        widths = self.squares[:, None] + self.squares[None, :]
        return self.factor * (apart**2 + widths + self.shift)

    def column(self) -> Float[Array, " atoms"]:
        """The v whose v vᵀ does to charges that sum to zero what the matrix does, in 1/√Å."""
        return jnp.sqrt(-2 * self.factor) * self.z


def slab_term(
    widths: Float[Array, " atoms"] | None, system: System, reciprocal: Reciprocal
) -> SlabTerm | None:
    """The term of one system; `None` for a crystal.

    Args:
        widths: Standard deviations of the Gaussian charges, in Å; `None` for point charges.
        system: A slab or a crystal.
        reciprocal: Holds the period across the slab.
    """
    axis = open_axis(system.pbc)
    if axis is None:
        return None
    assert reciprocal.heights is not None
    normal, area = _normal(system, axis)
    heights = system.positions @ normal
    # Only differences matter; about the mean their squares keep the most digits.
    mean = jnp.sum(jnp.where(system.real, heights, 0.0)) / jnp.maximum(system.real.sum(), 1)
    period = reciprocal.heights[axis].astype(heights.dtype)
    return SlabTerm(
        z=heights - jax.lax.stop_gradient(mean),
        squares=jnp.zeros_like(heights) if widths is None else widths**2,
        shift=period**2 / 6,
        factor=-2 * math.pi / (area * period),
    )


def extended_cell(system: System, reciprocal: Reciprocal) -> Float[Array, "3 3"]:
    """The cell of a crystal; of a slab, with the period across it in place of the open vector.

    NaN when the atoms of a slab have come too close to their images: the result then is NaN too,
    and flagged as not converged.
    """
    if system.cell is None:
        raise InputError("A molecule has no cell.")
    axis = open_axis(system.pbc)
    if axis is None:
        return system.cell
    if reciprocal.heights is None or reciprocal.thickness is None:
        raise InputError(
            "The list was not made for a slab. Make it with `potential.neighbors(system)`, or with "
            "`neighbor_list(..., reciprocal=coulomb.reciprocal(system))`."
        )
    normal, _ = _normal(system, axis)
    z = system.positions @ normal
    thickness = jnp.max(z, where=system.real, initial=-jnp.inf) - jnp.min(
        z, where=system.real, initial=jnp.inf
    )
    fits = jax.lax.stop_gradient(thickness) <= reciprocal.thickness
    period = jnp.where(fits, reciprocal.heights[axis], jnp.nan).astype(z.dtype)
    return system.cell.at[axis].set(period * normal)


def slab_periods(
    system: System, widths: ArrayLike | None, *, accuracy: float, cutoff: float, growth: float = 0.0
) -> Reciprocal:
    """A `Reciprocal` with the period across a slab and no waves yet; plain numpy.

    The gap between a slab and its image makes the longest wave along the plane decay to
    `accuracy`/30, the margin of `lrpot.electrostatics.accuracy`, and lets neither Gaussians
    overlap nor real-space parts meet.

    Args:
        system: The slab, at positions typical of it.
        widths: [atoms], in Å; `None` for point charges.
        accuracy: Requested relative error of the forces.
        cutoff: Range of the real-space part, in Å.
        growth: Largest relative growth of the cell to be prepared for.

    Returns:
        With `heights` and `thickness`; with nothing for a crystal.

    Raises:
        InputError: If only one direction is periodic.
    """
    axis = open_axis(system.pbc)
    if axis is None:
        return Reciprocal(None)
    assert system.cell is not None
    cell = np.asarray(system.cell, dtype=float)
    plane = np.delete(cell, axis, axis=0)
    longest_wave = _shortest(*(2 * math.pi * np.linalg.pinv(plane).T))
    decay = -math.log(accuracy / 30)
    real = np.asarray(system.numbers) > 0
    widest = 0.0 if widths is None else np.max(np.asarray(widths)[real], initial=0.0)
    gap = max(decay / longest_wave, cutoff, 2 * widest * math.sqrt(decay))
    normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
    z = np.asarray(system.positions, dtype=float)[real] @ normal / np.linalg.norm(normal)
    thickness = float(np.ptp(z)) if len(z) else 0.0
    thickness = thickness * (1 + growth) + ROOM
    periods = np.zeros(3)
    periods[axis] = thickness + gap * (1 + growth)
    return Reciprocal(None, heights=jnp.asarray(periods), thickness=jnp.asarray(thickness))


def _shortest(one: np.ndarray, other: np.ndarray) -> float:
    """Length of the shortest vector of a lattice in a plane, by the reduction of Lagrange."""
    while True:
        if other @ other < one @ one:
            one, other = other, one
        steps = np.round(one @ other / (one @ one))
        if steps == 0:
            return float(np.linalg.norm(one))
        other = other - steps * one


def open_axis(pbc: tuple[bool, bool, bool]) -> int | None:
    """Which vector of the cell of a slab is no period; `None` in a crystal."""
    if sum(pbc) == 1:
        raise InputError(
            f"Charges in a system with one period (pbc={pbc}) are not supported: in molecules, "
            "slabs and crystals they are. Take a cell that is periodic in all directions, with "
            "enough vacuum around the wire."
        )
    return None if all(pbc) else pbc.index(False)


def _normal(system: System, axis: int) -> tuple[Float[Array, "3"], Float[Array, ""]]:
    """Unit normal of the plane, and the area of the cell in it."""
    assert system.cell is not None
    across = jnp.cross(system.cell[(axis + 1) % 3], system.cell[(axis + 2) % 3])
    area = jnp.linalg.norm(across)
    return across / area, area
