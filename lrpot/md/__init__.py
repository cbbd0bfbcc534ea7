"""Molecular dynamics of one system in jax-md, and its nearest minimum."""

from lrpot.md.dynamics import LOG, Trajectory, drift_of, run
from lrpot.md.minimise import minimise
from lrpot.md.motion import SPACE
from lrpot.md.settings import ENSEMBLES, EXPLODED, Limits, Settings
from lrpot.md.simulation import DIPOLE
from lrpot.md.start import Start, start_from

__all__ = [
    "DIPOLE",
    "ENSEMBLES",
    "EXPLODED",
    "LOG",
    "SPACE",
    "Limits",
    "Settings",
    "Start",
    "Trajectory",
    "drift_of",
    "minimise",
    "run",
    "start_from",
]
