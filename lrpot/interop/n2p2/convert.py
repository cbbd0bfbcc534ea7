"""Files of RuNNer and n2p2 to files of lrpot and back: what `lrpot convert` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from lrpot.data import read_structures as read_xyz
from lrpot.data import write_structures as write_xyz
from lrpot.errors import InputError
from lrpot.interop.n2p2.export import write_potential
from lrpot.interop.n2p2.potential import new_potential, read_potential
from lrpot.interop.n2p2.structures import read_structures, write_structures
from lrpot.io import load, save
from lrpot.potential import Potential


def convert(
    source: str | Path,
    target: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
    seed: int = 0,
    pbc: Sequence[bool] | None = None,
) -> str:
    """Convert a potential or a file of structures, by what the source is.

    Args:
        source: A folder with `input.nn`, an `input.nn` alone for an untrained potential, a model
            file, a `.data` file, or extended XYZ.
        target: What to write: the respective other.
        length, energy: Units of the files of RuNNer or n2p2.
        seed: Of the first weights of an untrained potential.
        pbc: Of a `.data` file, as in `read_structures`.

    Returns:
        What was done, in words.
    """
    source, target = Path(source), Path(target)
    units: dict[str, Any] = dict(length=length, energy=energy)
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.")
    if pbc is not None and source.suffix != ".data":
        raise InputError(f"`pbc` is for structures in an input.data, and {source} is none.")
    if source.is_dir():
        save(target, read_potential(source, **units))
        return f"Read {source}/ ({length}, {energy}), wrote the model file {target}."
    if source.suffix == ".nn":
        save(target, new_potential(source, **units, key=jax.random.key(seed)))
        return f"Made an untrained potential of {source} ({length}, {energy}), wrote {target}."
    if source.suffix == ".data":
        structures = read_structures(source, **units, pbc=pbc)
        write_xyz(target, structures)
        return f"Wrote {len(structures)} structures to {target} (Å, eV)."
    if source.suffix in (".xyz", ".extxyz"):
        structures = read_xyz(source)
        write_structures(structures, target, **units)
        return f"Wrote {len(structures)} structures to {target} ({length}, {energy})."
    write_potential(load(source), target, **units)
    return f"Wrote {target}/ for RuNNer and n2p2 ({length}, {energy})."


def load_any(path: str | Path, *, length: str = "bohr", energy: str = "Ha") -> Potential:
    """A potential from a model file, or from a folder of RuNNer or n2p2."""
    if Path(path).is_dir():
        return read_potential(path, length=length, energy=energy)
    return load(path)
