"""Writing a potential in the format of n2p2 and RuNNer 1."""

import dataclasses
from pathlib import Path

import numpy as np

from lrpot.charges import Equilibration
from lrpot.descriptors import ACSF, Shells
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.files import replacing
from lrpot.interop.n2p2.functions import (
    CORES,
    CUTOFF_TYPES,
    Function,
    functions_of,
    write_function,
)
from lrpot.interop.n2p2.networks import ACTIVATION_LETTERS, network_of, write_network
from lrpot.interop.n2p2.settings import ENERGIES, LENGTHS, unit
from lrpot.networks import ElementNetworks
from lrpot.potential import Potential
from lrpot.terms import Coulomb, Offsets, ShortRange

_LETTERS = {name: letter for letter, name in ACTIVATION_LETTERS.items()}


def write_potential(
    potential: Potential, folder: str | Path, *, length: str = "bohr", energy: str = "Ha"
) -> None:
    """Write `input.nn`, `scaling.data`, `weights*.data` and, for 4G, `weightse` and `hardness`.

    What is read back with the same units predicts the same to rounding. Scales and offsets of
    networks and of the charge input are folded into the weights, so no normalisation is written.

    Args:
        potential: 2G or 4G with symmetry functions, calibrated.
        folder: Made if it is not there; existing files of a potential are replaced.
        length, energy: Units of the files. RuNNer itself, and LAMMPS with its defaults for it,
            take bohr and Ha.

    Raises:
        InputError: If the format cannot hold the potential; everything in the way is listed.
    """
    export = _Export(potential, unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy"))
    if export.problems:
        listed = "\n".join(f"- {problem}" for problem in dict.fromkeys(export.problems))
        raise InputError(f"The format of n2p2 cannot hold this potential:\n{listed}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in export.files().items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text)


@dataclasses.dataclass(frozen=True)
class _Column:
    """One function of one element and the feature it belongs to."""

    function: Function
    feature: int


class _Export:
    """What is to be written, and what stands in the way."""

    def __init__(self, potential: Potential, length: float, energy: float):
        self.potential, self.length, self.energy = potential, length, energy
        self.problems: list[str] = []
        self.short = potential.terms.get("short_range")
        self.charged = isinstance(potential.charge_model, Equilibration)
        self._check_composition()
        if not self.problems:
            self.cutoff_type = self._cutoff_type()
            self.columns = self._columns()
        if not self.problems:
            self._check_networks()

    def _check_composition(self) -> None:
        potential = self.potential
        known = {"offsets": Offsets, "short_range": ShortRange, "coulomb": Coulomb}
        for name, term in potential.terms.items():
            if not isinstance(term, known.get(name, ())):
                self.problems.append(f"the energy term `{name}`")
        if not isinstance(self.short, ShortRange):
            self.problems.append("there are no short-range networks")
        if not isinstance(potential.descriptor, ACSF):
            self.problems.append("the descriptor is not a set of symmetry functions")
        elif not bool(np.isfinite(potential.descriptor.scaling.minimum).all()):
            self.problems.append("the features have not been scaled by data: train it first")
        if potential.charge_model is not None:
            self._check_charges()

    def _check_charges(self) -> None:
        potential = self.potential
        coulomb = potential.terms.get("coulomb")
        if not isinstance(potential.charge_model, Equilibration):
            self.problems.append("charges of local networks (the third generation)")
        elif potential.charge_model.radii is None:
            self.problems.append("point charges")
        elif potential.charge_model.has_local_hardness:
            self.problems.append("hardness that depends on the surroundings")
        elif potential.charge_model.exchange is not None:
            self.problems.append("electronegativities by messages")
        if not isinstance(coulomb, Coulomb) or coulomb.self_energy:
            self.problems.append("an energy without, or with the self-energy of, the Coulomb term")
        elif coulomb.screening is not None and coulomb.screening.function not in CORES.values():
            self.problems.append(f"screening of shape `{coulomb.screening.function}`")
        if isinstance(self.short, ShortRange) and self.short.charge_scaling is None:
            self.problems.append("short-range networks of a 4G potential that see no charge")
        if isinstance(self.short, ShortRange) and self.short.surroundings is not None:
            self.problems.append("short-range networks that see the charges around an atom")

    def _cutoff_type(self) -> tuple[str, float]:
        descriptor = self.potential.descriptor
        assert isinstance(descriptor, ACSF)
        shells = [part.shells for part in descriptor.parts]
        kinds = {(one.function, one.inner) for one in shells if isinstance(one, Shells)}
        if len(kinds) > 1:
            self.problems.append(f"more than one cutoff function: {sorted(kinds)}")
        return min(kinds, default=("cos", 0.0))

    def _columns(self) -> dict[int, list[_Column]]:
        descriptor = self.potential.descriptor
        assert isinstance(descriptor, ACSF)
        joined: list[Function] = []
        for part in descriptor.parts:
            functions, problems = functions_of(part, self.length)
            joined += functions
            self.problems += problems
        columns: dict[int, list[_Column]] = {}
        for row, element in enumerate(self.potential.elements):
            chosen = range(len(joined)) if descriptor.columns is None else descriptor.columns[row]
            factors = np.asarray(descriptor.scaling.factor[row])
            found = [
                _Column(joined[place], feature)
                for feature, place in enumerate(chosen)
                # A feature that was constant in the data has the factor 0 and tells nothing.
                if place >= 0 and factors[feature] != 0
            ]
            columns[element] = sorted(found, key=lambda one: one.function.order)
        return columns

    def _check_networks(self) -> None:
        assert isinstance(self.short, ShortRange)
        networks = [self.short.networks]
        if isinstance(self.potential.charge_model, Equilibration):
            networks.append(self.potential.charge_model.networks)
        for one in networks:
            for element in self.potential.elements:
                weights, _, names = network_of(one, element)
                for name in names:
                    if name not in _LETTERS:
                        self.problems.append(
                            f"the activation `{name}`; the format has {', '.join(_LETTERS)}"
                        )
                if names[-1] != "linear":
                    self.problems.append("a last layer that is not linear")
                if len(weights) < 2:
                    self.problems.append("a network without hidden layers")
            if len({network_of(one, element)[0][-1].shape for element in one.elements}) > 1:
                self.problems.append("last hidden layers of different size")

    def files(self) -> dict[str, str]:
        """Contents by file name."""
        assert isinstance(self.short, ShortRange)
        files = {"input.nn": self._input(), "scaling.data": self._scaling()}
        model = self.potential.charge_model
        for row, element in enumerate(self.potential.elements):
            scale = float(self.short.scale) / self.energy
            files[f"weights.{element:03d}.data"] = self._network(
                self.short.networks, row, element, scale, self.short
            )
            if isinstance(model, Equilibration):
                files[f"weightse.{element:03d}.data"] = self._network(
                    model.networks, row, element, float(model.scales[row]) / self.energy, None
                )
                hardness = float(model.hardness_root[row]) ** 2 / self.energy
                files[f"hardness.{element:03d}.data"] = f"{hardness:.17g}\n"
        return files

    def _network(
        self,
        networks: ElementNetworks,
        row: int,
        element: int,
        scale: float,
        short: ShortRange | None,
    ) -> str:
        weights, biases, _ = network_of(networks, element)
        features = [column.feature for column in self.columns[element]]
        if short is not None and short.charge_scaling is not None:
            charge = weights[0][-1]
            factor = float(short.charge_scaling.factor[row, 0])
            offset = float(short.charge_scaling.offset[row, 0])
            biases[0] = biases[0] - offset * factor * charge
            weights[0] = np.concatenate([weights[0][features], factor * charge[None]])
        else:
            weights[0] = weights[0][features]
        weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale
        return write_network(weights, biases)

    def _scaling(self) -> str:
        descriptor = self.potential.descriptor
        assert isinstance(descriptor, ACSF)
        scaling = descriptor.scaling
        lines = ["# element, function, minimum, maximum, mean, sigma\n"]
        for row, element in enumerate(self.potential.elements):
            for number, column in enumerate(self.columns[element], start=1):
                at = (row, column.feature)
                values = (
                    float(scaling.minimum[at]),
                    float(scaling.maximum[at]),
                    float(scaling.offset[at]),
                    1 / float(scaling.factor[at]),
                )
                lines.append(
                    f"{row + 1:4d} {number:5d} " + " ".join(f"{v:24.16E}" for v in values) + "\n"
                )
        return "".join(lines)

    def _input(self) -> str:
        potential = self.potential
        symbols = [SYMBOLS[number] for number in potential.elements]
        name, inner = self.cutoff_type
        lines = [
            "# Written by lrpot",
            f"nnp_type {4 if self.charged else 2}",
            f"number_of_elements {len(symbols)}",
            f"elements {' '.join(symbols)}",
        ]
        offsets = potential.terms.get("offsets")
        if isinstance(offsets, Offsets):
            energies = np.asarray(offsets.energies, float) / self.energy
            lines += [
                f"atom_energy {symbol} {value:.17g}"
                for symbol, value in zip(symbols, energies, strict=True)
            ]
        lines.append(f"cutoff_type {CUTOFF_TYPES.index(name)} {inner:.17g}")
        lines.append("scale_symmetry_functions_sigma")
        assert isinstance(self.short, ShortRange)
        lines += self._shape(self.short.networks, "short")
        if isinstance(potential.charge_model, Equilibration):
            lines += self._electrostatics(potential.charge_model, symbols)
        for element in potential.elements:
            lines += [write_function(element, one.function) for one in self.columns[element]]
        return "\n".join(lines) + "\n"

    def _electrostatics(self, model: Equilibration, symbols: list[str]) -> list[str]:
        lines = self._shape(model.networks, "electrostatic")
        assert model.radii is not None
        widths = np.asarray(model.radii, float) / self.length
        lines += [
            f"fixed_gausswidth {symbol} {width:.17g}"
            for symbol, width in zip(symbols, widths, strict=True)
        ]
        screening = getattr(self.potential.terms["coulomb"], "screening", None)
        if screening is not None:
            short = {name: letter for letter, name in CORES.items()}[screening.function]
            radii = f"{screening.inner / self.length:.17g} {screening.outer / self.length:.17g}"
            lines.append(f"screen_electrostatics {radii} {short}")
        epsilon = self.energy * self.length / model.coulomb.constant
        # n2p2 needs `ewald_prec` even without a cell.
        return [
            *lines,
            f"four_pi_epsilon {epsilon:.17g}",
            "ewald_truncation_error_method 0",
            "ewald_prec 1.0e-10",
        ]

    def _shape(self, networks: ElementNetworks, name: str) -> list[str]:
        """Global shape from the first element, and overrides for those that differ."""
        shapes = {}
        for element in networks.elements:
            _, biases, names = network_of(networks, element)
            hidden = [str(len(bias)) for bias in biases[:-1]]
            shapes[element] = hidden, [_LETTERS[one] for one in names]
        hidden, letters = shapes[networks.elements[0]]
        lines = [
            f"global_hidden_layers_{name} {len(hidden)}",
            f"global_nodes_{name} {' '.join(hidden)}",
            f"global_activation_{name} {' '.join(letters)}",
        ]
        for element, (nodes, names) in shapes.items():
            symbol = SYMBOLS[element]
            if len(nodes) != len(hidden):
                lines.append(f"element_hidden_layers_{name} {symbol} {len(nodes)}")
            if nodes != hidden:
                lines.append(f"element_nodes_{name} {symbol} {' '.join(nodes)}")
            if names != letters:
                lines.append(f"element_activation_{name} {symbol} {' '.join(names)}")
        return lines
