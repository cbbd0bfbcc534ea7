"""The truncated Ewald sum of n2p2, for comparison with its numbers."""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from lrpot.electrostatics import FixedSum
from lrpot.errors import InputError
from lrpot.interop.n2p2.settings import Settings
from lrpot.system import System


def truncated_sum(
    settings: Settings,
    system: System,
    length: float,
    widest: float,
    reach: float,
    constant: float,
) -> FixedSum:
    """The Coulomb map with the splitting and cutoffs that n2p2 derives from `ewald_prec`.

    Args:
        settings: Of the potential.
        system: The cutoffs depend on its volume and number of atoms.
        length: Unit of length of the files, in Å.
        widest: Largest Gaussian width, in that unit.
        reach: Largest cutoff of the symmetry functions and of screening, in Å: all pairs within
            it enter the real-space sum, even beyond its own cutoff.
        constant: Coulomb constant, in eV Å/e².
    """
    if system.cell is None:
        raise InputError("There is no Ewald sum to truncate for a system without a cell.")
    volume = float(np.linalg.det(np.asarray(system.cell))) / length**3
    line = settings.one("ewald_prec")
    method = int(settings.number("ewald_truncation_error_method", 0.0))
    values = line.floats(least=1, most=3)
    if method == 0:
        if not 0 < values[0] < 1:
            line.fail(f"a precision between 0 and 1 is needed, got {values[0]}.")
        s = math.sqrt(-2 * math.log(values[0]))
        eta = volume ** (1 / 3) / math.sqrt(2 * math.pi)
        real, reciprocal = eta * s, s / eta
    elif len(values) == 2:
        eta, real, reciprocal = _by_error(*values, volume, system.n_atoms, widest)
    elif len(values) == 3:
        eta, real, reciprocal = _by_cutoff(*values, volume, system.n_atoms)
    else:
        line.fail("method 1 needs a precision and the largest charge in periodic systems.")
    return FixedSum(
        alpha=1 / (math.sqrt(2) * eta * length),
        cutoff=max(real * length, reach),
        wave_cutoff=reciprocal / length,
        constant=constant,
    )


def _by_error(
    precision: float, charge: float, volume: float, n_atoms: int, widest: float
) -> tuple[float, float, float]:
    """Method 1 with two numbers: η and s from one another, then η at least the widest σ."""
    c = 2**0.75 * charge**2 * math.sqrt(n_atoms / volume)
    eta_0 = (volume**2 / (3.676 * (2 * math.pi) ** 3)) ** (1 / 6)

    def eta_of(s: float) -> float:
        return eta_0 * (1 + 1 / (2 * s**2)) ** (1 / 6)

    def mismatch(s: float) -> float:
        return -(s**2) - 0.5 * math.log(s) - math.log(precision / c * math.sqrt(eta_of(s) / 2))

    s = _root(mismatch, 1e-3, 40.0)
    eta = max(eta_of(s), widest)
    return eta, math.sqrt(2) * eta * s, math.sqrt(2) * s / eta


def _by_cutoff(
    precision: float, charge: float, real: float, volume: float, n_atoms: int
) -> tuple[float, float, float]:
    """Method 1 with three numbers: the real-space cutoff is given."""
    c = 2 * charge**2 * math.sqrt(n_atoms / volume)
    eta = real / math.sqrt(-2 * math.log(math.sqrt(real / 2) * precision / c))

    def mismatch(k: float) -> float:
        return (
            -((k * eta) ** 2) / 2
            - 0.5 * math.log(k)
            - math.log(eta * precision / (math.sqrt(2) * c))
        )

    return eta, real, _root(mismatch, 1e-6, 1e3 / eta)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(function, low, high, xtol=1e-14))  # pyright: ignore[reportArgumentType]
