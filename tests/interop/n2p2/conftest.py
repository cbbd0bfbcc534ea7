"""Small potentials with random weights, and a writer of their files that is not the library's."""

import dataclasses

import numpy as np
import pytest

NUMBERS = {"H": 1, "C": 6, "O": 8}


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the files of a potential say, in their units; weights and statistics are random.

    Functions are tuples of type and arguments as they stand in `input.nn`.
    """

    functions: dict[str, list[tuple]]
    kind: int = 2
    cutoff: tuple = (1, 0.0)
    flags: tuple[str, ...] = ("scale_symmetry_functions", "center_symmetry_functions")
    limits: tuple[float, float] = (0.0, 1.0)
    hidden: dict[str, tuple[int, ...]] | tuple[int, ...] = (3,)
    letters: dict[str, str] | str = "tl"
    chi_hidden: dict[str, tuple[int, ...]] | tuple[int, ...] = (2,)
    chi_letters: dict[str, str] | str = "tl"
    normal: tuple[float, float, float, float] | None = None
    divide: bool = False
    offsets: dict[str, float] = dataclasses.field(default_factory=dict)
    widths: dict[str, float] = dataclasses.field(default_factory=dict)
    hardness: dict[str, float] = dataclasses.field(default_factory=dict)
    screening: tuple | None = None
    four_pi_epsilon: float = 1.0
    function_word: str = "symfunction_short"
    type_word: str = "nnp_type"
    units: tuple[str, str] = ("bohr", "Ha")
    seed: int = 0

    @property
    def elements(self):
        return sorted(self.functions, key=NUMBERS.get)

    def sorted(self, element):
        """In the order of networks and statistics."""
        return sorted(self.functions[element], key=_order)

    def shape(self, element, network="short"):
        """Hidden sizes and letters."""
        nodes, letters = (
            (self.hidden, self.letters)
            if network == "short"
            else (self.chi_hidden, self.chi_letters)
        )
        return (
            nodes[element] if isinstance(nodes, dict) else nodes,
            letters[element] if isinstance(letters, dict) else letters,
        )

    def statistics(self, element):
        """Minimum, maximum, mean and sigma of each function."""
        random = np.random.default_rng([self.seed, NUMBERS[element], 1])
        rows = []
        for kind, *_ in self.sorted(element):
            size = {12: 8.0, 23: 8.0, 13: 20.0, 24: 20.0, 25: 20.0}.get(kind, 1.0)
            low, high = size * random.uniform(-0.5, 0.1), size * random.uniform(0.8, 1.5)
            rows.append((low, high, random.uniform(low, high), size * random.uniform(0.3, 1.0)))
        return rows

    def network(self, element, network="short"):
        """Weights [n_in, n_out] and biases, layer by layer."""
        extra = self.kind != 2 and network == "short"
        sizes = (len(self.functions[element]) + extra, *self.shape(element, network)[0], 1)
        random = np.random.default_rng([self.seed, NUMBERS[element], len(network)])
        # With `normalize_nodes` sums are divided by the number of inputs, and come out as large.
        size = [n if self.divide else 1 for n in sizes]
        return [
            (random.normal(size=(a, b)) / a**0.5 * n, random.normal(size=b) * n * 0.5)
            for a, b, n in zip(sizes[:-1], sizes[1:], size[:-1], strict=True)
        ]

    def files(self):
        """Contents by name. Lines and elements stand in an order that is not the networks'."""
        symbols = list(reversed(self.elements))
        lines = [f"{self.type_word} {self.kind}  # generation", "! a comment", ""]
        if self.kind == 2 and self.type_word == "nnp_type":
            lines = ["! a comment", "# another", ""]
        lines += [
            f"elements {' '.join(symbols)}   ! not sorted",
            f"number_of_elements {len(symbols)}",
        ]
        lines += ["unknown_keyword_of_runner 1 2 3", "\tepochs 10", *self.flags]
        lines += [f"cutoff_type {' '.join(map(str, self.cutoff))}"]
        lines += [f"scale_min_short {self.limits[0]}", f"scale_max_short {self.limits[1]}"]
        lines += self._shape_lines("short")
        lines += [f"atom_energy {one} {value!r}" for one, value in self.offsets.items()]
        if self.divide:
            lines += ["normalize_nodes"]
        if self.normal is not None:
            names = ("mean_energy", "conv_energy", "conv_length", "conv_charge")
            lines += [f"{one} {v!r}" for one, v in zip(names, self.normal, strict=True)]
        if self.kind != 2:
            lines += self._shape_lines("electrostatic")
        if self.kind == 4:
            lines += [f"fixed_gausswidth {one} {value}" for one, value in self.widths.items()]
            lines += [f"four_pi_epsilon {self.four_pi_epsilon}", "ewald_prec 1.0e-5"]
            if self.screening is not None:
                lines += [f"screen_electrostatics {' '.join(map(str, self.screening))}"]
        random = np.random.default_rng(self.seed)
        functions = [(one, function) for one in symbols for function in self.functions[one]]
        for place in random.permutation(len(functions)):
            element, (kind, *arguments) = functions[place]
            words = " ".join(str(word) for word in arguments)
            lines.append(f"{self.function_word} {element} {kind} {words}")
        files = {"input.nn": "\n".join(lines) + "\n", "scaling.data": "# statistics\n"}
        for row, element in enumerate(self.elements, start=1):
            for column, values in enumerate(self.statistics(element), start=1):
                words = " ".join(f"{value!r}" for value in values)
                files["scaling.data"] += f" {row} {column} {words}\n"
            name = f"{NUMBERS[element]:03d}.data"
            files[f"weights.{name}"] = _weights(self.network(element))
            if self.kind != 2:
                files[f"weightse.{name}"] = _weights(self.network(element, "electrostatic"))
            if self.kind == 4:
                files[f"hardness.{name}"] = f"{self.hardness[element]!r}\n"
        files["scaling.data"] += " -1.5 2.5\n"  # RuNNer ends with the range of energies
        return files

    def write(self, folder, **changed):
        """Write the files; `changed` are other contents, or None for a file that is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (self.files() | changed).items():
            if text is not None:
                (folder / name).write_text(text)
        return folder

    def _shape_lines(self, network):
        # The last element is the rule, all others are exceptions to it.
        hidden, letters = self.shape(self.elements[-1], network)
        lines = [
            f"global_hidden_layers_{network} {len(hidden)}",
            f"global_nodes_{network} {' '.join(map(str, hidden))}",
            f"global_activation_{network} {' '.join(letters)}",
        ]
        for element in self.elements[:-1]:
            own, names = self.shape(element, network)
            if len(own) != len(hidden):
                lines.append(f"element_hidden_layers_{network} {element} {len(own)}")
            if own != hidden:
                lines.append(f"element_nodes_{network} {element} {' '.join(map(str, own))}")
            if names != letters:
                lines.append(f"element_activation_{network} {element} {' '.join(names)}")
        return lines


def _weights(layers):
    numbers = np.concatenate([np.append(weights.ravel(), biases) for weights, biases in layers])
    lines = [f"{number!r}  a {count}" for count, number in enumerate(numbers.tolist(), start=1)]
    # One of them as Fortran writes it.
    return "# value type index\n" + "\n".join(lines).replace("e-", "d-").replace("E-", "D-") + "\n"


def _order(function):
    """Sorting by type, then by the parameters in an order that depends on the type."""
    kind, *rest = function
    if kind == 2:
        element, eta, shift, cutoff = rest
        return kind, cutoff, eta, shift, NUMBERS[element]
    if kind in (3, 9):
        one, other, eta, sign, zeta, cutoff, *shift = rest
        pair = sorted((NUMBERS[one], NUMBERS[other]))
        return kind, cutoff, eta, shift[0] if shift else 0.0, zeta, sign, *pair
    if kind == 12:
        eta, shift, cutoff = rest
        return kind, cutoff, eta, shift
    if kind == 13:
        eta, shift, sign, zeta, cutoff = rest
        return kind, cutoff, eta, shift, zeta, sign
    if kind == 20:
        element, low, high, core = rest
        return kind, core, NUMBERS[element], high, low
    if kind in (21, 22):
        one, other, low, high, first, last, core = rest
        return kind, core, *sorted((NUMBERS[one], NUMBERS[other])), high, low, first, last
    if kind == 23:
        low, high, core = rest
        return kind, core, high, low
    low, high, first, last, core = rest
    return kind, core, high, low, first, last


SIMPLE = {
    "H": [(2, "O", 0.3, 0.0, 6.0), (2, "H", 0.1, 1.5, 6.0), (3, "O", "H", 0.02, -1.0, 2.0, 6.0)],
    "O": [(2, "H", 0.3, 0.0, 6.0), (9, "H", "H", 0.05, 1.0, 1.0, 6.0), (2, "O", 0.05, 0.0, 6.0)],
}
GAUSSIAN = {
    "H": [
        (2, "H", 0.4, 0.3, 3.1),
        (2, "O", 0.9, 0.0, 3.1),
        (2, "C", 0.9, -0.4, 2.4),
        (12, 0.5, 0.9, 3.0),
        (13, 0.1, 0.2, -1.0, 3.0, 2.9),
        (3, "O", "C", 0.05, 1.0, 1.0, 3.0, 0.7),
    ],
    "C": [
        (9, "O", "H", 0.12, -1.0, 4.0, 3.0),
        (9, "H", "O", 0.12, 1.0, 4.0, 3.0),
        (9, "H", "H", 0.12, 1.0, 2.5, 3.0, 0.4),
        (3, "H", "H", 0.06, -1.0, 2.0, 3.0),
        (3, "H", "H", 0.06, 0.5, 2.0, 3.0),
        (3, "H", "O", 0.06, 1.7, 1.5, 2.6),
        (2, "O", 0.2, 1.0, 3.0),
        (13, 0.2, 0.0, 1.0, 2.0, 3.2),
    ],
    "O": [
        (12, 0.3, 0.0, 3.3),
        (12, 0.3, -0.5, 3.3),
        (13, 0.03, 0.4, 1.0, 1.0, 3.3),
        (9, "H", "H", 0.1, 1.0, 8.0, 3.4),
        (9, "C", "H", 0.1, 1.0, 8.0, 3.4),
        (2, "C", 0.5, 0.0, 3.4),
        (2, "H", 0.5, 0.0, 3.4),
    ],
}
COMPACT = {
    "H": [
        (20, "O", -3.0, 3.0, "p2"),
        (20, "C", 0.2, 3.1, "e"),
        (20, "H", 0.4, 2.6, "p3a"),
        (23, -1.0, 3.2, "p1"),
        (22, "O", "C", 0.0, 3.0, -120.0, 120.0, "p4"),
        (25, -2.8, 2.8, 60.0, 300.0, "p1a"),
    ],
    "C": [
        (21, "H", "O", -3.2, 3.2, 20.0, 170.0, "p2a"),
        (21, "O", "H", -3.2, 3.2, 0.0, 90.0, "p2a"),
        (21, "H", "H", 0.3, 3.4, 30.0, 150.0, "e"),
        (22, "H", "H", -3.0, 3.0, 40.0, 160.0, "p3"),
        (24, 0.1, 3.3, 10.0, 175.0, "p4a"),
        (20, "H", 0.1, 3.0, "p4"),
    ],
    "O": [
        (25, 0.2, 3.4, 0.0, 180.0, "e"),
        (24, -3.1, 3.1, 35.0, 140.0, "p3"),
        (23, 0.3, 3.0, "p2a"),
        (23, 0.3, 3.0, "p2"),
        (23, 0.1, 3.0, "p2"),
        (22, "C", "H", -2.9, 2.9, 30.0, 150.0, "p1"),
    ],
}

CHARGES = dict(widths={"H": 0.9, "O": 1.3}, hardness={"H": 0.41, "O": 0.23}, kind=4)

SAMPLES = {
    # All Gaussian functions; three shapes, one deeper than the others.
    "gaussian": Sample(
        GAUSSIAN,
        cutoff=(1, 0.3),
        limits=(-0.5, 2.0),
        hidden={"H": (3,), "C": (2, 4, 3), "O": (4, 3)},
        letters={"H": "cl", "C": "gcSl", "O": "tsl"},
        normal=(-1.3, 4.2, 2.7, 1.6),
        divide=True,
        offsets={"O": -75.1, "H": -0.45, "C": -37.8},
        function_word="symfunction",
        type_word="nnp_gen",
        units=("angstrom", "Ha"),
    ),
    # All compact functions, and an output that is not linear.
    "compact": Sample(
        COMPACT,
        cutoff=(0,),
        flags=("scale_symmetry_functions_sigma",),
        limits=(0.2, 1.5),
        hidden=(4, 2),
        letters="pet",
        units=("angstrom", "eV"),
        seed=1,
    ),
    # An atom lies exactly between two of its images, where a window that holds 180 degrees jumps.
    "compact for a cell": Sample(
        COMPACT | {"H": [*COMPACT["H"][:-1], (25, -2.8, 2.8, 60.0, 170.0, "p1a")]},
        cutoff=(0,),
        flags=("scale_symmetry_functions_sigma",),
        units=("angstrom", "eV"),
        seed=6,
    ),
    # The remaining activations.
    "activations": Sample(
        GAUSSIAN,
        cutoff=(2,),
        flags=("scale_symmetry_functions",),
        hidden={"H": (3, 2, 2), "C": (2, 2), "O": (4, 2)},
        letters={"H": "tspp", "C": "rhp", "O": "eSp"},
        units=("nm", "kcal/mol"),
        seed=2,
    ),
    "4g": Sample(
        SIMPLE,
        **CHARGES,
        cutoff=(6, 0.1),
        screening=(1.2, 5.0),
        offsets={"H": -0.5, "O": -75.0},
        seed=3,
    ),
    # Everything that normalisation touches, and units that do not go together.
    "4g normalised": Sample(
        SIMPLE,
        **CHARGES,
        cutoff=(3,),
        flags=("center_symmetry_functions",),
        hidden={"H": (2, 3), "O": (3,)},
        letters={"H": "tsl", "O": "pl"},
        chi_hidden={"H": (2, 2), "O": (3, 2)},
        chi_letters={"H": "gtl", "O": "ttl"},
        normal=(-2.1, 3.3, 1.9, 2.4),
        divide=True,
        screening=(0.7, 5.5, "p2"),
        four_pi_epsilon=0.0694461,
        offsets={"O": 0.25, "H": 0.0},
        type_word="nnp_generation",
        units=("angstrom", "eV"),
        seed=4,
    ),
    "charge only": Sample(
        SIMPLE, kind=10, cutoff=(5, 0.2), flags=(), normal=(-1.0, 2.0, 3.0, 0.5), seed=5
    ),
}


@pytest.fixture(scope="session")
def samples():
    return SAMPLES
