"""What of a file is used as what: the report of `check`, `train`, `evaluate` and `convert`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from lrpot.data.findings import Finding
from lrpot.system import CONDITIONS

_SHOWN = 12
"""Names that a line lists before it only counts the rest."""

UNNAMED = "unnamed columns"
"""What values are called that stand in rows and have no name in the header."""


@dataclasses.dataclass(frozen=True)
class Used:
    """One name of a file that was used.

    Attributes:
        label: Field of `lrpot.data.Keys` that it gives.
        kind: `key` for what stands once for a structure, `column` for what stands at each atom.
        name: In the file.
        count: Structures that have it.
    """

    label: str
    kind: str
    name: str
    count: int


@dataclasses.dataclass(frozen=True)
class Unused:
    """One name of a file that was not used.

    Attributes:
        kind: `key` or `column`.
        name: In the file.
        count: Structures that have it.
        nearest: The label that it looks like; `None` if it looks like none.
        missed: Structures among these that lack that label.
    """

    kind: str
    name: str
    count: int
    nearest: str | None = None
    missed: int = 0


@dataclasses.dataclass(frozen=True)
class Usage:
    """What was read of a file of structures, and what was not.

    Attributes:
        path: The file.
        count: Structures that could be read.
        used: Names that were used.
        unused: Names that were not.
        lost: Those of them that look like a label which the structure lacks, so that it may
            have been meant, and are not to be ignored.
    """

    path: str
    count: int
    used: tuple[Used, ...]
    unused: tuple[Unused, ...]
    lost: tuple[Unused, ...]

    def lines(self) -> list[str]:
        """The report in words, without line breaks."""
        read = [
            f"{one.label} from {one.kind} `{one.name}`{self._of(one.count)}" for one in self.used
        ]
        lines = [f"{self.path}, {self.count} structures: {', '.join(read) or 'no labels'}."]
        if self.unused:
            names = [self._described(one) for one in self.unused[:_SHOWN]]
            if len(self.unused) > _SHOWN:
                names.append(f"and {len(self.unused) - _SHOWN} more")
            lines.append(f"Not used: {', '.join(names)}.")
        return lines + ([self.complaint()] if self.lost else [])

    def complaint(self) -> str:
        """What is lost in silence if nothing is done, and what to do; empty if nothing is."""
        if not self.lost:
            return ""
        return f"{'; '.join(self._fact(one) for one in self.lost)}: {_remedy(self.lost)}"

    def as_finding(self) -> Finding:
        """What is lost in silence, as `check_data` reports it."""
        cases = [(f"{one.kind} `{one.name}`", self._fact(one)) for one in self.lost]
        remedy = _remedy(self.lost) if self.lost else ""
        meaning = f"Look like labels, and are not read: {remedy}"
        return Finding("labels under other names", meaning, cases)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, fit for JSON."""
        return dataclasses.asdict(self)

    def _of(self, count: int) -> str:
        return "" if count == self.count else f" (in {count} of {self.count})"

    def _described(self, one: Unused) -> str:
        near = f" (nearest known: `{one.nearest}`)" if one.nearest else ""
        return f"{one.kind} `{one.name}`{self._of(one.count)}{near}"

    def _fact(self, one: Unused) -> str:
        lacking = f" and no `{one.nearest}`"
        if one.name == "forces":
            lacking = " in another shape than that of forces"
        elif one.nearest == "total_charge":
            lacking += ", and count as neutral"
        return f"{one.missed} of {self.count} structures have the {one.kind} `{one.name}`{lacking}"


def _remedy(lost: Sequence[Unused]) -> str:
    """What to do about all of them, in one sentence."""
    it = "it" if len(lost) == 1 else "them"
    renamed, others = {}, []
    for one in lost:
        other = _other_remedy(one)
        if other is None:
            renamed.setdefault(one.nearest, one.name)
        elif len(lost) == 1:
            others.append(other)
        else:
            others.append(f"`{one.name}`: {other}")
    ways = []
    if renamed:
        entries = ", ".join(f'`{label} = "{name}"`' for label, name in renamed.items())
        arguments = ", ".join(f'{label}="{name}"' for label, name in renamed.items())
        options = " ".join(f"--key {label}={name}" for label, name in renamed.items())
        ways.append(
            f"name {it} with {entries} in `[data.keys]` (`Keys({arguments})` in Python, "
            f"`{options}` on the command line)"
        )
    names = ", ".join(f'"{one.name}"' for one in lost)
    return (
        f"{'; '.join(ways + others)}, or leave {it} out with `ignore = [{names}]` in `[data]` "
        "(`ignore=` in Python, `--ignore` on the command line)."
    )


def _other_remedy(one: Unused) -> str | None:
    """What to do about a name that cannot be given in `Keys`."""
    if one.nearest in CONDITIONS:
        return "files cannot hold it yet, and `lrpot.System` takes it in Python"
    if one.name == "forces":
        return "write it as a column, with three numbers for each atom"
    if one.nearest in ("Lattice", "pbc"):
        return f"write it as `{one.nearest}`"
    if one.name == UNNAMED:
        return 'name the columns in the header, as in `Properties="species:S:1:pos:R:3:forces:R:3"`'
    return None
