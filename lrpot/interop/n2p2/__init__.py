"""Potentials and structures in the formats of RuNNer 1 and n2p2."""

from lrpot.interop.n2p2.export import write_potential
from lrpot.interop.n2p2.potential import new_potential, read_potential
from lrpot.interop.n2p2.structures import read_structures, write_structures

__all__ = [
    "new_potential",
    "read_potential",
    "read_structures",
    "write_potential",
    "write_structures",
]
