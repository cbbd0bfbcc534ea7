"""Reference data: reading, checking, batching."""

from lrpot.data.batching import Batch, make_batches, pad_neighbors, pad_system
from lrpot.data.check import Report, check_data
from lrpot.data.files import read_atoms
from lrpot.data.findings import Finding, Limits
from lrpot.data.reading import (
    Contents,
    read_data,
    read_readable,
    read_structures,
    refuse_losses,
    refuse_problems,
)
from lrpot.data.repair import write_usable
from lrpot.data.structures import (
    LABELS,
    Keys,
    Problem,
    Structure,
    system_from_atoms,
    write_structures,
)
from lrpot.data.usage import Unused, Usage, Used
from lrpot.data.values import total_charge_of

__all__ = [
    "LABELS",
    "Batch",
    "Contents",
    "Finding",
    "Keys",
    "Limits",
    "Problem",
    "Report",
    "Structure",
    "Unused",
    "Usage",
    "Used",
    "check_data",
    "make_batches",
    "pad_neighbors",
    "pad_system",
    "read_atoms",
    "read_data",
    "read_readable",
    "read_structures",
    "refuse_losses",
    "refuse_problems",
    "system_from_atoms",
    "total_charge_of",
    "write_structures",
    "write_usable",
]
