"""The data sets, and how potentials are trained on each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lrpot
from lrpot.data import Structure
from lrpot.descriptors import default_acsf
from lrpot.elements import SYMBOLS
from lrpot.interop import n2p2
from lrpot.potential import Potential
from lrpot.training import Stage, Weights, charge_stage, energy_stage, message_stage
from lrpot.training.config import split

HERE = Path(__file__).parent
MODELS = HERE / "models"

EPOCHS = 6, 12
"""Of the Kalman filter for charges and for energies; 2G has the second alone."""

EIGHTEEN = 3, 4, 11, 13, 14, 17, 25, 27, 28, 29, 30, 31, 34, 35, 37, 39, 42, 47
"""Which slabs of Au2 on MgO are those of n2p2's example."""


def filtered(charges: int, energies: int, size: int = 10) -> tuple[Stage, ...]:
    """Stages of so many epochs of the Kalman filter, with so many structures in an update."""
    common: dict[str, Any] = {"optimiser": "kalman", "batch_size": size}
    return charge_stage(epochs=charges, **common), energy_stage(epochs=energies, **common)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Structures to train on and to test with, and the size of the effort.

    Attributes:
        what: In words, for the table.
        cutoff, angular_cutoff: Of the default descriptor, in Å.
        last_epochs: Of the filter in a third stage, energies with 30 times their weight; 2G,
            which only gets worse by it, has none.
        descriptor: Further arguments of `lrpot.descriptors.default_acsf`.
        fraction: Of the structures to test with where the set is one file; a random choice.
        train_on: Which of them to train on instead; the others are tested with.
        files: Folder and first part of the names of the files; in `data`, and as the set, when not
            given.
        more: File in `data` with more structures to train on.
        form: File in `data` for the variants `n2p2_…`, by the functions of that program.
        form_stages: Of these variants.
    """

    what: str
    cutoff: float = 7.0
    angular_cutoff: float = 5.0
    last_epochs: int = 0
    descriptor: dict[str, Any] = dataclasses.field(default_factory=dict)
    fraction: float = 0.0
    train_on: tuple[int, ...] = ()
    files: Path | None = None
    more: str = ""
    form: str = ""
    form_stages: tuple[Stage, ...] = filtered(10, 30, 5)


SETS = {
    "carbon_chain": DataSet("C10H2, C10H3⁺; GFN2-xTB", cutoff=6.0, form="carbon_chain.nn"),
    "quickstart": DataSet(
        "C10H2, C10H3⁺, a third of them; GFN2-xTB",
        files=Path(lrpot.__file__).parent / "quickstart_data" / "carbon",
        form="carbon_chain.nn",
        form_stages=filtered(20, 30, 5),
    ),
    "ag3": DataSet("Ag3⁺, Ag3⁻; GFN1-xTB"),
    "nacl": DataSet("Na9Cl8⁺, Na8Cl8⁺; GFN1-xTB"),
    "nacl_more": DataSet(
        "the same and 3040 from own dynamics; GFN1-xTB",
        files=HERE / "data" / "nacl",
        more="nacl_more.xyz.xz",
    ),
    "anthracene": DataSet("2-X-anthracene, X = OH, NO2, O⁻, NH3⁺; GFN2-xTB"),
    "water_ions": DataSet("(H2O)n, H3O⁺ and OH⁻ in water; GFN2-xTB"),
    "water_pbc": DataSet("16 H2O, periodic; GFN1-xTB", cutoff=6.0),
    "carbon_chain_dft": DataSet(
        "C10H2, C10H3⁺; PBE", fraction=0.1, form="carbon_chain.nn", form_stages=filtered(10, 10, 5)
    ),
    "au2_mgo_dft": DataSet(
        "Au2 on MgO(001), with Al or without; PBE",
        cutoff=5.5,
        angular_cutoff=4.5,
        last_epochs=6,
        descriptor={"zetas": (1.0, 4.0), "shells": 2, "spacing": 0.6},
        fraction=0.1,
    ),
    "au2_mgo_18": DataSet(
        "the same, eighteen of them; PBE",
        train_on=EIGHTEEN,
        files=HERE / "data" / "au2_mgo_dft",
        form="au2_mgo.nn",
        form_stages=(
            charge_stage(epochs=100, batch_size=2),
            energy_stage(
                epochs=300,
                batch_size=2,
                learning_rate=1e-2,
                weight_decay=0.3,
                weights=Weights(energy=1000.0, forces=1.0),
            ),
        ),
    ),
}

MESSAGE_EPOCHS = 100, 200
"""Of AdamW, for charges and for energies that have messages."""

EXTENDED: dict[str, Any] = {"local_hardness": True, "learn_widths": True, "charge_shells": 5}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "2g": ("hdnnp_2g", {}),
    "3g": ("hdnnp_3g", {}),
    "4g": ("hdnnp_4g", {}),
    "local_hardness": ("hdnnp_4g", {"local_hardness": True}),
    "learn_widths": ("hdnnp_4g", {"learn_widths": True}),
    "charge_shells": ("hdnnp_4g", {"charge_shells": 5}),
    "extended": ("hdnnp_4g", EXTENDED),
    "2g_messages": ("hdnnp_2g", {"message_layers": 3}),
    "messages": ("hdnnp_4g", {**EXTENDED, "message_layers": 3}),
    "charge_messages": ("hdnnp_4g", {**EXTENDED, "charge_message_layers": 2}),
    "all_messages": ("hdnnp_4g", {**EXTENDED, "charge_message_layers": 2, "message_layers": 3}),
}
"""Recipe and settings by name. All have two hidden layers of 15 nodes."""

FORMS: dict[str, Literal[2, 4]] = {"n2p2_2g": 2, "n2p2_4g": 4}
"""Variants that are as a file of n2p2 says, by its kind of potential."""


def read(name: str, seed: int) -> tuple[list[Structure], list[Structure]]:
    """Structures to train on and to test with."""
    chosen = SETS[name]
    files = chosen.files or HERE / "data" / name
    if chosen.fraction or chosen.train_on:
        structures = lrpot.read_structures(files.with_suffix(".xyz.xz"))
        if chosen.fraction:
            return split(structures, chosen.fraction, seed=seed)
        others = [one for at, one in enumerate(structures) if at not in chosen.train_on]
        return [structures[at] for at in chosen.train_on], others
    train, test = (
        lrpot.read_structures(next(files.parent.glob(f"{files.name}_{part}.xyz*")))
        for part in ("train", "test")
    )
    if chosen.more:
        train += lrpot.read_structures(HERE / "data" / chosen.more)
    return train, test


def untrained(name: str, variant: str, structures: Sequence[Structure], *, key) -> Potential:
    """A potential of one variant for the elements of a set."""
    chosen = SETS[name]
    if variant in FORMS:
        if not chosen.form:
            raise lrpot.InputError(f"There is no file of n2p2 for the set `{name}`.")
        return n2p2.new_potential(HERE / "data" / chosen.form, nnp_type=FORMS[variant], key=key)
    numbers = {int(number) for one in structures for number in one.system.numbers}
    elements = tuple(SYMBOLS[number] for number in sorted(numbers))
    descriptor = default_acsf(
        elements,
        cutoff=chosen.cutoff,
        angular_cutoff=chosen.angular_cutoff,
        **chosen.descriptor,
    )
    recipe, settings = VARIANTS[variant]
    return lrpot.MODELS[recipe](elements, descriptor=descriptor, key=key, **settings)


def stages(name: str, variant: str, potential: Potential, effort: float) -> tuple[Stage, ...]:
    """Charges first, then energies and forces."""
    chosen, settings = SETS[name], VARIANTS.get(variant, ("", {}))[1]
    charges, energies = chosen.form_stages if variant in FORMS else filtered(*EPOCHS)
    if "charge_message_layers" in settings:
        charges = message_stage(charge_stage, epochs=MESSAGE_EPOCHS[0])
    if "message_layers" in settings:
        energies = message_stage(epochs=MESSAGE_EPOCHS[1])
    found = (energies,) if potential.charge_model is None else (charges, energies)
    if chosen.last_epochs and len(found) == 2 and "message_layers" not in settings:
        weights = Weights(energy=3000.0, forces=1.0)
        epochs = chosen.last_epochs
        found += (dataclasses.replace(energies, name="last", epochs=epochs, weights=weights),)
    return tuple(dataclasses.replace(one, epochs=round(effort * one.epochs)) for one in found)
