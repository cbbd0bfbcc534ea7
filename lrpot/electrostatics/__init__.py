"""Electrostatics: linear maps from charges to potentials."""

from lrpot.electrostatics.accuracy import ewald_parameters
from lrpot.electrostatics.coulomb import CoulombMap, CoulombSum, FixedSum
from lrpot.electrostatics.ewald import ewald_operator
from lrpot.electrostatics.kept import KeptSum
from lrpot.electrostatics.kernels import coulomb_kernel, gaussian_kernel, self_potential
from lrpot.electrostatics.open import open_matrix
from lrpot.electrostatics.operator import Operator
from lrpot.electrostatics.screening import Screening

__all__ = [
    "CoulombMap",
    "CoulombSum",
    "FixedSum",
    "KeptSum",
    "Operator",
    "Screening",
    "coulomb_kernel",
    "ewald_operator",
    "ewald_parameters",
    "gaussian_kernel",
    "open_matrix",
    "self_potential",
]
