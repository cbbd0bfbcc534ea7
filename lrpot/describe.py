"""A potential in words."""

from collections import Counter

import numpy as np

from lrpot.charges import Equilibration, LocalCharges
from lrpot.committee import Committee
from lrpot.descriptors import ACSF
from lrpot.electrostatics import CoulombSum
from lrpot.elements import SYMBOLS
from lrpot.messages import Exchange
from lrpot.potential import Potential, count_parameters
from lrpot.terms import Coulomb, Messages, Offsets, ShortRange


def describe(potential: Potential | Committee) -> dict[str, str]:
    """What a potential, or each member of a committee, is made of, one line per part.

    Examples:
        >>> import jax, lrpot
        >>> describe(lrpot.hdnnp_2g(("H",), key=jax.random.key(0)))["elements"]
        'H'
    """
    if isinstance(potential, Committee):
        factors = ", ".join(f"{name} {float(one):.3g}" for name, one in potential.factors.items())
        both = {"committee": f"{len(potential.members)} members", "uncertainty factors": factors}
        return both | describe(potential.members[0])
    lines = {
        "recipe": potential.recipe,
        "elements": ", ".join(SYMBOLS[number] for number in potential.elements),
        "cutoff": f"{potential.cutoff:g} Å",
        "parameters": f"{count_parameters(potential)}",
    }
    if isinstance(potential.descriptor, ACSF):
        kinds = Counter(label.split()[0] for label in potential.descriptor.labels)
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        lines["descriptor"] = f"{potential.descriptor.n_features} symmetry functions ({counted})"
    model = potential.charge_model
    if isinstance(model, Equilibration):
        by = "" if model.exchange is None else f", by {_messages(model.exchange)}"
        lines["charges"] = f"equilibrated{by}"
        hardness = _by_element(potential, np.asarray(model.hardness_root) ** 2, "eV/e²")
        varied = ", varied by networks" if model.has_local_hardness else ""
        lines["hardness"] = f"{hardness}{varied}"
    elif isinstance(model, LocalCharges):
        lines["charges"] = f"local, neutralised: {model.neutralisation}"
    if model is not None:
        lines["widths"] = (
            "point charges" if model.radii is None else _by_element(potential, model.radii, "Å")
        )
        lines["electrostatics"] = (
            f"exact sums, relative force error {model.coulomb.accuracy:g} in crystals"
            if isinstance(model.coulomb, CoulombSum)
            else "truncated sums for one system"
        )
    for name, term in potential.terms.items():
        if isinstance(term, ShortRange):
            sizes = [term.networks.weights[0].shape[1], *(b.shape[1] for b in term.networks.biases)]
            seen = "" if term.charge_scaling is None else ", the last input being the charge"
            if term.surroundings is not None:
                seen = f", the last {1 + term.surroundings.n_features} inputs being of charges"
            layers = "-".join(map(str, sizes))
            used = dict.fromkeys(
                name
                for layer in term.networks.activations[:-1]
                for name in ((layer,) if isinstance(layer, str) else layer)
            )
            lines[name] = f"networks {layers}, {', '.join(used)}{seen}"
        elif isinstance(term, Messages):
            seen = "" if term.charge_scaling is None else ", that see the charge"
            lines[name] = f"{_messages(term.exchange)}{seen}"
        elif isinstance(term, Coulomb):
            lines[name] = (
                "not screened"
                if term.screening is None
                else f"screened from {term.screening.inner:g} to {term.screening.outer:g} Å"
            )
        elif isinstance(term, Offsets):
            lines[name] = _by_element(potential, term.energies, "eV")
    return lines


def _messages(exchange: Exchange) -> str:
    layers, channels = len(exchange.mixed), exchange.mixed[0][0].shape[-1]
    return f"{layers} layers of {channels} matrices, each {exchange.cutoff:g} Å far"


def _by_element(potential: Potential, values, unit: str) -> str:
    pairs = zip(potential.elements, np.asarray(values), strict=True)
    return ", ".join(f"{SYMBOLS[number]} {float(value):.6g} {unit}" for number, value in pairs)
