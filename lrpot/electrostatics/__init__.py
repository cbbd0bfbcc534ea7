"""Electrostatics: linear maps from charges to potentials."""

from lrpot.electrostatics.accuracy import ewald_parameters
from lrpot.electrostatics.direct import CoulombMap, DirectSum, FixedSum
from lrpot.electrostatics.ewald import ewald_matrix, ewald_potential
from lrpot.electrostatics.kernels import coulomb_kernel, gaussian_kernel, self_potential
from lrpot.electrostatics.open import open_matrix
from lrpot.electrostatics.screening import Screening

__all__ = [
    "CoulombMap",
    "DirectSum",
    "FixedSum",
    "Screening",
    "coulomb_kernel",
    "ewald_matrix",
    "ewald_parameters",
    "ewald_potential",
    "gaussian_kernel",
    "open_matrix",
    "self_potential",
]
