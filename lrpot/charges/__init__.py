"""Charge models: from features to charges."""

from lrpot.charges.adjoint import corrected_energies
from lrpot.charges.conjugate_gradients import conjugate_gradients
from lrpot.charges.constraints import Constraints, constraints_of
from lrpot.charges.equilibration import Equilibration, equilibrate
from lrpot.charges.linearised import LinearisedCharges, linearise_charges, linearised_size
from lrpot.charges.local import LocalCharges
from lrpot.charges.memory import ChargeMemory, charge_memory
from lrpot.charges.result import Charges
from lrpot.charges.surroundings import ChargeSurroundings

__all__ = [
    "ChargeMemory",
    "ChargeSurroundings",
    "Charges",
    "Constraints",
    "Equilibration",
    "LinearisedCharges",
    "LocalCharges",
    "charge_memory",
    "conjugate_gradients",
    "constraints_of",
    "corrected_energies",
    "equilibrate",
    "linearise_charges",
    "linearised_size",
]
