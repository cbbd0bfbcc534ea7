"""Potentials and structures in the formats of RuNNer 1 and n2p2."""

from lrpot.interop.n2p2.export import write_potential
from lrpot.interop.n2p2.potential import new_potential, read_potential, unknown_keywords
from lrpot.interop.n2p2.structures import (
    missing_labels,
    not_written,
    read_structures,
    write_structures,
)

__all__ = [
    "missing_labels",
    "new_potential",
    "not_written",
    "read_potential",
    "read_structures",
    "unknown_keywords",
    "write_potential",
    "write_structures",
]
