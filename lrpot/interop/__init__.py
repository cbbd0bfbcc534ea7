"""Adapters to other programs; each is imported only when asked for."""

import importlib
from typing import Any

_MODULES = ("ase", "ipi", "jax_md", "jax_md_memory", "jax_md_npt", "lammps", "n2p2")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"lrpot.interop.{name}")
    raise AttributeError(f"module 'lrpot.interop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MODULES)
