"""Reading a potential of RuNNer 1 or n2p2, and making a new one of its form."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from lrpot.charges import Equilibration, LocalCharges
from lrpot.descriptors import ACSF, Scaling, identity_scaling
from lrpot.electrostatics import CoulombMap, CoulombSum, Screening
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.interop.n2p2.ewald import truncated_sum
from lrpot.interop.n2p2.functions import CORES, CUTOFF_TYPES, build_parts, read_functions
from lrpot.interop.n2p2.networks import read_networks, read_shapes
from lrpot.interop.n2p2.settings import (
    ENERGIES,
    LENGTHS,
    Line,
    Settings,
    parse_float,
    read_text,
    unit,
)
from lrpot.models import hdnnp_2g, hdnnp_4g
from lrpot.potential import Potential
from lrpot.system import System
from lrpot.terms import Coulomb, Offsets, ShortRange

TYPES = {"2": 2, "2G-HDNNP": 2, "4": 4, "4G-HDNNP": 4, "10": 10, "Q-HDNNP": 10}
"""Values of `nnp_type`."""

SCALING_FLAGS = (
    "scale_symmetry_functions",
    "center_symmetry_functions",
    "scale_symmetry_functions_sigma",
)


def read_potential(
    folder: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
    accuracy: float = 1e-9,
    truncate_ewald_for: System | None = None,
) -> Potential:
    """A potential from `input.nn`, `scaling.data`, `weights*.data` and `hardness.*.data`.

    The files carry no units: say which they are in. 2G, 4G and charge-only (type 10) potentials
    of RuNNer 1 and n2p2 are understood, with everything that their networks, symmetry functions,
    scalings and electrostatics can be. The result is a potential like any other.

    Where n2p2 itself is at fault this is right: forces include an atom's own images in angular
    functions, screening counts an image of the atom itself once, Ewald sums are converged to
    `accuracy` whatever `ewald_prec` says, and charged cells have their background.

    Args:
        folder: With the files.
        length: Unit of length of the files: `bohr`, `angstrom` or `nm`.
        energy: Unit of energy of the files: `Ha`, `eV`, `Ry` or `kcal/mol`.
        accuracy: Relative force error of Ewald sums; a tenth of it, in eV/e, is the tolerance of
            charges that are found iteratively. `Potential.with_solver(tolerance=1e-5)`, as in
            potentials of our own, is faster.
        truncate_ewald_for: Reproduce the truncated Ewald sum that n2p2 does, by `ewald_prec`,
            for this system, and for no other: the cutoffs depend on volume and number of atoms.

    Raises:
        InputError: If anything is missing, contradictory or unknown; file and line are named.
    """
    folder = Path(folder)
    sizes = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    return _Reader(folder / "input.nn", *sizes, accuracy, truncate_ewald_for).potential()


def new_potential(
    path: str | Path,
    *,
    length: str = "bohr",
    energy: str = "Ha",
    accuracy: float = 1e-6,
    nnp_type: Literal[2, 4] | None = None,
    key: PRNGKeyArray,
) -> Potential:
    """An untrained potential of the form that an `input.nn` describes.

    It has the symmetry functions, networks, Gaussian widths and screening of the file. Weights are
    random; energies of free atoms, scalings and hardness are found by `lrpot.fit` from the data,
    whatever the file says of them and of the training.

    Args:
        path: Of the file; there need be no others.
        length, energy: Units of the file, as in `read_potential`.
        accuracy: Relative force error of Ewald sums.
        nnp_type: In place of that of the file: 2 for its second generation, 4 for its fourth.
        key: Random key of the first weights.

    Raises:
        InputError: As `read_potential`; or if networks are not the same for all elements, or have
            different activations in their hidden layers, or any but a linear output.
    """
    sizes = unit(length, LENGTHS, "length"), unit(energy, ENERGIES, "energy")
    return _Reader(Path(path), *sizes, accuracy, None).untrained(nnp_type, key)


class _Reader:
    """The files of one potential."""

    def __init__(
        self,
        path: Path,
        length: float,
        energy: float,
        accuracy: float,
        truncate_for: System | None,
    ):
        self.folder = folder = path.parent
        self.length, self.energy = length, energy
        self.accuracy, self.truncate_for = accuracy, truncate_for
        if next(folder.glob("weights_short.*"), None) is not None:
            raise InputError(
                f"{folder} holds files of RuNNer 2 (weights_short.*), which are another format. "
                "Only potentials of RuNNer 1 and n2p2 can be read."
            )
        self.settings = Settings(path)
        self.elements = self._elements()
        self.kind = self._kind()

    def potential(self) -> Potential:
        settings, elements = self.settings, self.elements
        functions = read_functions(settings, elements)
        n_inputs = {element: len(found) for element, found in functions.items()}
        parts, columns = build_parts(functions, elements, self._cutoff_type(), self.length)
        descriptor = ACSF(parts, self._scaling(n_inputs), columns)
        divide = "normalize_nodes" in settings
        shared: dict[str, Any] = dict(n_inputs=n_inputs, width=descriptor.n_features, divide=divide)
        charge_model = None
        if self.kind != 2:
            shapes = read_shapes(settings, elements, "electrostatic")
            networks = read_networks(self.folder, "weightse", shapes, **shared)
            if self.kind == 4:
                charge_model = Equilibration(
                    networks,
                    self._hardness_root(),
                    self._widths(),
                    self._coulomb(descriptor.cutoff),
                    scale=self.energy,
                    # A truncated sum need not be positive definite as conjugate gradients ask for.
                    solver="dense" if self.truncate_for is not None else "auto",
                    tolerance=0.1 * self.accuracy,
                )
            else:
                coulomb = CoulombSum(descriptor.cutoff, self.accuracy, self._constant())
                charge_model = LocalCharges(networks, None, coulomb, "none")
        terms = self._terms(shared, charged=charge_model is not None)
        return Potential(elements, descriptor, charge_model, terms, f"n2p2 type {self.kind}")

    def untrained(self, nnp_type: int | None, key: PRNGKeyArray) -> Potential:
        kind = self.kind if nnp_type is None else nnp_type
        if kind not in (2, 4):
            raise InputError(
                f"{self.settings.path} is of type {kind}; potentials of types 2 and 4 can be made."
            )
        functions = read_functions(self.settings, self.elements)
        parts, columns = build_parts(functions, self.elements, self._cutoff_type(), self.length)
        scaling = identity_scaling(self.elements, max(map(len, functions.values())))
        common: dict[str, Any] = dict(descriptor=ACSF(parts, scaling, columns), key=key)
        common["hidden"], common["activation"] = self._shape("short")
        if kind == 2:
            return hdnnp_2g(self.elements, **common)
        if self._shape("electrostatic") != (common["hidden"], common["activation"]):
            raise InputError(
                f"{self.settings.path}: the networks of electronegativities differ in shape from "
                "those of energies. Make them alike."
            )
        widths = zip(self.elements, np.asarray(self._widths()), strict=True)
        potential = hdnnp_4g(
            self.elements,
            widths={SYMBOLS[element]: float(width) for element, width in widths},
            accuracy=self.accuracy,
            **common,
        )
        coulomb = CoulombSum(potential.descriptor.cutoff, self.accuracy, self._constant())
        return dataclasses.replace(
            potential,
            charge_model=eqx.tree_at(lambda one: one.coulomb, potential.charge_model, coulomb),
            terms={**potential.terms, "coulomb": Coulomb(self._screening())},
        )

    def _shape(self, network: str) -> tuple[tuple[int, ...], str]:
        """Hidden layers and their activation, the same for all elements."""
        shapes = set(read_shapes(self.settings, self.elements, network).values())
        activations = {name for one in shapes for name in one.activations[:-1]}
        last = {one.activations[-1] for one in shapes}
        if len({one.hidden for one in shapes}) > 1 or len(activations) > 1 or last != {"linear"}:
            raise InputError(
                f"{self.settings.path}: a new potential has networks of one shape for all "
                "elements, one activation for all hidden layers and a linear output (l)."
            )
        return next(iter(shapes)).hidden, activations.pop()

    def _elements(self) -> tuple[int, ...]:
        line = self.settings.one("elements")
        found = [line.element_at(position) for position in range(len(line.arguments))]
        if len(set(found)) < len(found):
            line.fail("an element is named twice.")
        count = self.settings.one("number_of_elements").integer_at(0)
        if count != len(found):
            line.fail(f"{len(found)} elements are named, but `number_of_elements` is {count}.")
        return tuple(sorted(found))

    def _kind(self) -> int:
        if "nnp_type" not in self.settings:
            return 2
        line = self.settings.one("nnp_type")
        if line.argument(0) not in TYPES:
            line.fail(
                f"unknown type {line.argument(0)!r}; known are {', '.join(TYPES)}. Potentials of "
                "the third generation are not of this format."
            )
        return TYPES[line.argument(0)]

    def _cutoff_type(self) -> tuple[str, float]:
        line = self.settings.one("cutoff_type")
        number = line.integer_at(0)
        inner = line.number_at(1) if len(line.arguments) > 1 else 0.0
        if not 0 <= number < len(CUTOFF_TYPES):
            line.fail(f"unknown cutoff type {number}; known are 0 to {len(CUTOFF_TYPES) - 1}.")
        if not 0 <= inner < 1:
            line.fail(f"the inner radius is a fraction in [0, 1), got {inner}.")
        return CUTOFF_TYPES[number], inner

    def _scaling(self, n_inputs: dict[int, int]) -> Scaling:
        settings, path = self.settings, self.folder / "scaling.data"
        low, high = settings.number("scale_min_short", 0.0), settings.number("scale_max_short", 1.0)
        scale, center, sigma = (flag in settings for flag in SCALING_FLAGS)
        rows = _scaling_rows(path, n_inputs, sigma and not (scale or center))
        width = max(n_inputs.values())
        shape = (len(self.elements), width)
        arrays = dict(
            offset=np.zeros(shape),
            factor=np.zeros(shape),
            minimum=np.zeros(shape),
            maximum=np.zeros(shape),
        )
        for row, element in enumerate(self.elements):
            for column, (line, least, most, mean, spread) in enumerate(rows[element]):
                span, origin, floor = 1.0, 0.0, 0.0
                if scale:
                    span, floor = (most - least) / (high - low), low
                    origin = mean if center else least
                elif center:
                    origin = mean
                elif sigma:
                    span, origin, floor = spread / (high - low), mean, low
                if not span > 0:
                    line.fail(
                        "the function is constant in the training data (or its limits are "
                        "exchanged) and cannot be scaled."
                    )
                arrays["offset"][row, column] = origin - floor * span
                arrays["factor"][row, column] = 1 / span
                arrays["minimum"][row, column] = least
                arrays["maximum"][row, column] = most
        return Scaling(
            self.elements, **{name: jnp.asarray(array) for name, array in arrays.items()}
        )

    def _constant(self) -> float:
        return self.energy * self.length / self._positive("four_pi_epsilon", 1.0)

    def _positive(self, keyword: str, default: float) -> float:
        value = self.settings.number(keyword, default)
        if value <= 0:
            self.settings.one(keyword).fail(f"`{keyword}` must be positive, got {value}.")
        return value

    def _coulomb(self, reach: float) -> CoulombMap:
        constant = self._constant()
        if self.truncate_for is None:
            return CoulombSum(reach, self.accuracy, constant)
        widest = max(self._by_element("fixed_gausswidth").values())
        screening = self._screening()
        reach = reach if screening is None else max(reach, screening.outer)
        return truncated_sum(self.settings, self.truncate_for, self.length, widest, reach, constant)

    def _hardness_root(self) -> jnp.ndarray:
        roots = []
        for element in self.elements:
            path = self.folder / f"hardness.{element:03d}.data"
            words = read_text(path).split()
            value = parse_float(words[0] if words else "", Line(path, 1, tuple(words)))
            if value < 0:
                raise InputError(f"{path}: the hardness is negative ({value}).")
            roots.append(np.sqrt(value * self.energy))
        return jnp.asarray(roots)

    def _widths(self) -> jnp.ndarray:
        widths = self._by_element("fixed_gausswidth")
        if min(widths.values()) <= 0:
            self.settings.one("fixed_gausswidth").fail("Gaussian widths must be positive.")
        return jnp.asarray([widths[element] * self.length for element in self.elements])

    def _by_element(self, keyword: str) -> dict[int, float]:
        values = self.settings.by_element(keyword, self.elements)
        missing = [SYMBOLS[one] for one in self.elements if one not in values]
        if missing:
            raise InputError(f"{self.settings.path}: `{keyword}` is missing for {missing[0]}.")
        return values

    def _screening(self) -> Screening | None:
        if "screen_electrostatics" not in self.settings:
            return None
        line = self.settings.one("screen_electrostatics")
        inner, outer = line.number_at(0), line.number_at(1)
        shape = line.arguments[2] if len(line.arguments) > 2 else "c"
        if shape not in CORES:
            line.fail(f"unknown screening function {shape!r}; known are {', '.join(CORES)}.")
        if not 0 <= inner < outer:
            line.fail(f"needs 0 <= inner < outer, got {inner} and {outer}.")
        return Screening(inner * self.length, outer * self.length, CORES[shape])

    def _terms(self, shared: dict, *, charged: bool) -> dict:
        settings, elements = self.settings, self.elements
        normal = [key for key in ("mean_energy", "conv_energy", "conv_length") if key in settings]
        if 0 < len(normal) < 3:
            settings.one(normal[0]).fail(
                "`mean_energy`, `conv_energy` and `conv_length` stand together or not at all."
            )
        mean = settings.number("mean_energy", 0.0)
        given = settings.by_element("atom_energy", elements)
        offsets = [self.energy * (given.get(element, 0.0) + mean) for element in elements]
        shapes = read_shapes(settings, elements, "short")
        networks = read_networks(self.folder, "weights", shapes, extra=charged, **shared)
        charge_scaling = None
        if charged:
            factor = settings.number("conv_charge", 1.0) if normal else 1.0
            full = lambda value: jnp.full((len(elements), 1), value)  # noqa: E731
            charge_scaling = Scaling(
                elements, full(0.0), full(factor), full(-jnp.inf), full(jnp.inf)
            )
        scale = jnp.asarray(self.energy / self._positive("conv_energy", 1.0))
        terms: dict = {
            "offsets": Offsets(elements, jnp.asarray(offsets)),
            "short_range": ShortRange(networks, scale, charge_scaling),
        }
        if self.kind == 4:
            terms["coulomb"] = Coulomb(self._screening())
        return terms


def _scaling_rows(
    path: Path, n_inputs: dict[int, int], needs_sigma: bool
) -> dict[int, list[tuple[Line, float, float, float, float]]]:
    """Minimum, maximum, mean and sigma of each function, and where they stand."""
    lines = []
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        words = text.split("#")[0].split()
        if words:
            lines.append(Line(path, number, tuple(words)))
    if len(lines) < sum(n_inputs.values()):
        raise InputError(
            f"{path} holds {len(lines)} lines of statistics, but input.nn has "
            f"{sum(n_inputs.values())} symmetry functions."
        )
    rows: dict[int, list[tuple[Line, float, float, float, float]]] = {}
    at = 0
    for row, (element, count) in enumerate(n_inputs.items(), start=1):
        rows[element] = []
        for column in range(1, count + 1):
            line = lines[at]
            at += 1
            if (line.integer_at(0), line.integer_at(1)) != (row, column):
                line.fail(
                    f"expected function {column} of element {row} ({SYMBOLS[element]}), got "
                    f"{line.arguments[0]} {line.arguments[1]}. The statistics do not fit input.nn."
                )
            least, most, mean = (line.number_at(position) for position in (2, 3, 4))
            if needs_sigma and len(line.arguments) < 6:
                line.fail("scaling by sigma needs a sixth column.")
            spread = line.number_at(5) if len(line.arguments) > 5 else 0.0
            if not least <= most:
                line.fail(f"the minimum {least} is above the maximum {most}.")
            rows[element].append((line, least, most, mean, spread))
    if at < len(lines) and _is_statistics(lines[at:]):
        lines[at].fail("there are more statistics than input.nn has symmetry functions.")
    return rows


def _is_statistics(lines: Sequence[Line]) -> bool:
    """RuNNer ends the file with two numbers, the range of energies; anything longer is a row."""
    return any(len(line.arguments) > 2 for line in lines)
