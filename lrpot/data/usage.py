"""What of a file is used as what: the report of `check`, `train`, `evaluate` and `convert`."""

import dataclasses
from typing import Any

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
        return " ".join(self._complaint(one) for one in self.lost)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, fit for JSON."""
        return dataclasses.asdict(self)

    def _of(self, count: int) -> str:
        return "" if count == self.count else f" (in {count} of {self.count})"

    def _described(self, one: Unused) -> str:
        near = f" (nearest known: `{one.nearest}`)" if one.nearest else ""
        return f"{one.kind} `{one.name}`{self._of(one.count)}{near}"

    def _complaint(self, one: Unused) -> str:
        lacking = f" and no `{one.nearest}`"
        if one.name == "forces":
            lacking = " in another shape than that of forces"
        elif one.nearest == "total_charge":
            lacking += ", and count as neutral"
        return (
            f"{one.missed} of {self.count} structures have the {one.kind} `{one.name}`{lacking}: "
            f"{_remedy(one)}"
        )


def _remedy(one: Unused) -> str:
    if one.nearest in CONDITIONS:
        rename = "files cannot hold it yet, and `lrpot.System` takes it in Python"
    elif one.name == "forces":
        rename = "write it as a column, with three numbers for each atom"
    elif one.nearest in ("Lattice", "pbc"):
        rename = f"write it as `{one.nearest}`"
    elif one.name == UNNAMED:
        rename = (
            'name the columns in the header, as in `Properties="species:S:1:pos:R:3:forces:R:3"`'
        )
    else:
        rename = (
            f'name it with `{one.nearest} = "{one.name}"` in `[data.keys]` '
            f'(`Keys({one.nearest}="{one.name}")` in Python, `--key {one.nearest}={one.name}` on '
            "the command line)"
        )
    ignore = f'`ignore = ["{one.name}"]` in `[data]`'
    return (
        f"{rename}, or leave it out with {ignore} (`ignore=` in Python, `--ignore` on the command "
        "line)."
    )
