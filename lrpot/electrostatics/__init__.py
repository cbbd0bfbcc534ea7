"""Electrostatics: linear maps from charges to potentials."""

from lrpot.electrostatics.accuracy import ewald_parameters
from lrpot.electrostatics.coulomb import CoulombMap, CoulombSum, FixedSum, Operator
from lrpot.electrostatics.ewald import ewald_operator
from lrpot.electrostatics.kernels import coulomb_kernel, gaussian_kernel, self_potential
from lrpot.electrostatics.open import open_matrix
from lrpot.electrostatics.screening import Screening

__all__ = [
    "CoulombMap",
    "CoulombSum",
    "FixedSum",
    "Operator",
    "Screening",
    "coulomb_kernel",
    "ewald_operator",
    "ewald_parameters",
    "gaussian_kernel",
    "open_matrix",
    "self_potential",
]
