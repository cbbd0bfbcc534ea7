"""Symmetry functions: lines of `input.nn` to parts of a descriptor, and back."""

import dataclasses
from collections.abc import Sequence

from lrpot.descriptors import Angular, Bumps, Channels, CosinePowers, Radial, Shells, Windows
from lrpot.elements import SYMBOLS
from lrpot.interop.n2p2.settings import Line, Settings

CUTOFF_TYPES = (
    "hard",
    "cos",
    "tanh3",
    "tanh3_normalised",
    "exp",
    "poly1",
    "poly2",
    "poly3",
    "poly4",
)
"""Names of the cutoff functions, by `cutoff_type`."""

CORES = {"c": "cos", "e": "exp", "p1": "poly1", "p2": "poly2", "p3": "poly3", "p4": "poly4"}
"""Shapes of compact functions and of screening, by their short name."""

RADIAL, WEIGHTED_RADIAL = {2, 12, 20, 23}, {12, 23}
NARROW, COMPACT = {3, 13, 21, 24}, {20, 21, 22, 23, 24, 25}
WEIGHTED = {12, 13, 23, 24, 25}

_COUNTS = {
    2: (4, 4),
    3: (6, 7),
    9: (6, 7),
    12: (3, 3),
    13: (5, 5),
    20: (4, 4),
    21: (7, 7),
    22: (7, 7),
    23: (3, 3),
    24: (5, 5),
    25: (5, 5),
}
"""Least and largest number of arguments after central element and type."""


@dataclasses.dataclass(frozen=True)
class Function:
    """One symmetry function, in the units of the file.

    Attributes:
        kind: Type number.
        neighbors: Atomic numbers of the neighbours, sorted; none for weighted functions.
        shell: (η, r_s), or the interval (low, high) of a compact function.
        cutoff: In units of length.
        angle: (λ, ζ), or the interval of the angle; none for radial functions.
        shape: Short name of the core of a compact function.
    """

    kind: int
    neighbors: tuple[int, ...]
    shell: tuple[float, float]
    cutoff: float
    angle: tuple[float, float] | None = None
    shape: str = ""

    @property
    def order(self) -> tuple:
        """Where n2p2 sorts it among the functions of an element."""
        eta, shift = self.shell
        if self.kind in COMPACT:
            angle = () if self.angle is None else self.angle
            ends = (self.cutoff, self.shell[0])
            return (self.kind, self.shape, self.neighbors, ends, angle)
        if self.angle is None:
            return (self.kind, self.cutoff, eta, shift, self.neighbors)
        sign, zeta = self.angle
        return (self.kind, self.cutoff, eta, shift, zeta, sign, self.neighbors)


def read_functions(settings: Settings, elements: Sequence[int]) -> dict[int, list[Function]]:
    """The symmetry functions of each element, in the order in which the networks see them."""
    functions: dict[int, list[Function]] = {element: [] for element in elements}
    for line in settings.all("symfunction_short"):
        center, function = _parse(line)
        for element in (center, *function.neighbors):
            if element not in functions:
                line.fail(f"{SYMBOLS[element]} is not among the elements of the potential.")
        functions[center].append(function)
    for element, found in functions.items():
        if not found:
            settings.one("elements").fail(f"{SYMBOLS[element]} has no symmetry functions.")
    return {
        element: sorted(found, key=lambda one: one.order) for element, found in functions.items()
    }


def _parse(line: Line) -> tuple[int, Function]:
    center, kind = line.element_at(0), line.integer_at(1)
    if kind not in _COUNTS:
        line.fail(f"unknown type {kind} of symmetry function; known are {sorted(_COUNTS)}.")
    least, most = _COUNTS[kind]
    rest = Line(line.path, line.number, line.arguments[2:])
    if not least <= len(rest.arguments) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}"
        line.fail(f"type {kind} takes {wanted} arguments, got {len(rest.arguments)}.")
    n_neighbors = 0 if kind in WEIGHTED else (1 if kind in RADIAL else 2)
    neighbors = tuple(sorted(rest.element_at(i) for i in range(n_neighbors)))
    rest = Line(line.path, line.number, rest.arguments[n_neighbors:])
    read = _compact if kind in COMPACT else _gaussian
    return center, read(kind, neighbors, rest)


def _gaussian(kind: int, neighbors: tuple[int, ...], line: Line) -> Function:
    values = line.floats(least=1, most=len(line.arguments))
    if kind in (2, 12):
        eta, shift, cutoff = values
        angle = None
    elif kind == 13:
        eta, shift, sign, zeta, cutoff = values
        angle = (sign, zeta)
    else:
        eta, sign, zeta, cutoff = values[:4]
        # n2p2 takes a negative shift of these types for 0.
        shift = max(values[4], 0.0) if len(values) > 4 else 0.0
        angle = (sign, zeta)
    if cutoff <= 0 or eta < 0:
        line.fail(f"eta must not be negative and the cutoff positive, got {eta} and {cutoff}.")
    return Function(kind, neighbors, (eta, shift), cutoff, angle)


def _compact(kind: int, neighbors: tuple[int, ...], line: Line) -> Function:
    shape = line.arguments[-1]
    core = shape.removesuffix("a")
    if core not in CORES or core == "c" or (shape != core and core == "e"):
        line.fail(f"unknown core {shape!r}; known are e, p1 to p4, and p1a to p4a.")
    numbers = Line(line.path, line.number, line.arguments[:-1])
    values = numbers.floats(least=1, most=len(numbers.arguments))
    low, high = values[:2]
    angle = (values[2], values[3]) if len(values) == 4 else None
    if low >= high or high <= 0 or (angle is not None and angle[0] >= angle[1]):
        line.fail(f"intervals need low < high, got {values}.")
    if angle is not None and not _window_allowed(*angle):
        line.fail(
            f"an angular interval may reach beyond 0 or 180 degrees only if its middle is there, "
            f"got {angle}."
        )
    return Function(kind, neighbors, (low, high), high, angle, shape)


def _window_allowed(low: float, high: float) -> bool:
    middle = 0.5 * (low + high)
    return (low >= 0 or middle == 0) and (high <= 180 or middle == 180)


def build_parts(
    functions: dict[int, list[Function]],
    elements: tuple[int, ...],
    cutoff_type: tuple[str, float],
    length: float,
) -> tuple[tuple[Radial | Angular, ...], tuple[tuple[int, ...], ...]]:
    """Parts of a descriptor that hold all functions on grids, and the columns of each element.

    Args:
        functions: By element of the centre, sorted.
        elements: Atomic numbers.
        cutoff_type: Name and inner fraction of the cutoff function.
        length: Unit of length of the functions, in Å.
    """
    groups: dict[tuple, list[Function]] = {}
    for found in functions.values():
        for function in found:
            groups.setdefault(_group(function), []).append(function)
    parts: list[Radial | Angular] = []
    places: dict[Function, int] = {}
    start = 0
    for members in groups.values():
        part, offsets = _build_part(members, elements, cutoff_type, length)
        parts.append(part)
        places |= {function: start + offset for function, offset in offsets.items()}
        start += len(part.labels)
    width = max(len(found) for found in functions.values())
    columns = tuple(
        tuple(places[function] for function in functions[element])
        + (-1,) * (width - len(functions[element]))
        for element in elements
    )
    return tuple(parts), columns


def _group(function: Function) -> tuple:
    """Functions of one group fit on one grid."""
    if function.kind in COMPACT:
        return (function.kind, function.shape)
    if function.kind not in NARROW:
        polynomial = function.angle is None or CosinePowers((function.angle,)).polynomial
        return (function.kind, function.cutoff, polynomial)
    # One exponent in one grid: files combine few of all exponents and shells.
    return (function.kind, function.cutoff, function.angle and function.angle[1])


def _build_part(
    members: list[Function],
    elements: tuple[int, ...],
    cutoff_type: tuple[str, float],
    length: float,
) -> tuple[Radial | Angular, dict[Function, int]]:
    kind, shape = members[0].kind, members[0].shape
    used = {element for function in members for element in function.neighbors}
    channels = () if kind in WEIGHTED else tuple(one for one in elements if one in used)
    shells = list(dict.fromkeys(function.shell for function in members))
    angles = list(dict.fromkeys(function.angle for function in members))
    if kind in COMPACT:
        core = CORES[shape.removesuffix("a")]
        scaled = tuple((low * length, high * length) for low, high in shells)
        radial = Bumps(scaled, core, shape.endswith("a"))
        angular = None if kind in RADIAL else Windows(tuple(_given(angles)), core)
    else:
        name, inner = cutoff_type
        scaled = tuple((eta / length**2, shift * length) for eta, shift in shells)
        inner = 0.0 if name.startswith("tanh3") else inner
        radial = Shells(scaled, members[0].cutoff * length, name, inner)
        angular = None if kind in RADIAL else CosinePowers(tuple(_given(angles)))
    if angular is None:
        part: Radial | Angular = Radial(Channels(channels), radial)
    else:
        part = Angular(Channels(channels), radial, angular, kind in NARROW)
    rows: list[tuple[int, ...]] = [(one,) for one in channels]
    if kind not in RADIAL:
        rows = [(a, b) for i, a in enumerate(channels) for b in channels[i:]]
    if kind in WEIGHTED:
        rows = [()]
    return part, {
        function: (rows.index(function.neighbors) * len(shells) + shells.index(function.shell))
        * len(angles)
        + angles.index(function.angle)
        for function in members
    }


def _given(angles: list) -> list[tuple[float, float]]:
    return [angle for angle in angles if angle is not None]


def functions_of(part: Radial | Angular, length: float) -> tuple[list[Function], list[str]]:
    """The functions of a part in the units of a file, in order, and what stands in the way."""
    weighted, shells = not part.channels.elements, part.shells
    angular = part.angles if isinstance(part, Angular) else None
    problems = []
    compact = isinstance(shells, Bumps)
    if angular is not None and isinstance(angular, Windows) != compact:
        problems.append("Gaussian shells with angular windows, or bumps with powers of the cosine")
    if isinstance(part, Radial):
        kind = {(False, False): 2, (True, False): 12, (False, True): 20, (True, True): 23}[
            weighted, compact
        ]
    elif compact:
        kind = {(False, True): 21, (False, False): 22, (True, True): 24, (True, False): 25}[
            weighted, part.narrow
        ]
    else:
        kind = {(False, True): 3, (False, False): 9, (True, True): 13}.get(
            (weighted, part.narrow), 0
        )
        if kind == 0:
            problems.append("wide angular functions weighted by atomic number (no such type)")
    shape = ""
    if isinstance(shells, Bumps):
        short = {name: key for key, name in CORES.items()}
        shape = short.get(shells.function, "") + ("a" if shells.steep else "")
        if isinstance(angular, Windows) and angular.function != shells.function:
            problems.append("bumps and angular windows of different shape")
        if shells.function not in short or shells.function == "cos":
            problems.append(f"compact functions of shape `{shells.function}`")
        pairs = [(low / length, high / length) for low, high in shells.intervals]
        cutoffs = [high for _, high in pairs]
    else:
        pairs = [(eta * length**2, shift / length) for eta, shift in shells.shells]
        cutoffs = [shells.cutoff / length] * len(pairs)
        if kind in (3, 9) and any(shift < 0 for _, shift in pairs):
            problems.append("angular functions with a negative shift")
    angles: tuple = (None,)
    if angular is not None:
        angles = angular.powers if isinstance(angular, CosinePowers) else angular.intervals
    channels = part.channels.elements
    rows: list[tuple[int, ...]] = [(one,) for one in channels]
    if angular is not None:
        rows = [(a, b) for i, a in enumerate(channels) for b in channels[i:]]
    if weighted:
        rows = [()]
    return [
        Function(kind, row, shell, cutoff, angle, shape)
        for row in rows
        for shell, cutoff in zip(pairs, cutoffs, strict=True)
        for angle in angles
    ], problems


def write_function(center: int, function: Function) -> str:
    """The line of `input.nn` for one function."""
    first, second = (f"{value:.17g}" for value in function.shell)
    cutoff = f"{function.cutoff:.17g}"
    angle = [] if function.angle is None else [f"{value:.17g}" for value in function.angle]
    if function.kind in COMPACT:
        numbers = [first, second, *angle, function.shape]
    elif function.kind in (2, 12):
        numbers = [first, second, cutoff]
    elif function.kind == 13:
        numbers = [first, second, *angle, cutoff]
    else:
        numbers = [first, *angle, cutoff, second]
    names = [SYMBOLS[number] for number in function.neighbors]
    return " ".join(["symfunction_short", SYMBOLS[center], str(function.kind), *names, *numbers])
