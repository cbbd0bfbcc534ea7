"""`input.nn`: keywords, read strictly; and numbers with Fortran exponents."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from lrpot.elements import SYMBOLS
from lrpot.errors import InputError, suggestion
from lrpot.interop.n2p2.keywords import (
    ALIASES,
    ELEMENT_KEYWORDS,
    FLAGS,
    RUNNER_2,
    SHORTHAND,
    about_keywords,
    unknown,
)
from lrpot.units import BOHR, HARTREE

LENGTHS = {"bohr": BOHR, "angstrom": 1.0, "Å": 1.0, "nm": 10.0}
"""Units of length, in Å."""

ENERGIES = {"Ha": HARTREE, "eV": 1.0, "Ry": HARTREE / 2, "kcal/mol": 0.0433641043}
"""Units of energy, in eV."""

REPEATABLE = {
    "symfunction_short",
    "atom_energy",
    "element_nodes_short",
    "fixed_gausswidth",
    "initial_hardness",
}
"""Keywords that n2p2 lets occur more than once."""


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

    def at_most(self, count: int) -> "Line":
        """The line itself, which must not have more arguments than this."""
        if len(self.arguments) > count:
            self.fail(f"expected at most {count} arguments, got {' '.join(self.arguments)}.")
        return self

    def integer_at(self, position: int) -> int:
        """One argument as an integer."""
        text = self.argument(position)
        if not _INTEGER.fullmatch(text):
            self.fail(f"expected an integer, got {text!r}.")
        return int(text)

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


_OFF = (["0"], ["false"], [".false."], ["no"], ["off"])
_NUMBER = re.compile(
    r"(?P<digits>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eEdD](?P<exponent>[+-]?[0-9]+))?"
)
_LONG_EXPONENT = re.compile(r"(?P<digits>[+-]?[0-9]*\.[0-9]+)(?P<exponent>[+-][0-9]{3})")
"""Fortran leaves out the letter before three digits."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def parse_float(text: str, line: Line) -> float:
    """A finite number as C or Fortran write it: `1.0d0` and `1.0-100` have exponents.

    Whatever else Python takes for a number (`1_2`, digits of other scripts) is refused.
    """
    found = _NUMBER.fullmatch(text) or _LONG_EXPONENT.fullmatch(text)
    if found is None and not _NOT_FINITE.fullmatch(text):
        line.fail(f"expected a number, got {text!r}.")
    if found is None:
        line.fail(f"expected a finite number, got {text!r}.")
    value = float(f"{found['digits']}e{found['exponent'] or 0}")
    if abs(value) == float("inf"):
        line.fail(f"expected a finite number, got {text!r}.")
    return value


class Settings:
    """Keywords of an `input.nn`.

    Unknown keywords are kept and ignored, as n2p2 does: RuNNer files hold many. `doubts` tells of
    those that are near misses.

    Raises:
        InputError: If the file cannot be read, a keyword is repeated that may not be, two
            names of one keyword are mixed, or the file is of RuNNer 2.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lines: dict[str, list[Line]] = {}
        self._names = names = dict[str, str]()
        for number, text in read_lines(path):
            words = text.split("#")[0].split("!")[0].split()
            if not words:
                continue
            line = Line(path, number, tuple(words[1:]))
            if words[0] in RUNNER_2:
                line.fail(
                    f"`{words[0]}` is a keyword of RuNNer 2, whose files are another format. Only "
                    "potentials of RuNNer 1 and n2p2 can be read."
                )
            if words[0] in SHORTHAND:
                line.fail(
                    f"`{words[0]}` is a shorthand of RuNNer that is not understood. Write each "
                    "function as a line `symfunction_short`; RuNNer prints them at its start."
                )
            if words[0] in FLAGS and [one.lower() for one in words[1:2]] in _OFF:
                line.fail(f"`{words[0]}` is on whatever follows it. Leave the line out.")
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

    @property
    def unknown(self) -> tuple[str, ...]:
        """Keywords that are neither used nor known to be without effect on predictions."""
        return unknown(self._names.values())

    def doubts(self, *, charged: bool) -> list[str]:
        """What keywords probably mean but do not do; `charged` says whether there are charges."""
        places = {
            name: f"line {self._lines[keyword][0].number}" for keyword, name in self._names.items()
        }
        return about_keywords(places, charged=charged)

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
    """A text file, with an error that says what to do when it is not there or no text.

    A byte order mark and any line ends are fine, and so are comments in Latin-1: numbers, keywords
    and symbols of elements are ASCII, and whoever parses them refuses anything else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"The file {path} is missing.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read as text: {error.strerror}.") from None
    if b"\0" in content:
        raise InputError(
            f"{path} cannot be read as text: it holds zero bytes, as binary files and UTF-16 do."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file and their numbers; only line ends begin a new one."""
    return enumerate(read_text(path).split("\n"), start=1)


def unit(name: str, units: dict[str, float], what: str) -> float:
    """The size of a unit by name."""
    if name not in units:
        raise InputError(f"Unknown unit of {what} `{name}`. {suggestion(name, units)}")
    return units[name]
