"""Descriptors: from environments to features."""

from lrpot.cutoffs import CUTOFF_FUNCTIONS, cutoff_function
from lrpot.descriptors.acsf import ACSF, Angular, Radial
from lrpot.descriptors.angles import CosinePowers, Windows
from lrpot.descriptors.defaults import default_acsf
from lrpot.descriptors.linearised import Linearised, linearise
from lrpot.descriptors.scaling import Scaling, identity_scaling, scaling_from_data
from lrpot.descriptors.shells import Bumps, Channels, Shells
from lrpot.descriptors.split import SplitACSF

__all__ = [
    "ACSF",
    "CUTOFF_FUNCTIONS",
    "Angular",
    "Bumps",
    "Channels",
    "CosinePowers",
    "Linearised",
    "Radial",
    "Scaling",
    "Shells",
    "SplitACSF",
    "Windows",
    "cutoff_function",
    "default_acsf",
    "identity_scaling",
    "linearise",
    "scaling_from_data",
]
