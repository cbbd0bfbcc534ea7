"""Reference data: reading, checking, batching."""

from lrpot.data.batching import Batch, make_batches, pad_neighbors, pad_system
from lrpot.data.check import Limits, Report, check_data
from lrpot.data.structures import (
    LABELS,
    Keys,
    Structure,
    read_readable,
    read_structures,
    system_from_atoms,
    write_structures,
)

__all__ = [
    "LABELS",
    "Batch",
    "Keys",
    "Limits",
    "Report",
    "Structure",
    "check_data",
    "make_batches",
    "pad_neighbors",
    "pad_system",
    "read_readable",
    "read_structures",
    "system_from_atoms",
    "write_structures",
]
