"""What is trained, on what and for how long: a recipe of stages."""

import dataclasses
from collections.abc import Sequence

from lrpot.data import LABELS, Structure
from lrpot.errors import InputError, suggestion
from lrpot.potential import Potential
from lrpot.terms import ShortRange

PARTS = ("charge_model", "terms")
"""The parts of a potential that have something to learn."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weight of each mean squared error in the loss; 0 leaves the label out.

    Errors are those of `lrpot.training.loss.squared_errors`: energy in (eV/atom)², forces in
    (eV/Å)², stress in (eV/Å³)², charges in e², dipole in (e Å)².
    """

    energy: float = 0.0
    forces: float = 0.0
    stress: float = 0.0
    charges: float = 0.0
    dipole: float = 0.0

    def __post_init__(self):
        values = dataclasses.asdict(self)
        if min(values.values()) < 0 or not any(values.values()):
            raise InputError(f"Weights must not be negative nor all zero, got {values}.")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training with AdamW and a cosine schedule.

    Attributes:
        name: For the progress bar and the history.
        train: Parts of the potential that are learnt, of `PARTS`; the others are kept.
        weights: What the loss is made of.
        epochs: Passes over the data.
        batch_size: Structures per update.
        learning_rate: Its highest value, reached after the first 2 % of the updates; the last
            is a hundredth of it.
        weight_decay: Of AdamW, relative to the learning rate.
        averaging: Decay of the running average of the parameters, which is what is validated
            and returned; 0 for no average.
        clip: Largest norm of a gradient.
        patience: Epochs without improvement on the validation set before the stage ends; 0 to
            run all epochs. The best parameters are returned in either case.
    """

    name: str = "joint"
    train: tuple[str, ...] = PARTS
    weights: Weights = dataclasses.field(default_factory=lambda: Weights(energy=100.0, forces=1.0))
    epochs: int = 1000
    batch_size: int = 10
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    averaging: float = 0.99
    clip: float = 10.0
    patience: int = 0

    def __post_init__(self):
        for part in self.train:
            if part not in PARTS:
                raise InputError(f"Unknown part `{part}` in `train`. {suggestion(part, PARTS)}")
        if not self.train or self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise InputError(
                "A stage needs something to train and positive `epochs`, `batch_size` and "
                f"`learning_rate`, got {self}."
            )
        if not 0 <= self.averaging < 1 or self.clip <= 0 or self.patience < 0:
            raise InputError(
                "`averaging` must be in [0, 1), `clip` positive and `patience` not negative, got "
                f"{self.averaging}, {self.clip} and {self.patience}."
            )


def charge_stage(**settings) -> Stage:
    """First stage of 3G and 4G: charges alone, electrostatics to be kept from then on [ko:21]."""
    return Stage(
        **{
            "name": "charges",
            "train": ("charge_model",),
            "weights": Weights(charges=1.0),
            **settings,
        }
    )


def energy_stage(**settings) -> Stage:
    """Second stage: short-range networks make up the difference to the reference energies."""
    return Stage(**{"name": "energies", "train": ("terms",), **settings})


def joint_stage(**settings) -> Stage:
    """Everything at once, charges included: for CENT, or to finish a two-stage training."""
    weights = Weights(energy=100.0, forces=1.0, charges=100.0)
    return Stage(**{"name": "joint", "weights": weights, **settings})


def default_stages(potential: Potential, structures: Sequence[Structure]) -> tuple[Stage, ...]:
    """The usual recipe for a kind of potential: one stage for 2G, two for 3G and 4G.

    A potential whose charges have no reference, or whose energy is the energy of its charges
    (CENT), is trained in one joint stage.
    """
    if potential.charge_model is None:
        return (energy_stage(),)
    labelled = any(one.charges is not None for one in structures)
    learns_energy = any(isinstance(term, ShortRange) for term in potential.terms.values())
    if labelled and learns_energy:
        return (charge_stage(), energy_stage())
    if labelled:
        return (joint_stage(),)
    return (Stage(),)


def check_stages(
    stages: Sequence[Stage], potential: Potential, structures: Sequence[Structure]
) -> None:
    """Raise `InputError` unless the potential can learn what the stages ask for from the data."""
    if not stages:
        raise InputError("There are no stages to train.")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise InputError(f"Every stage needs a name of its own, got {names}.")
    for stage in stages:
        wanted = [label for label in LABELS if getattr(stage.weights, label)]
        for label in wanted:
            if all(getattr(one, label) is None for one in structures):
                raise InputError(
                    f"Stage `{stage.name}` trains on {label}, but no structure has any. Check the "
                    f"keys of the data file, or set the weight of `{label}` to 0."
                )
        if potential.charge_model is None and {"charges", "dipole"} & {*wanted}:
            raise InputError(
                f"Stage `{stage.name}` trains on charges or dipoles, but a potential of recipe "
                f"`{potential.recipe}` has no charges. Take `hdnnp_3g` or `hdnnp_4g`, or set their "
                "weights to 0."
            )
        if potential.charge_model is None and "terms" not in stage.train:
            raise InputError(
                f"Stage `{stage.name}` trains the charge model only, but a potential of recipe "
                f"`{potential.recipe}` has none."
            )
