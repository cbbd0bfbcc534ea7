"""Reading a potential of RuNNer 1 or n2p2, and making a new one of its form."""

import dataclasses
import warnings
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
from lrpot.errors import InputError, InputWarning
from lrpot.interop.n2p2.ewald import truncated_sum
from lrpot.interop.n2p2.functions import (
    CORES,
    CUTOFF_TYPES,
    Function,
    build_parts,
    read_functions,
    write_function,
)
from lrpot.interop.n2p2.networks import read_networks, read_shapes
from lrpot.interop.n2p2.plausible import about_potential
from lrpot.interop.n2p2.scaling import read_scaling
from lrpot.interop.n2p2.settings import (
    ENERGIES,
    LENGTHS,
    Line,
    Settings,
    parse_float,
    read_lines,
    unit,
)
from lrpot.models import hdnnp_2g, hdnnp_4g
from lrpot.potential import Potential
from lrpot.system import System
from lrpot.terms import Coulomb, Offsets, ShortRange

TYPES = {"2": 2, "2G-HDNNP": 2, "4": 4, "4G-HDNNP": 4, "10": 10, "Q-HDNNP": 10}
"""Values of `nnp_type`."""


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

    Warns:
        InputWarning: If cutoffs, Gaussian widths or energies of free atoms look like those of other
            units, or a keyword looks like a misspelt one.

    Raises:
        InputError: If anything is missing, contradictory or unknown; file and line are named.
    """
    folder = Path(folder)
    return _Reader(folder / "input.nn", length, energy, accuracy, truncate_ewald_for).potential()


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
    return _Reader(Path(path), length, energy, accuracy, None).untrained(nnp_type, key)


def unknown_keywords(path: str | Path) -> tuple[str, ...]:
    """Keywords of an `input.nn` that are neither used nor known to be without effect."""
    return Settings(Path(path)).unknown


class _Reader:
    """The files of one potential."""

    def __init__(
        self,
        path: Path,
        length: str,
        energy: str,
        accuracy: float,
        truncate_for: System | None,
    ):
        self.folder = folder = path.parent
        self.units = length, energy
        self.length = unit(length, LENGTHS, "length")
        self.energy = unit(energy, ENERGIES, "energy")
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
        self._warn(functions)
        n_inputs = {element: len(found) for element, found in functions.items()}
        parts, columns = build_parts(functions, elements, self._cutoff_type(), self.length)
        scaling = read_scaling(self.folder / "scaling.data", settings, n_inputs)
        descriptor = ACSF(parts, scaling, columns)
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
        self._warn(functions)
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

    def _warn(self, functions: dict[int, list[Function]]) -> None:
        """Tell what the files probably mean but do not say."""
        settings, elements = self.settings, self.elements
        told = settings.doubts(charged=self.kind != 2)
        given = settings.by_element("atom_energy", elements)
        missing = [SYMBOLS[one] for one in elements if given and one not in given]
        if missing:
            told.append(f"`atom_energy` is missing for {', '.join(missing)} and taken as 0.")
        for element, found in functions.items():
            twice = [one for at, one in enumerate(found[1:]) if found[at] == one]
            if twice:
                line = write_function(element, twice[0])
                told.append(f"{len(twice)} symmetry functions stand there twice, such as `{line}`.")
        told += about_potential(
            *self.units,
            cutoff=max(one.cutoff for found in functions.values() for one in found),
            widths=settings.by_element("fixed_gausswidth", elements) if self.kind == 4 else {},
            atom_energies=given,
        )
        for one in told:
            warnings.warn(f"{settings.path}: {one}", InputWarning, stacklevel=4)

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
        count = self.settings.one("number_of_elements").at_most(1).integer_at(0)
        if count != len(found):
            line.fail(f"{len(found)} elements are named, but `number_of_elements` is {count}.")
        return tuple(sorted(found))

    def _kind(self) -> int:
        if "nnp_type" not in self.settings:
            return 2
        line = self.settings.one("nnp_type").at_most(1)
        if line.argument(0) not in TYPES:
            line.fail(
                f"unknown type {line.argument(0)!r}; known are {', '.join(TYPES)}. Potentials of "
                "the third generation are not of this format."
            )
        return TYPES[line.argument(0)]

    def _cutoff_type(self) -> tuple[str, float]:
        line = self.settings.one("cutoff_type").at_most(2)
        number = line.integer_at(0)
        inner = line.number_at(1) if len(line.arguments) > 1 else 0.0
        if not 0 <= number < len(CUTOFF_TYPES):
            line.fail(f"unknown cutoff type {number}; known are 0 to {len(CUTOFF_TYPES) - 1}.")
        if not 0 <= inner < 1:
            line.fail(f"the inner radius is a fraction in [0, 1), got {inner}.")
        return CUTOFF_TYPES[number], inner

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
            lines = [(number, text.split("#")[0].split()) for number, text in read_lines(path)]
            words = [(number, word) for number, found in lines for word in found]
            if len(words) != 1:
                raise InputError(
                    f"{path} must hold one number, the hardness, and holds {len(words)} words."
                )
            value = parse_float(words[0][1], Line(path, words[0][0], ()))
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
        line = self.settings.one("screen_electrostatics").at_most(3)
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
