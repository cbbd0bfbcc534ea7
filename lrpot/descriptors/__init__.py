"""Descriptors: from environments to features."""

from lrpot.descriptors.acsf import ACSF, Angular, Radial, Shells
from lrpot.descriptors.cutoffs import CUTOFF_FUNCTIONS, cutoff_function
from lrpot.descriptors.defaults import default_acsf
from lrpot.descriptors.linearised import Linearised, linearise
from lrpot.descriptors.scaling import Scaling, identity_scaling, scaling_from_data

__all__ = [
    "ACSF",
    "CUTOFF_FUNCTIONS",
    "Angular",
    "Linearised",
    "Radial",
    "Scaling",
    "Shells",
    "cutoff_function",
    "default_acsf",
    "identity_scaling",
    "linearise",
    "scaling_from_data",
]
