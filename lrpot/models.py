"""Recipes: published kinds of potential, each a few lines of composition."""

import warnings
from collections.abc import Mapping
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from lrpot.charges import ChargeSurroundings, Equilibration, LocalCharges
from lrpot.charges.local import Neutralisation
from lrpot.config import Limits, NotNegative, Positive, checked
from lrpot.descriptors import ACSF, Shells, default_acsf, identity_scaling
from lrpot.descriptors.defaults import FIRST_SHELL, Reach
from lrpot.electrostatics import CoulombSum, Screening
from lrpot.elements import COVALENT_RADII, SYMBOLS, element_numbers
from lrpot.errors import InputError, InputWarning, suggestion
from lrpot.messages import Exchange, exchange
from lrpot.networks import element_networks
from lrpot.potential import Potential, Recipe
from lrpot.terms import Coulomb, Messages, Offsets, ShortRange, SiteEnergy

Elements = tuple[int | str, ...]
Widths = Literal["covalent", "point"] | Mapping[str, float]
Hidden = tuple[Annotated[int, Limits(least=1, most=4096)], ...]
Accuracy = Annotated[float, Limits(least=1e-14, most=0.1)]
Layers = Annotated[int, Limits(least=0, most=16)]
Channels = Annotated[int, Limits(least=1, most=1024)]
ChargeShells = Annotated[int, Limits(least=0, most=256)]


@checked("cutoff", "hidden", "activation", "message_layers", "message_channels")
def hdnnp_2g(
    elements: Elements,
    *,
    cutoff: Reach | None = None,
    hidden: Hidden = (15, 15),
    activation: str = "silu",
    descriptor: ACSF | None = None,
    message_layers: Layers = 0,
    message_channels: Channels = 24,
    key: PRNGKeyArray,
) -> Potential:
    """Second generation: energies of local surroundings and nothing else [behler:07].

    Args:
        elements: Symbols or atomic numbers.
        cutoff: Range of the default descriptor, in Å; 6 when not given. A descriptor has its own.
        hidden: Widths of the hidden layers; none with `activation="linear"` alone.
        activation: A name of `lrpot.networks.ACTIVATIONS`.
        descriptor: Used instead of `default_acsf(elements, cutoff=cutoff)`.
        message_layers: Layers of equivariant messages, see `lrpot.messages`, whose energy is added;
            0 for none.
        message_channels: How many 3×3 matrices of an atom they are made of.
        key: Random key of the first weights.
    """
    numbers, descriptor = _start(elements, cutoff, descriptor, hidden, activation)
    networks = element_networks(
        numbers, descriptor.n_features, hidden, activation=activation, key=key
    )
    terms = {"offsets": _no_offsets(numbers), "short_range": ShortRange(networks, jnp.ones(()))}
    terms |= _messages(numbers, descriptor, message_layers, message_channels, False, key)
    return Potential(numbers, descriptor, None, terms, "hdnnp_2g")


@checked(
    "cutoff",
    "hidden",
    "activation",
    "widths",
    "neutralisation",
    "screening",
    "accuracy",
    "message_layers",
    "message_channels",
)
def hdnnp_3g(
    elements: Elements,
    *,
    cutoff: Reach | None = None,
    hidden: Hidden = (15, 15),
    activation: str = "silu",
    descriptor: ACSF | None = None,
    neutralisation: Neutralisation = "uniform",
    widths: Widths = "point",
    screening: tuple[NotNegative, Positive] | None = None,
    accuracy: Accuracy = 1e-6,
    message_layers: Layers = 0,
    message_channels: Channels = 24,
    key: PRNGKeyArray,
) -> Potential:
    """Third generation: local energies and the Coulomb energy of local charges [morawietz:12].

    Args:
        elements, cutoff, hidden, activation, descriptor, message_layers, message_channels, key: As
            in `hdnnp_2g`.
        neutralisation: How charges are brought to the total charge, see
            `lrpot.charges.LocalCharges`.
        widths: `covalent` radii, `point` charges, or the width of each element in Å.
        screening: Radii (inner, outer), in Å, between which the Coulomb energy of a pair is
            switched on; by default from 0.3 cutoff to the cutoff.
        accuracy: Relative force error of the Ewald sum in periodic systems.
    """
    numbers, descriptor = _start(elements, cutoff, descriptor, hidden, activation)
    keys = jax.random.split(key)
    shape = (numbers, descriptor.n_features, hidden)
    outputs = 2 if neutralisation == "weighted" else 1
    charge_model = LocalCharges(
        element_networks(*shape, n_outputs=outputs, activation=activation, key=keys[0]),
        _radii(numbers, widths),
        CoulombSum(descriptor.cutoff, accuracy),
        neutralisation,
    )
    networks = element_networks(*shape, activation=activation, key=keys[1])
    terms = {
        "offsets": _no_offsets(numbers),
        "short_range": ShortRange(networks, jnp.ones(())),
        "coulomb": Coulomb(_screening(screening, descriptor)),
    }
    terms |= _messages(numbers, descriptor, message_layers, message_channels, True, key)
    return Potential(numbers, descriptor, charge_model, terms, "hdnnp_3g")


@checked(
    "cutoff",
    "hidden",
    "activation",
    "widths",
    "hardness",
    "screening",
    "accuracy",
    "learn_widths",
    "local_hardness",
    "charge_shells",
    "charge_message_layers",
    "message_layers",
    "message_channels",
)
def hdnnp_4g(
    elements: Elements,
    *,
    cutoff: Reach | None = None,
    hidden: Hidden = (15, 15),
    activation: str = "silu",
    descriptor: ACSF | None = None,
    widths: Widths = "covalent",
    hardness: float | Mapping[str, float] | None = None,
    screening: tuple[NotNegative, Positive] | None = None,
    accuracy: Accuracy = 1e-6,
    learn_widths: bool = False,
    local_hardness: bool = False,
    charge_shells: ChargeShells = 0,
    charge_message_layers: Layers = 0,
    message_layers: Layers = 0,
    message_channels: Channels = 24,
    key: PRNGKeyArray,
) -> Potential:
    """Fourth generation: charges equilibrate over the whole system [ko:21].

    The energy is the screened Coulomb energy of the charges, without their electronegativity
    and hardness terms, and that of networks which see each atom's surroundings and charge.

    Args:
        elements, cutoff, hidden, activation, descriptor, message_layers, message_channels, key: As
            in `hdnnp_2g`; messages tell of the charges too.
        widths: `covalent` radii or the Gaussian width of each element in Å.
        hardness: First hardness, in eV/e², one for all or by symbol; it is trained. When not
            given, the first training finds it from the charges, see
            `lrpot.training.first_charges`, from 10 eV/e² on.
        screening, accuracy: As in `hdnnp_3g`.
        learn_widths: Whether widths are trained.
        local_hardness: Whether the networks also predict how the hardness of an atom differs
            from that of its element.
        charge_shells: Radial functions of the charges around an atom, which the energy networks
            see besides its own charge; 0 for none.
        charge_message_layers: Layers of messages, as many channels wide, whose outcome the networks
            of electronegativity and hardness see; 0 for none.
    """
    numbers, descriptor = _start(elements, cutoff, descriptor, hidden, activation)
    keys = jax.random.split(key)
    told = _exchange(numbers, descriptor, charge_message_layers, message_channels, keys[0])
    outputs = 2 if local_hardness else 1
    n_features = descriptor.n_features
    n_inputs = n_features if told is None else n_features + told.n_features
    charge_model = Equilibration(
        element_networks(
            numbers, n_inputs, hidden, n_outputs=outputs, activation=activation, key=keys[0]
        ),
        _hardness_root(numbers, 10.0 if hardness is None else hardness),
        _radii(numbers, widths),
        CoulombSum(descriptor.cutoff, accuracy),
        frozen=() if learn_widths else ("radii",),
        scale=None if hardness is None else 1.0,
        exchange=told,
    )
    surroundings = None if charge_shells == 0 else _surroundings(descriptor.cutoff, charge_shells)
    n_seen = 1 if surroundings is None else 1 + surroundings.n_features
    networks = element_networks(
        numbers, n_features + n_seen, hidden, activation=activation, key=keys[1]
    )
    terms = {
        "offsets": _no_offsets(numbers),
        "short_range": ShortRange(
            networks, jnp.ones(()), identity_scaling(numbers, n_seen), surroundings
        ),
        "coulomb": Coulomb(_screening(screening, descriptor)),
    }
    terms |= _messages(numbers, descriptor, message_layers, message_channels, True, key)
    return Potential(numbers, descriptor, charge_model, terms, "hdnnp_4g")


@checked("cutoff", "hidden", "activation", "widths", "hardness", "accuracy")
def cent(
    elements: Elements,
    *,
    cutoff: Reach | None = None,
    hidden: Hidden = (15, 15),
    activation: str = "silu",
    descriptor: ACSF | None = None,
    widths: Widths = "covalent",
    hardness: float | Mapping[str, float] = 10.0,
    accuracy: Accuracy = 1e-6,
    key: PRNGKeyArray,
) -> Potential:
    """CENT: the energy is the one that the charges minimise [ghasemi:15].

    All that is learnt are the electronegativities, the hardness and the energies of the free
    elements, from energies (and charges and dipoles when there are any). The energy is
    stationary in the charges, so that dE/dQ is minus the multiplier.

    Args:
        elements, cutoff, hidden, activation, descriptor, key: As in `hdnnp_2g`.
        widths, hardness, accuracy: As in `hdnnp_4g`.
    """
    numbers, descriptor = _start(elements, cutoff, descriptor, hidden, activation)
    charge_model = Equilibration(
        element_networks(numbers, descriptor.n_features, hidden, activation=activation, key=key),
        _hardness_root(numbers, hardness),
        _radii(numbers, widths),
        CoulombSum(descriptor.cutoff, accuracy),
    )
    terms = {
        # The energy of the charges has a mean that no network makes up for: offsets are learnt.
        "offsets": Offsets(numbers, jnp.zeros(len(numbers)), frozen=()),
        "site": SiteEnergy(),
        "coulomb": Coulomb(self_energy=True),
    }
    return Potential(numbers, descriptor, charge_model, terms, "cent")


MODELS: dict[str, Recipe] = {
    "hdnnp_2g": hdnnp_2g,
    "hdnnp_3g": hdnnp_3g,
    "hdnnp_4g": hdnnp_4g,
    "cent": cent,
}
"""Every recipe by name. Contract tests run over this dictionary."""


def _start(
    elements: Elements,
    cutoff: float | None,
    descriptor: ACSF | None,
    hidden: tuple[int, ...],
    activation: str,
) -> tuple[tuple[int, ...], ACSF]:
    numbers = element_numbers(elements)
    if not hidden and activation != "linear":
        raise InputError(
            "`hidden` names no layer: such networks are linear in the features. Give the widths of "
            'the hidden layers, such as (15, 15), or `activation="linear"` if that is meant.'
        )
    if descriptor is None:
        descriptor = default_acsf(numbers, cutoff=6.0 if cutoff is None else cutoff)
    elif cutoff is not None and cutoff != descriptor.cutoff:
        raise InputError(
            f"`cutoff` is {cutoff:g} Å, but that of the descriptor is {descriptor.cutoff:g} Å. "
            "Leave one of them out."
        )
    if descriptor.scaling.elements != numbers:
        raise InputError(
            f"The descriptor is made for the elements {descriptor.scaling.elements}, the potential "
            f"for {numbers}."
        )
    return numbers, descriptor


def _no_offsets(numbers: tuple[int, ...]) -> Offsets:
    return Offsets(numbers, jnp.zeros(len(numbers)))


def _screening(radii: tuple[float, float] | None, descriptor: ACSF) -> Screening:
    inner, outer = (0.3 * descriptor.cutoff, descriptor.cutoff) if radii is None else radii
    return Screening(inner, outer)


def _messages(
    numbers: tuple[int, ...],
    descriptor: ACSF,
    layers: int,
    channels: int,
    sees_charges: bool,
    key: PRNGKeyArray,
) -> dict[str, Messages]:
    told = _exchange(numbers, descriptor, layers, channels, key)
    if told is None:
        return {}
    own = jax.random.fold_in(key, 2)
    size = told.n_features
    readout = element_networks(numbers, size, (channels,), activation="silu", key=own)
    scaling = identity_scaling(numbers, 1) if sees_charges else None
    return {"messages": Messages(told, readout, jnp.ones(()), scaling)}


def _exchange(
    numbers: tuple[int, ...], descriptor: ACSF, layers: int, channels: int, key: PRNGKeyArray
) -> Exchange | None:
    if layers == 0:
        return None
    # A key of their own, so that the other networks begin as they do without messages.
    own = jax.random.fold_in(key, 1)
    return exchange(numbers, layers=layers, channels=channels, cutoff=descriptor.cutoff, key=own)


def _surroundings(cutoff: float, count: int) -> ChargeSurroundings:
    """Radial functions in even steps from the first shell on, each as wide as a step."""
    step = (cutoff - FIRST_SHELL) / count
    shells = tuple((1 / step**2, FIRST_SHELL + n * step) for n in range(count))
    return ChargeSurroundings(Shells(shells, cutoff, "tanh3"))


def _radii(numbers: tuple[int, ...], widths: Widths) -> jax.Array | None:
    if widths == "point":
        return None
    if widths == "covalent":
        return jnp.asarray([COVALENT_RADII[number] for number in numbers])
    return jnp.asarray(_per_element(numbers, widths, "widths"))


def _hardness_root(numbers: tuple[int, ...], hardness: float | Mapping[str, float]) -> jax.Array:
    return jnp.sqrt(jnp.asarray(_per_element(numbers, hardness, "hardness")))


def _per_element(
    numbers: tuple[int, ...], values: float | Mapping[str, float] | str, name: str
) -> list[float]:
    if isinstance(values, str):
        raise InputError(
            f"Unknown `{name}` {values!r}. {suggestion(values, ('covalent', 'point'))}"
        )
    if not isinstance(values, Mapping):
        values = {SYMBOLS[number]: float(values) for number in numbers}
    missing = [SYMBOLS[number] for number in numbers if SYMBOLS[number] not in values]
    unused = set(values) - {SYMBOLS[number] for number in numbers}
    for symbol in unused - set(SYMBOLS[1:]):
        raise InputError(f"`{name}` names `{symbol}`, which is not an element.")
    if missing:
        raise InputError(f"`{name}` lacks {', '.join(missing)}; it has {sorted(values)}.")
    if unused:
        warnings.warn(
            f"`{name}` names {', '.join(sorted(unused))}, which this potential does not have: not "
            "used.",
            InputWarning,
            stacklevel=5,
        )
    chosen = [float(values[SYMBOLS[number]]) for number in numbers]
    if not all(np.isfinite(chosen)) or min(chosen) <= 0:
        raise InputError(f"`{name}` must be positive, got {dict(values)}.")
    return chosen
