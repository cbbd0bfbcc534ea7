"""Machine-learning interatomic potentials with long-range physics, in JAX.

A potential is a descriptor, a charge model and a sum of energy terms; recipes compose them. Units
are Å, eV and e throughout. See `lrpot.MODELS`, `lrpot.predict` and `lrpot.fit` to start with.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lrpot.allocator import keep_freed_memory
from lrpot.committee import Committee
from lrpot.compilation import keep_compilations
from lrpot.errors import InputError
from lrpot.io import load, save
from lrpot.models import MODELS, cent, hdnnp_2g, hdnnp_3g, hdnnp_4g
from lrpot.neighbors import Neighbors, neighbor_list
from lrpot.potential import Potential
from lrpot.predict import evaluate, predict
from lrpot.reciprocal import Reciprocal
from lrpot.system import Prediction, System
from lrpot.versions import warn_of_miscompiling_jax

if TYPE_CHECKING:
    from lrpot.data import read_structures
    from lrpot.interop.ase import Calculator, from_ase
    from lrpot.interop.jax_md import to_jax_md
    from lrpot.training import fit

# Loaded when first asked for: these bring ASE, jax-md and optax with them.
_LAZY = {
    "Calculator": "lrpot.interop.ase",
    "fit": "lrpot.training",
    "from_ase": "lrpot.interop.ase",
    "read_structures": "lrpot.data",
    "to_jax_md": "lrpot.interop.jax_md",
}

_MODULES = (
    "charges",
    "compilation",
    "data",
    "describe",
    "descriptors",
    "electrostatics",
    "elements",
    "environment",
    "interop",
    "md",
    "messages",
    "models",
    "networks",
    "plots",
    "quickstart",
    "tables",
    "terms",
    "training",
    "units",
    "versions",
)
"""What lies one level down; loaded when first asked for, too."""

__version__ = "0.1.0"

keep_freed_memory()
warn_of_miscompiling_jax()

__all__ = [
    "MODELS",
    "Calculator",
    "Committee",
    "InputError",
    "Neighbors",
    "Potential",
    "Prediction",
    "Reciprocal",
    "System",
    "cent",
    "evaluate",
    "fit",
    "from_ase",
    "hdnnp_2g",
    "hdnnp_3g",
    "hdnnp_4g",
    "keep_compilations",
    "load",
    "neighbor_list",
    "predict",
    "read_structures",
    "save",
    "to_jax_md",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"lrpot.{name}")
    raise AttributeError(f"module 'lrpot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__"})
