"""Charge models: from features to charges."""

from lrpot.charges.equilibration import Equilibration, equilibrate
from lrpot.charges.local import LocalCharges
from lrpot.charges.result import Charges

__all__ = ["Charges", "Equilibration", "LocalCharges", "equilibrate"]
