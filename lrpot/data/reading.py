"""Reading of reference structures: every name of the file is used, or reported."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrpot.data.files import Frame, read_frames
from lrpot.data.names import condition, resembled
from lrpot.data.structures import (
    CHARGE_TOLERANCE,
    LABELS,
    Keys,
    Problem,
    Structure,
    label_shapes,
    system_from_atoms,
    traceless,
)
from lrpot.data.usage import UNNAMED, Unused, Usage, Used
from lrpot.data.values import (
    TOTAL_CHARGE,
    has_initial_charges,
    number_of,
    numbers_of,
    total_charge_of,
)
from lrpot.errors import InputError, InputWarning, suggestion

_BY_ATOM = ("forces", "charges")
_ALIASES = {
    "charges": ("charges", "charge"),
    "total_charge": TOTAL_CHARGE,
    "virial": ("virial", "virials"),
}
"""Names to look under when the key is the usual one and not the only one."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file of structures holds.

    Attributes:
        structures: Those that can be used.
        problems: Why the others cannot.
        usage: Which names of the file were used as what, and which were not.
    """

    structures: list[Structure]
    problems: list[Problem]
    usage: Usage


def read_data(
    path: str | Path,
    *,
    keys: Keys | None = None,
    require: Sequence[str] = (),
    charge_tolerance: float = CHARGE_TOLERANCE,
    format: str | None = None,
    ignore: Sequence[str] = (),
) -> Contents:
    """Read a file of structures with a report of what was used, for programs that show it.

    Energies are expected in eV, lengths in Å, charges in e. Labels of atoms are looked for among
    the columns, labels of structures among the keys. Without a total charge a structure has the
    sum of its initial charges, or is neutral. `pbc` names the periods among the vectors of the
    cell: `pbc="T T F"` is a slab.

    Args:
        path: The file.
        keys: Names of the labels in the file.
        require: Labels that every structure must have, such as ("energy", "forces").
        charge_tolerance: How far reference charges may be from summing to the total charge, in e.
        format: ASE's name of the format, where it cannot be told from name and content.
        ignore: Names in the file that are left out on purpose.

    Raises:
        InputError: If the file cannot be read, a name that `keys` gives is in no structure, or a
            required label is missing (the names that were found are listed).
    """
    keys = keys or Keys()
    for label in require:
        if label not in LABELS:
            raise InputError(f"Unknown label `{label}`. {suggestion(label, LABELS)}")
    frames = read_frames(path, format)
    found = [_Found(frame, f"{path}, structure {frame.number}", keys) for frame in frames]
    readable = [one for one in found if one.frame.problem is None]
    if readable:
        _refuse_absent(path, readable, keys, require)
    structures, problems = [], []
    for one in found:
        try:
            structures.append(one.structure(charge_tolerance))
        except InputError as error:
            message = str(error).removeprefix(f"{one.name}: ")
            problems.append(Problem(one.name, message, one.frame.number))
    return Contents(structures, problems, _usage(path, readable, ignore))


def read_structures(
    path: str | Path,
    *,
    keys: Keys | None = None,
    require: Sequence[str] = (),
    charge_tolerance: float = CHARGE_TOLERANCE,
    format: str | None = None,
    ignore: Sequence[str] = (),
) -> list[Structure]:
    """Read extended XYZ, or any other format of ASE that keeps labels, and check everything.

    Arguments are those of `read_data`, which also returns what was not used. A name that looks
    like a label which the structures lack, such as `force` or `Charge`, gives an `InputWarning`.

    Raises:
        InputError: As `read_data`, and if a structure cannot be used or contradicts itself: all
            of these are counted, and the first ones named.
    """
    contents = read_data(
        path,
        keys=keys,
        require=require,
        charge_tolerance=charge_tolerance,
        format=format,
        ignore=ignore,
    )
    refuse_problems(path, contents.problems)
    _warn(contents.usage)
    return contents.structures


def read_readable(
    path: str | Path,
    *,
    keys: Keys | None = None,
    format: str | None = None,
    ignore: Sequence[str] = (),
) -> tuple[list[Structure], list[Problem]]:
    """Read what can be read of a file, whatever the charges sum to, and tell about the rest.

    Arguments and warnings are those of `read_structures`.

    Raises:
        InputError: If the file itself cannot be read.
    """
    contents = read_data(path, keys=keys, charge_tolerance=np.inf, format=format, ignore=ignore)
    _warn(contents.usage)
    return contents.structures, contents.problems


def refuse_problems(path: str | Path, problems: Sequence[Problem], *, shown: int = 3) -> None:
    """Raise an `InputError` that counts the problems and names the first ones, if there are any."""
    if not problems:
        return
    named = " ".join(f"{one.name}: {one.message}" for one in problems[:shown])
    more = f" … and {len(problems) - shown} more structures." if len(problems) > shown else ""
    raise InputError(
        f"{named}{more} `lrpot check {path} --skip GOOD.xyz` writes a file without "
        f"{'it' if len(problems) == 1 else 'them'}."
    )


def refuse_losses(usage: Usage) -> None:
    """Raise an `InputError` if there are labels under other names that nobody named or ignored."""
    if usage.lost:
        raise InputError(f"{usage.path}: {usage.complaint()}")


def _warn(usage: Usage) -> None:
    if usage.lost:
        warnings.warn(f"{usage.path}: {usage.complaint()}", InputWarning, stacklevel=3)


class _Found:
    """What one frame says.

    Attributes:
        places: Kind and name of what it has, by field of `Keys`.
        used: Those of them that are used.
    """

    def __init__(self, frame: Frame, name: str, keys: Keys):
        self.frame, self.name, self.keys = frame, name, keys
        places = {field.name: self._place(field.name) for field in dataclasses.fields(keys)}
        self.places = {label: place for label, place in places.items() if place is not None}
        self.used = dict(self.places)
        if "stress" in self.used:
            self.used.pop("virial", None)
        if frame.atoms is not None and has_initial_charges(frame.atoms):
            self.used.setdefault("total_charge", ("column", "initial_charges"))

    def structure(self, charge_tolerance: float) -> Structure:
        """The structure, checked."""
        if self.frame.problem is not None:
            raise InputError(self.frame.problem)
        atoms = self.frame.atoms
        if len(atoms) == 0:
            raise InputError("It has no atoms.")
        if not atoms.numbers.all():
            raise InputError(f"Atom {int(np.argmin(atoms.numbers))} is of no element (`X`).")
        total_charge = total_charge_of(atoms, self.name, _names("total_charge", self.keys))
        system = system_from_atoms(atoms, total_charge, self.name)
        values = {label: self._value(label) for label in LABELS}
        if "virial" in self.used:
            values["stress"] = self._stress(system.cell)
        charges = values["charges"]
        if charges is not None and abs(charges.sum() - total_charge) > charge_tolerance:
            raise InputError(
                f"{self.name}: its charges sum to {charges.sum():.4f} e but its total charge is "
                f"{total_charge:g} e (tolerance {charge_tolerance} e). Check "
                f"`{self.keys.total_charge}`, or raise `charge_tolerance`."
            )
        weight = 1.0
        if "weight" in self.used:
            _, name = self.used["weight"]
            weight = number_of(self.frame.keys[name], name, self.name)
        return Structure(system, **values, weight=weight, name=self.name)

    def unused(self) -> Iterator[tuple[str, str, str | None]]:
        """Kind, name and nearest label of what was not used."""
        used, n_atoms = set(self.used.values()), len(self.frame.atoms)
        for kind, values in (("key", self.frame.keys), ("column", self.frame.columns)):
            for name, value in values.items():
                if (kind, name) in used:
                    continue
                near = condition(name, value)
                near = near or resembled(name, value, n_atoms, by_atom=kind == "column")
                if kind == "key" and name == "forces":
                    near = name  # in another shape, or it would be used
                neutral = near == "total_charge" and not np.asarray(value, dtype=float).any()
                yield kind, name, None if neutral else near
        if self.frame.unnamed > 0:
            yield "column", UNNAMED, "forces"

    def lacks(self, label: str) -> bool:
        """Whether the structure does without a label, or a setting of its header."""
        if label in ("stress", "virial"):
            return "stress" not in self.used and "virial" not in self.used
        if label == "Lattice":
            return not self.frame.atoms.cell.any()
        return label not in self.used

    def _place(self, label: str) -> tuple[str, str] | None:
        """Kind and name of what gives a label."""
        shapes = label_shapes(0 if self.frame.atoms is None else len(self.frame.atoms))
        for name in _names(label, self.keys):
            if label not in _BY_ATOM:
                if name in self.frame.keys:
                    return "key", name
            elif name in self.frame.columns:
                return "column", name
            elif name in self.frame.keys and np.shape(self.frame.keys[name]) == shapes[label]:
                return "key", name
        return None

    def _value(self, label: str) -> np.ndarray | None:
        """Numbers of a label, in its shape where they have one that is like it."""
        if label not in self.used:
            return None
        kind, name = self.used[label]
        found = (self.frame.keys if kind == "key" else self.frame.columns)[name]
        numbers = numbers_of(found, name, self.name)
        if label in ("stress", "quadrupole"):
            numbers = _matrix(numbers)
        if label == "quadrupole" and numbers.shape == (3, 3):
            return traceless(numbers)
        return numbers.reshape(()) if label == "energy" and numbers.shape == (1,) else numbers

    def _stress(self, cell: Any) -> np.ndarray:
        """Minus the virial over the volume."""
        _, name = self.used["virial"]
        virial = numbers_of(self.frame.keys[name], name, self.name)
        if virial.size != 9 or cell is None:
            raise InputError(
                f"{self.name}: the virial `{name}` must have nine numbers, whose order is certain, "
                f"in a structure with a cell; it has {virial.size}, "
                f"{'without' if cell is None else 'with'} a cell."
            )
        return -virial.reshape(3, 3) / abs(np.linalg.det(np.asarray(cell)))


def _names(label: str, keys: Keys) -> tuple[str, ...]:
    """Names to look for a field of `Keys` under."""
    name, usual = getattr(keys, label), _ALIASES.get(label, ())
    # ASE renames a column `charge` as it reads: each name of the two stands for both.
    known = usual if label == "charges" else usual[:1]
    return usual if name in known else (name,)


def _refuse_absent(
    path: str | Path, found: Sequence[_Found], keys: Keys, require: Sequence[str]
) -> None:
    """Names that were given and are nowhere, and required labels that are not everywhere."""
    for field in dataclasses.fields(keys):
        label, given = field.name, getattr(keys, field.name) != field.default
        if given and not any(label in one.places for one in found):
            raise InputError(_absent(f"No structure of {path}", label, keys, found[0]))
    for label in require:
        lacking = [one for one in found if one.lacks(label)]
        if lacking:
            more = f" Nor have {len(lacking) - 1} other structures." if len(lacking) > 1 else ""
            raise InputError(_absent(lacking[0].name, label, keys, lacking[0]) + more)


def _absent(where: str, label: str, keys: Keys, one: _Found) -> str:
    """What is missing, what there is in one frame, and what to do."""
    name = getattr(keys, label)
    known, others = one.frame.keys, one.frame.columns
    if label in _BY_ATOM:
        known, others = others, known
    near = [f"`{found}`" for _, found, nearest in one.unused() if nearest == label]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    if name in others:
        once = "once for the structure" if label in _BY_ATOM else "for each atom"
        hint += f"`{name}` is there, but {once}. "
    return (
        f"{where} has {'' if where.startswith('No ') else 'no '}{label}: there is no `{name}`. "
        f"{hint}{suggestion(name, known, hint=not near)} Name the right one with "
        f"`Keys({label}=...)` (`[data.keys]`, or `--key {label}=...` on the command line), or do "
        f"not train on {label}."
    )


def _usage(path: str | Path, found: Sequence[_Found], ignore: Sequence[str]) -> Usage:
    """What was used and what was not, counted over the frames."""
    used = Counter((label, *place) for one in found for label, place in one.used.items())
    counts: Counter[tuple[str, str]] = Counter()
    missed: Counter[tuple[str, str]] = Counter()
    nearest: dict[tuple[str, str], str | None] = {}
    for one in found:
        for kind, name, near in one.unused():
            counts[kind, name] += 1
            missed[kind, name] += near is not None and one.lacks(near)
            nearest[kind, name] = near or nearest.get((kind, name))
    unused = [Unused(*place, counts[place], nearest[place], missed[place]) for place in counts]
    unused.sort(key=lambda one: one.nearest is None)
    return Usage(
        path=str(path),
        count=len(found),
        used=tuple(Used(*key, count) for key, count in used.items()),
        unused=tuple(unused),
        lost=tuple(one for one in unused if one.missed and one.name not in ignore),
    )


def _matrix(values: np.ndarray) -> np.ndarray:
    """Nine or six (Voigt) numbers as a matrix."""
    if values.shape == (9,):
        return values.reshape(3, 3)
    if values.shape == (6,):
        xx, yy, zz, yz, xz, xy = values
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return values
