"""Molecular dynamics of one system in jax-md, and its nearest minimum."""

from lrpot.md.dynamics import LOG, SPACE, Trajectory, run
from lrpot.md.minimise import minimise
from lrpot.md.settings import ENSEMBLES, EXPLODED, Limits, Settings

__all__ = [
    "ENSEMBLES",
    "EXPLODED",
    "LOG",
    "SPACE",
    "Limits",
    "Settings",
    "Trajectory",
    "minimise",
    "run",
]
