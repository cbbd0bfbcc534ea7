"""`input.nn`: keywords, read strictly; and numbers with Fortran exponents."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lrpot.elements import SYMBOLS
from lrpot.errors import InputError, suggestion
from lrpot.units import BOHR, HARTREE

LENGTHS = {"bohr": BOHR, "angstrom": 1.0, "Å": 1.0, "nm": 10.0}
"""Units of length, in Å."""

ENERGIES = {"Ha": HARTREE, "eV": 1.0, "Ry": HARTREE / 2, "kcal/mol": 0.0433641043}
"""Units of energy, in eV."""

ALIASES = {
    "nnp_generation": "nnp_type",
    "nnp_type_gen": "nnp_type",
    "nnp_gen": "nnp_type",
    "symfunction": "symfunction_short",
}

REPEATABLE = {
    "symfunction_short",
    "atom_energy",
    "element_nodes_short",
    "fixed_gausswidth",
    "initial_hardness",
}
"""Keywords that n2p2 lets occur more than once."""

ELEMENT_KEYWORDS = {
    f"element_{what}_{network}"
    for what in ("hidden_layers", "nodes", "activation")
    for network in ("short", "electrostatic")
}
"""Keywords that may occur once per element."""

RUNNER_2 = {
    "activation_nn",
    "electrostatics_precision",
    "fc_cosine",
    "fc_hard",
    "fc_hypertangent",
    "fc_polynomial",
    "feature_map_default",
    "nodes",
    "qeq_method",
    "scale_feature_maps",
    "screening_function",
}
"""Keywords of RuNNer 2, whose files are another format."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Arguments of one keyword and where they stand."""

    path: Path
    number: int
    arguments: tuple[str, ...]

    def fail(self, problem: str) -> NoReturn:
        """Raise `InputError` naming file and line."""
        raise InputError(f"{self.path}, line {self.number}: {problem}")

    def floats(self, *, least: int = 1, most: int | None = None) -> tuple[float, ...]:
        """All arguments as numbers, their count checked."""
        most = least if most is None else most
        if not least <= len(self.arguments) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            self.fail(f"expected {count} numbers, got {' '.join(self.arguments) or 'nothing'}.")
        return tuple(self.number_at(position) for position in range(len(self.arguments)))

    def number_at(self, position: int) -> float:
        """One argument as a finite number; a Fortran exponent (`1.0d0`) is understood."""
        return parse_float(self.argument(position), self)

    def integer_at(self, position: int) -> int:
        """One argument as an integer."""
        text = self.argument(position)
        try:
            return int(text)
        except ValueError:
            self.fail(f"expected an integer, got {text!r}.")

    def element_at(self, position: int) -> int:
        """One argument as the symbol of an element."""
        symbol = self.argument(position)
        if symbol not in SYMBOLS[1:]:
            self.fail(f"{symbol!r} is not the symbol of an element.")
        return SYMBOLS.index(symbol)

    def argument(self, position: int) -> str:
        """One argument as it stands."""
        if position >= len(self.arguments):
            self.fail(f"argument {position + 1} is missing.")
        return self.arguments[position]


def parse_float(text: str, line: Line) -> float:
    """A finite number, Fortran exponents included."""
    try:
        value = float(text.lower().replace("d", "e"))
    except ValueError:
        line.fail(f"expected a number, got {text!r}.")
    if value != value or abs(value) == float("inf"):
        line.fail(f"expected a finite number, got {text!r}.")
    return value


class Settings:
    """Keywords of an `input.nn`.

    Unknown keywords are kept and ignored, as n2p2 does: RuNNer files hold many.

    Raises:
        InputError: If the file cannot be read, a keyword is repeated that may not be, two
            names of one keyword are mixed, or the file is of RuNNer 2.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lines: dict[str, list[Line]] = {}
        names: dict[str, str] = {}
        for number, text in enumerate(read_text(path).splitlines(), start=1):
            words = text.split("#")[0].split("!")[0].split()
            if not words:
                continue
            line = Line(path, number, tuple(words[1:]))
            if words[0] in RUNNER_2:
                line.fail(
                    f"`{words[0]}` is a keyword of RuNNer 2, whose files are another format. Only "
                    "potentials of RuNNer 1 and n2p2 can be read."
                )
            keyword = ALIASES.get(words[0], words[0])
            if names.setdefault(keyword, words[0]) != words[0]:
                line.fail(f"`{words[0]}` and `{names[keyword]}` are names of the same keyword.")
            lines = self._lines.setdefault(keyword, [])
            if lines and self._repeats(keyword, line, lines):
                line.fail(f"`{words[0]}` stands already in line {lines[-1].number}.")
            lines.append(line)

    @staticmethod
    def _repeats(keyword: str, line: Line, lines: Sequence[Line]) -> bool:
        if keyword in ELEMENT_KEYWORDS or keyword in REPEATABLE - {"symfunction_short"}:
            return line.arguments[:1] in [one.arguments[:1] for one in lines]
        return keyword not in REPEATABLE

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._lines

    def all(self, keyword: str) -> list[Line]:
        """All lines of a keyword, none if it is absent."""
        return self._lines.get(keyword, [])

    def one(self, keyword: str) -> Line:
        """The line of a keyword that must be there."""
        lines = self.all(keyword)
        if not lines:
            raise InputError(
                f"{self.path}: the keyword `{keyword}` is missing. "
                f"{suggestion(keyword, self._lines)}"
            )
        return lines[0]

    def number(self, keyword: str, default: float) -> float:
        """The single number of an optional keyword."""
        return self.one(keyword).floats()[0] if keyword in self else default

    def by_element(self, keyword: str, elements: Sequence[int]) -> dict[int, float]:
        """Numbers given element by element."""
        values = {}
        for line in self.all(keyword):
            if len(line.arguments) != 2:
                line.fail(f"`{keyword}` takes an element and a number.")
            element = line.element_at(0)
            if element not in elements:
                line.fail(f"{SYMBOLS[element]} is not among the elements of the potential.")
            values[element] = line.number_at(1)
        return values


def read_text(path: Path) -> str:
    """A text file, with an error that says what to do when it is not there or no text."""
    try:
        return path.read_text(encoding="utf-8", errors="strict")
    except FileNotFoundError:
        raise InputError(f"The file {path} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}.") from None


def unit(name: str, units: dict[str, float], what: str) -> float:
    """The size of a unit by name."""
    if name not in units:
        raise InputError(f"Unknown unit of {what} `{name}`. {suggestion(name, units)}")
    return units[name]
