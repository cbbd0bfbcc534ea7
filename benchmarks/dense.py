"""Gaussian and point charges by dense linear algebra in numpy: reference, and a thing to beat.

Independent of `lrpot` but for the Coulomb constant. Units are Å, eV and e throughout.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.special
import vesin

from lrpot.units import KE

SQRT_PI = math.sqrt(math.pi)


@dataclass(frozen=True)
class Pairs:
    """All pairs within a cutoff, both ways, as plain arrays."""

    centers: np.ndarray
    others: np.ndarray
    shifts: np.ndarray


def find_pairs(positions: np.ndarray, cell: np.ndarray | None, cutoff: float, *, full=True):
    """Pairs of a crystal; `full=False` gives each pair once."""
    search = vesin.NeighborList(cutoff=cutoff, full_list=full)
    centers, others, shifts = search.compute(positions, cell, True, quantities="ijS")
    return Pairs(centers.astype(np.int64), others.astype(np.int64), shifts)


@dataclass(frozen=True)
class Ewald:
    """The textbook sum: every charge dressed to one width 1/2α.

    Attributes:
        cutoff: Of the real-space part, in Å.
        alpha: Splitting parameter, in 1/Å.
        wave_cutoff: Of the reciprocal part, in 1/Å.
    """

    cutoff: float
    alpha: float
    wave_cutoff: float

    @classmethod
    def of(cls, accuracy: float, cutoff: float) -> "Ewald":
        """Both parts truncated where a Gaussian has fallen to `accuracy`."""
        decay = math.sqrt(-math.log(accuracy))
        return cls(cutoff, decay / cutoff, 2 * decay**2 / cutoff)

    def waves(self, cell: np.ndarray) -> np.ndarray:
        """Wave vectors, one of each pair ±k."""
        limits = np.floor(self.wave_cutoff * np.linalg.norm(cell, axis=1) / (2 * math.pi))
        ranges = [np.arange(-limit, limit + 1) for limit in limits]
        numbers = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        waves = 2 * math.pi * numbers[len(numbers) // 2 + 1 :] @ np.linalg.inv(cell).T
        return waves[np.linalg.norm(waves, axis=1) <= self.wave_cutoff]

    def weights(self, waves: np.ndarray, volume: float) -> np.ndarray:
        """What each wave contributes per product of structure factors, in units of kₑ."""
        squares = np.sum(waves**2, axis=1)
        return 8 * math.pi / volume / squares * np.exp(-squares / (4 * self.alpha**2))


def kernel(r: np.ndarray, decay: np.ndarray | float) -> np.ndarray:
    """erf(decay r)/r."""
    return scipy.special.erf(decay * r) / r


def kernel_slope(r: np.ndarray, decay: np.ndarray | float) -> np.ndarray:
    """Derivative of `kernel` by the distance, divided by it."""
    gaussian = 2 * decay / SQRT_PI * np.exp(-((decay * r) ** 2))
    return (gaussian - scipy.special.erf(decay * r) / r) / r**2


def decays(widths: np.ndarray, centers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1/√(2(σ_i² + σ_j²)); two point charges get a huge one."""
    return 1 / np.sqrt(2 * (widths[centers] ** 2 + widths[others] ** 2) + 1e-30)


def crystal_matrix(
    positions: np.ndarray, cell: np.ndarray, widths: np.ndarray, pairs: Pairs, ewald: Ewald
) -> np.ndarray:
    """The Coulomb matrix of Gaussian (or point: width 0) charges in a crystal, in eV/e²."""
    volume = float(np.linalg.det(cell))
    waves = ewald.waves(cell)
    phases = positions @ waves.T
    root = np.sqrt(ewald.weights(waves, volume))
    cosines, sines = np.cos(phases) * root, np.sin(phases) * root
    matrix = cosines @ cosines.T
    matrix += sines @ sines.T
    vectors = positions[pairs.others] - positions[pairs.centers] + pairs.shifts @ cell
    r = np.linalg.norm(vectors, axis=1)
    near = kernel(r, decays(widths, pairs.centers, pairs.others)) - kernel(r, ewald.alpha)
    np.add.at(matrix, (pairs.centers, pairs.others), near)
    excess = 1 / (4 * ewald.alpha**2) - widths**2
    matrix -= 2 * math.pi / volume * (excess[:, None] + excess[None, :])
    own = np.where(widths > 0, 1 / (SQRT_PI * np.where(widths > 0, widths, 1.0)), 0.0)
    matrix[np.diag_indices_from(matrix)] += own - 2 * ewald.alpha / SQRT_PI
    return KE * matrix


def crystal_forces(
    left: np.ndarray,
    right: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    widths: np.ndarray,
    pairs: Pairs,
    ewald: Ewald,
) -> np.ndarray:
    """−∂(leftᵀ A right)/∂r at given vectors; half of it, with charges for both, is the force."""
    volume = float(np.linalg.det(cell))
    waves = ewald.waves(cell)
    phases = positions @ waves.T
    cosines, sines = np.cos(phases), np.sin(phases)
    weights = ewald.weights(waves, volume)
    gradient = np.zeros_like(positions)
    for own, other in ((left, right), (right, left)):
        slope = cosines * (weights * (other @ sines)) - sines * (weights * (other @ cosines))
        gradient += own[:, None] * (slope @ waves)
    vectors = positions[pairs.others] - positions[pairs.centers] + pairs.shifts @ cell
    r = np.linalg.norm(vectors, axis=1)
    slope = kernel_slope(r, decays(widths, pairs.centers, pairs.others))
    slope -= kernel_slope(r, ewald.alpha)
    both = left[pairs.centers] * right[pairs.others] + right[pairs.centers] * left[pairs.others]
    # Each pair is in the list both ways, so the slope at the centre is all of it.
    pushes = (slope * both)[:, None] * vectors
    for axis in range(3):
        gradient[:, axis] -= np.bincount(pairs.centers, pushes[:, axis], len(positions))
    return -KE * gradient


def open_matrix(positions: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The Coulomb matrix of Gaussian charges in open space, in eV/e²."""
    matrix = np.empty((len(positions), len(positions)))
    for rows in _blocks(len(positions)):
        r, decay = _distances(positions, widths, rows)[1:]
        matrix[rows] = kernel(r, decay)
    matrix[np.diag_indices_from(matrix)] = 1 / (SQRT_PI * widths)
    return KE * matrix


def open_forces(
    left: np.ndarray, right: np.ndarray, positions: np.ndarray, widths: np.ndarray
) -> np.ndarray:
    """−∂(leftᵀ A right)/∂r at given vectors."""
    gradient = np.empty_like(positions)
    for rows in _blocks(len(positions)):
        vectors, r, decay = _distances(positions, widths, rows)
        both = left[rows, None] * right[None, :] + right[rows, None] * left[None, :]
        gradient[rows] = -np.einsum("ij,ijx->ix", both * kernel_slope(r, decay), vectors)
    return -KE * gradient


def _blocks(n_atoms: int, size: int = 256) -> list[slice]:
    return [slice(start, min(start + size, n_atoms)) for start in range(0, n_atoms, size)]


def _distances(positions: np.ndarray, widths: np.ndarray, rows: slice):
    """Vectors and distances from some atoms to all, and decays; own distances are 1, not 0."""
    vectors = positions[None, :, :] - positions[rows, None, :]
    r = np.linalg.norm(vectors, axis=-1)
    r[np.arange(len(r)), np.arange(rows.start, rows.stop)] = 1.0
    decay = 1 / np.sqrt(2 * (widths[rows, None] ** 2 + widths[None, :] ** 2))
    return vectors, r, decay


def equilibrate(
    matrix: np.ndarray, electronegativity: np.ndarray, hardness: np.ndarray, total_charge=0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Charges, and the adjoint vector that turns a slope at fixed charges into the whole slope.

    Charges minimise χᵀq + ½ qᵀ(A + J)q at a given sum; the adjoint Λ solves the same equations
    with −∂E/∂q = −Aq of the electrostatic energy E = ½ qᵀAq in the place of −χ.
    """
    hard = matrix.copy()
    hard[np.diag_indices_from(hard)] += hardness
    factor = scipy.linalg.cho_factor(hard, lower=True, overwrite_a=True, check_finite=False)
    ones = np.ones(len(matrix))
    inverse_ones = scipy.linalg.cho_solve(factor, ones)

    def constrained(side: np.ndarray, total: float) -> np.ndarray:
        free = scipy.linalg.cho_solve(factor, side)
        return free - inverse_ones * (free.sum() - total) / inverse_ones.sum()

    charges = constrained(-electronegativity, total_charge)
    return charges, constrained(-matrix @ charges, 0.0)
