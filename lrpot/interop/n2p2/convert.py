"""Files of RuNNer and n2p2 to files of lrpot and back: what `lrpot convert` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from lrpot.data import Keys, read_data, refuse_losses, refuse_problems
from lrpot.data import write_structures as write_xyz
from lrpot.errors import InputError
from lrpot.interop.n2p2.export import write_potential
from lrpot.interop.n2p2.potential import new_potential, read_potential
from lrpot.interop.n2p2.structures import (
    missing_labels,
    not_written,
    read_structures,
    write_structures,
)
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
    keys: Keys | None = None,
    format: str | None = None,
    ignore: Sequence[str] = (),
) -> str:
    """Convert a potential or a file of structures, by what the source is.

    Args:
        source: A folder with `input.nn`, an `input.nn` alone for an untrained potential, a model
            file, an `input.data`, or any file that `lrpot.data.read_structures` reads.
        target: What to write: the respective other. Structures become extended XYZ where it ends
            with `.xyz` or `.extxyz`, also compressed, and an `input.data` otherwise.
        length, energy: Units of the files of RuNNer or n2p2.
        seed: Of the first weights of an untrained potential.
        pbc: Of an `input.data`, as in `read_structures`.
        keys, format, ignore: Of other structures, as in `lrpot.data.read_structures`.

    Returns:
        What was done, in words: what of the source was used and what was not, which labels are
        missing, and which the target has no room for.

    Raises:
        InputError: If the source cannot be read or the target not be written, labels have other
            names and are neither named nor ignored, or an argument is of no use for this source.
    """
    source, target = Path(source), Path(target)
    units: dict[str, Any] = dict(length=length, energy=energy)
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.")
    kind = _kind(source)
    names = dict(keys=keys, format=format, ignore=tuple(ignore))
    if pbc is not None and kind != "input.data":
        raise InputError(f"`pbc` is for structures in an input.data, and {source} is none.")
    if kind != "structures" and any(names.values()):
        given = ", ".join(f"`{name}`" for name, value in names.items() if value)
        raise InputError(f"{given} cannot be used: {source} has no names of labels. Leave it out.")
    if kind == "folder":
        save(target, read_potential(source, **units))
        return f"Read {source}/ ({length}, {energy}), wrote the model file {target}."
    if kind == "input.nn":
        save(target, new_potential(source, **units, key=jax.random.key(seed)))
        return f"Made an untrained potential of {source} ({length}, {energy}), wrote {target}."
    if kind == "input.data":
        structures = read_structures(source, **units, pbc=pbc)
        write_xyz(target, structures)
        return f"Wrote {len(structures)} structures to {target} (Å, eV)."
    if kind == "structures":
        return _convert_structures(source, target, units, names)
    write_potential(load(source), target, **units)
    return f"Wrote {target}/ for RuNNer and n2p2 ({length}, {energy})."


def _kind(source: Path) -> str:
    """What a source is, by its content where that tells."""
    if source.is_dir():
        return "folder"
    try:
        with source.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"Cannot read {source}: {error.strerror}.") from None
    if source.suffix == ".nn":
        return "input.nn"
    if source.suffix == ".data" or head.split()[:1] == [b"begin"]:
        return "input.data"
    # A model file begins with the length of its header, in eight bytes, and the header in JSON.
    return "model" if source.suffix == ".lrpot" or head[8:9] == b"{" else "structures"


def _convert_structures(
    source: Path, target: Path, units: dict[str, Any], names: dict[str, Any]
) -> str:
    """Structures under the names of their file to extended XYZ or `input.data`."""
    contents = read_data(source, **names)
    refuse_losses(contents.usage)
    refuse_problems(source, contents.problems)
    structures, said = contents.structures, contents.usage.lines()
    if {".xyz", ".extxyz"} & {suffix.lower() for suffix in target.suffixes[-2:]}:
        write_xyz(target, structures)
        return "\n".join([*said, f"Wrote {len(structures)} structures to {target} (Å, eV)."])
    write_structures(structures, target, **units)
    said += [
        f"{count} of {len(structures)} structures have no {label}: zeros are written, and marked, "
        "so that lrpot reads none."
        for label, count in missing_labels(structures).items()
    ]
    left = [f"{name} (of {count})" for name, count in not_written(structures).items()]
    if left:
        said.append(f"Not written, as an input.data has no room for them: {', '.join(left)}.")
    wrote = f"Wrote {len(structures)} structures to {target} ({', '.join(units.values())})."
    return "\n".join([*said, wrote])


def load_any(path: str | Path, *, length: str = "bohr", energy: str = "Ha") -> Potential:
    """A potential from a model file, or from a folder of RuNNer or n2p2."""
    if Path(path).is_dir():
        return read_potential(path, length=length, energy=energy)
    return load(path)
