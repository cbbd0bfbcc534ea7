"""Whether the parts of a potential fit together: types of settings, and shapes of arrays.

Arrays that do not fit are often broadcast, and the energy is silently another one. Recipes make
potentials that fit; a file may say anything. Only types and shapes are looked at, so that a
potential of tracers will do.
"""

import math
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

from lrpot.charges import Equilibration, LocalCharges
from lrpot.committee import QUANTITIES, Committee
from lrpot.descriptors import ACSF, Angular, Channels, Radial, Scaling
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.messages import Exchange
from lrpot.networks import ElementNetworks
from lrpot.potential import Potential
from lrpot.terms import Messages, Offsets, ShortRange, SiteEnergy

LARGEST = 2**31
"""Whole numbers and cutoffs are smaller: more cannot be computed with."""


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field is annotated with; numbers are finite."""
    kind, options = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in options)
    if kind is Literal:
        return value in options
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        if options[-1] is ...:
            options = (options[0],) * len(value)
        return len(options) == len(value) and all(map(fits, value, options))
    if kind is dict:
        return isinstance(value, dict) and all(
            fits(key, options[0]) and fits(one, options[1]) for key, one in value.items()
        )
    if hint is float:
        return _is_number(value, int | float) and math.isfinite(value)
    if hint is int:
        return _is_number(value, int)
    return value is None if hint is types.NoneType else isinstance(value, hint)


def _is_number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < LARGEST


def check_layout(potential: Potential | Committee) -> None:
    """Raise `InputError` unless all arrays have the shapes that the others ask for."""
    if isinstance(potential, Potential):
        _check_potential(potential, "")
        return
    for number, member in enumerate(potential.members):
        _check_potential(member, f"members.{number}.")
    _require(
        set(potential.factors) == set(QUANTITIES),
        f"the uncertainty factors are of {sorted(potential.factors)}, not of {sorted(QUANTITIES)}",
    )
    for name, factor in potential.factors.items():
        _shape(f"factors.{name}", factor, ())


def _check_potential(potential: Potential, path: str) -> None:
    elements, descriptor = potential.elements, potential.descriptor
    _check_elements(elements, f"{path}elements")
    _require(isinstance(descriptor, ACSF), f"`{path}descriptor` is no set of symmetry functions")
    assert isinstance(descriptor, ACSF)
    _check_descriptor(descriptor, elements, f"{path}descriptor")
    n_features, model = descriptor.n_features, potential.charge_model
    if model is not None:
        _check_charges(model, elements, n_features, f"{path}charge_model")
    for name, term in potential.terms.items():
        where = f"{path}terms.{name}"
        if isinstance(term, ShortRange | Messages):
            _shape(f"{where}.scale", term.scale, ())
            _require(
                term.charge_scaling is None or model is not None,
                f"`{where}` sees charges, but there is no charge model",
            )
        if isinstance(term, ShortRange):
            _check_short_range(term, elements, n_features, where)
        elif isinstance(term, Messages):
            _check_exchange(term.exchange, elements, f"{where}.exchange")
            if term.charge_scaling is not None:
                _check_scaling(term.charge_scaling, elements, 1, f"{where}.charge_scaling")
            _check_networks(
                term.readout, elements, (term.exchange.n_features, 1), f"{where}.readout"
            )
        elif isinstance(term, Offsets):
            _check_rows(term.elements, elements, where)
            _shape(f"{where}.energies", term.energies, (len(term.elements),))
        elif isinstance(term, SiteEnergy):
            _require(isinstance(model, Equilibration), f"`{where}` needs equilibrated charges")


def _check_descriptor(descriptor: ACSF, elements: tuple[int, ...], path: str) -> None:
    _require(len(descriptor.parts) > 0, f"`{path}` has no functions")
    for number, part in enumerate(descriptor.parts):
        _check_part(part, f"{path}.parts.{number}")
    n_values = len(descriptor.labels)
    for row in descriptor.columns or ():
        _require(
            all(-1 <= one < n_values for one in row),
            f"`{path}.columns` names functions beyond the {n_values} that there are",
        )
    _check_scaling(descriptor.scaling, elements, descriptor.n_features, f"{path}.scaling")


def _check_part(part: Radial | Angular, path: str) -> None:
    channels: Channels = part.channels
    if channels.elements:
        _check_elements(channels.elements, f"{path}.channels.elements")


def _check_charges(model: Any, elements: tuple[int, ...], n_features: int, path: str) -> None:
    n_outputs, n_inputs = (1,), n_features
    if isinstance(model, Equilibration):
        n_outputs = (1, 2)
        if model.exchange is not None:
            _check_exchange(model.exchange, elements, f"{path}.exchange")
            n_inputs += model.exchange.n_features
        rows = (len(model.networks.elements),)
        _shape(f"{path}.hardness_root", model.hardness_root, rows)
        if model.scale is not None:
            _shape(f"{path}.scale", model.scale, (), rows)
    else:
        _require(isinstance(model, LocalCharges), f"`{path}` is no charge model")
        n_outputs = (2 if model.neutralisation == "weighted" else 1,)
    _check_networks(model.networks, elements, (n_inputs, *n_outputs), f"{path}.networks")
    if model.radii is not None:
        _shape(f"{path}.radii", model.radii, (len(model.networks.elements),))


def _check_short_range(
    term: ShortRange, elements: tuple[int, ...], n_features: int, path: str
) -> None:
    n_inputs = n_features
    if term.charge_scaling is not None:
        n_seen = 1 + (0 if term.surroundings is None else term.surroundings.n_features)
        _check_scaling(term.charge_scaling, elements, n_seen, f"{path}.charge_scaling")
        n_inputs += n_seen
    _check_networks(term.networks, elements, (n_inputs, 1), f"{path}.networks")


def _check_networks(
    networks: ElementNetworks, elements: tuple[int, ...], sizes: tuple[int, ...], path: str
) -> None:
    """Layers after each other.

    Args:
        networks: To be checked.
        elements: Of the potential.
        sizes: Number of inputs, and allowed numbers of outputs.
        path: Of the networks.
    """
    _check_rows(networks.elements, elements, path)
    n_rows, (width, *n_outputs) = len(networks.elements), sizes
    _require(len(networks.weights) > 0, f"`{path}` has no layers")
    for layer, (weights, biases) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        n_out = biases.shape[-1]
        _shape(f"{path}.weights.{layer}", weights, (n_rows, width, n_out))
        _shape(f"{path}.biases.{layer}", biases, (n_rows, n_out))
        names = networks.activations[layer]
        _require(
            isinstance(names, str) or len(names) == n_rows,
            f"`{path}.activations.{layer}` has {len(names)} names for {n_rows} elements",
        )
        width = n_out
    _require(
        width in n_outputs,
        f"`{path}` has {width} outputs instead of {' or '.join(map(str, n_outputs))}",
    )


def _check_exchange(exchange: Exchange, elements: tuple[int, ...], path: str) -> None:
    channels, n_functions = exchange.gates[1].shape[-1] // 3, exchange.radial[0].shape[0]
    _require(exchange.cutoff > 0, f"`{path}.cutoff` is {exchange.cutoff}")
    _require(
        len(exchange.radial) == len(exchange.mixed) + 1 > 1,
        f"`{path}` has {len(exchange.mixed)} layers and {len(exchange.radial)} radial weights",
    )
    _check_networks(exchange.identity, elements, (1, channels), f"{path}.identity")
    for number, one in enumerate(exchange.radial):
        _shape(f"{path}.radial.{number}", one, (n_functions, 3, channels))
    inner, outer = exchange.gates
    _shape(f"{path}.gates.0", inner, (4 * channels, inner.shape[-1]))
    _shape(f"{path}.gates.1", outer, (inner.shape[-1], 3 * channels))
    for layer, pair in enumerate(exchange.mixed):
        _require(len(pair) == 2, f"`{path}.mixed.{layer}` has {len(pair)} arrays instead of 2")
        for number, one in enumerate(pair):
            _shape(f"{path}.mixed.{layer}.{number}", one, (3, channels, channels))


def _check_scaling(scaling: Scaling, elements: tuple[int, ...], n_features: int, path: str) -> None:
    _check_rows(scaling.elements, elements, path)
    for name in ("offset", "factor", "minimum", "maximum"):
        wanted = (len(scaling.elements), n_features)
        _shape(f"{path}.{name}", getattr(scaling, name), wanted)


def _check_rows(rows: tuple[int, ...], elements: tuple[int, ...], path: str) -> None:
    """Every element of the potential has a row."""
    _check_elements(rows, f"{path}.elements")
    missing = set(elements) - set(rows)
    _require(not missing, f"`{path}.elements` lacks {sorted(missing)} of the potential")


def _check_elements(elements: Iterable[int], path: str) -> None:
    numbers = list(elements)
    _require(
        0 < len(numbers) == len(set(numbers)) and all(0 < one < len(SYMBOLS) for one in numbers),
        f"`{path}` are no elements: {numbers}",
    )


def _shape(path: str, array: Any, *wanted: tuple[int, ...]) -> None:
    _require(
        array.shape in wanted,
        f"`{path}` has the shape {array.shape} instead of {' or '.join(map(str, wanted))}",
    )


def _require(right: bool, problem: str) -> None:
    if not right:
        raise InputError(problem)
