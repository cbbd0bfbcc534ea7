"""Training on reference data."""

from lrpot.training.calibrate import calibrate, energy_offsets
from lrpot.training.fit import Fit, fit
from lrpot.training.kalman import Kalman
from lrpot.training.keep import keep_charges, keep_geometry
from lrpot.training.loss import loss, predict_batch, squared_errors
from lrpot.training.metrics import Errors, Evaluation, evaluate_structures
from lrpot.training.select import farthest, uncertainties
from lrpot.training.stages import (
    Stage,
    Weights,
    charge_stage,
    default_stages,
    energy_stage,
    joint_stage,
    message_stage,
)
from lrpot.training.uncertainty import calibrate_uncertainty

__all__ = [
    "Errors",
    "Evaluation",
    "Fit",
    "Kalman",
    "Stage",
    "Weights",
    "calibrate",
    "calibrate_uncertainty",
    "charge_stage",
    "default_stages",
    "energy_offsets",
    "energy_stage",
    "evaluate_structures",
    "farthest",
    "fit",
    "joint_stage",
    "keep_charges",
    "keep_geometry",
    "loss",
    "message_stage",
    "predict_batch",
    "squared_errors",
    "uncertainties",
]
