"""What is trained, on what and for how long: a recipe of stages."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from lrpot.charges import Equilibration
from lrpot.committee import Committee
from lrpot.config import Count, Limits, NotNegative, Positive, check_fields
from lrpot.data import LABELS, Structure
from lrpot.errors import InputError, suggestion
from lrpot.potential import Potential
from lrpot.terms import Messages, ShortRange
from lrpot.training.kalman import Kalman

PARTS = ("charge_model", "terms")
"""The parts of a potential that have something to learn."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weight of each mean squared error in the loss; 0 leaves the label out.

    Errors are those of `lrpot.training.loss.squared_errors`: energy in (eV/atom)², forces in
    (eV/Å)², stress in (eV/Å³)², charges in e², dipole in (e Å)², quadrupole in (e Å²)².
    """

    energy: NotNegative = 0.0
    forces: NotNegative = 0.0
    stress: NotNegative = 0.0
    charges: NotNegative = 0.0
    dipole: NotNegative = 0.0
    quadrupole: NotNegative = 0.0

    def __post_init__(self):
        check_fields(self)
        if not any(dataclasses.asdict(self).values()):
            raise InputError("Weights must not all be zero: there is nothing to train on.")


DEFAULTS: dict[str, dict[str, Any]] = {
    "adam": {
        "epochs": 1000,
        "averaging": 0.99,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "clip": 10.0,
    },
    "kalman": {"epochs": 30, "averaging": 0.0, "kalman": Kalman()},
    "lbfgs": {"epochs": 300, "averaging": 0.0},
}
"""Optimisers, with the settings that only some of them have or that differ between them."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Settings that are `None` take the default of their optimiser from `DEFAULTS`; those that it
    does not have stay `None`.

    Attributes:
        name: For the progress bar and the history.
        train: Parts of the potential that are learnt, of `PARTS`; the others are kept.
        weights: What the loss is made of.
        optimiser: `adam` for AdamW with a cosine schedule, `kalman` for the extended Kalman
            filter, which takes far fewer epochs, `lbfgs` for L-BFGS on all data at once.
        epochs: Passes over the data; with `lbfgs` updates, of one or a few passes each.
        batch_size: Structures per update; with `lbfgs` that are held in memory at once.
        averaging: Decay of the running average of the parameters, which is what is validated
            and returned; 0 for no average.
        patience: Epochs without improvement on the validation set before the stage ends; 0 to
            run all epochs, and 0 without such a set. The best parameters are returned in either
            case.
        learning_rate, weight_decay, clip: Of `adam`, see `lrpot.training.adam.Adam`.
        kalman: Of `kalman`, see `lrpot.training.kalman.Kalman`.
    """

    name: str = "joint"
    train: tuple[str, ...] = PARTS
    weights: Weights = dataclasses.field(default_factory=lambda: Weights(energy=100.0, forces=1.0))
    optimiser: str = "adam"
    epochs: Count | None = None
    batch_size: Count = 10
    averaging: Annotated[float, Limits(least=0.0, below=1.0)] | None = None
    patience: Annotated[int, Limits(least=0, most=2**31 - 1)] = 0
    learning_rate: Positive | None = None
    weight_decay: NotNegative | None = None
    clip: Positive | None = None
    kalman: Kalman | None = None

    def __post_init__(self):
        check_fields(self)
        self._fill_in()
        for part in self.train:
            if part not in PARTS:
                raise InputError(f"Unknown part `{part}` in `train`. {suggestion(part, PARTS)}")
        if not self.train:
            raise InputError(f"Stage `{self.name}` trains no part. {suggestion('', PARTS)}")

    def _fill_in(self) -> None:
        """Set what was left to the optimiser, and refuse what belongs to another one."""
        if self.optimiser not in DEFAULTS:
            raise InputError(
                f"Unknown optimiser `{self.optimiser}`. {suggestion(self.optimiser, DEFAULTS)}"
            )
        own = DEFAULTS[self.optimiser]
        for name in {name for settings in DEFAULTS.values() for name in settings}:
            if getattr(self, name) is None:
                object.__setattr__(self, name, own.get(name))
            elif name not in own:
                raise InputError(
                    f"`{name}` is not a setting of the optimiser `{self.optimiser}`, which stage "
                    f"`{self.name}` is trained with. Leave it out."
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


def message_stage(stage: Callable[..., Stage] = energy_stage, **settings) -> Stage:
    """A stage for what has messages: AdamW with updates by few structures.

    Messages have too many weights for a Kalman filter, and learn sooner from many updates.

    Args:
        stage: What is trained, as `energy_stage` or `charge_stage` have it.
        **settings: Others than these.
    """
    return stage(
        **{
            "epochs": 200,
            "batch_size": 4,
            "learning_rate": 3e-3,
            "weight_decay": 0.03,
            **settings,
        }
    )


def joint_stage(**settings) -> Stage:
    """Everything at once, charges included: for CENT, or to finish a two-stage training."""
    weights = Weights(energy=100.0, forces=1.0, charges=100.0)
    return Stage(**{"name": "joint", "weights": weights, **settings})


def default_stages(
    potential: Potential | Committee, structures: Sequence[Structure], *, optimiser: str = "adam"
) -> tuple[Stage, ...]:
    """The usual recipe for a kind of potential: one stage for 2G, two for 3G and 4G.

    A potential whose charges have no reference, or whose energy is the energy of its charges
    (CENT), is trained in one joint stage. Charges without reference follow from energies and
    forces, and from dipoles where there are any. These come first: the energy of neutral systems
    is the same for electronegativities of the other sign. Labels that no structure has are left
    out.

    What has messages, terms or charges, is trained by AdamW, see `message_stage`, whatever the
    optimiser of the rest.

    Raises:
        InputError: If there is nothing that the potential could learn from.
    """
    by: dict[str, Any] = {"optimiser": optimiser}
    has = {label for label in LABELS if any(getattr(one, label) is not None for one in structures)}
    terms = tuple(potential.terms.values())
    learns_energy = any(isinstance(term, ShortRange) for term in terms)
    has_messages = any(isinstance(term, Messages) for term in terms)
    energies = message_stage() if has_messages else energy_stage(**by)
    model = potential.charge_model
    by_messages = isinstance(model, Equilibration) and model.exchange is not None
    charges = message_stage(charge_stage) if by_messages else charge_stage(**by)
    if model is None:
        stages = (energies,)
    elif "charges" in has and learns_energy:
        stages = (charges, energies)
    elif "charges" in has:
        stages = (joint_stage(**by),)
    else:
        weights = Weights(energy=100.0, forces=1.0, dipole=10.0)
        both = charges if by_messages else energies
        stages = (
            dataclasses.replace(charges, weights=Weights(dipole=10.0)),
            dataclasses.replace(both, name="joint", train=PARTS, weights=weights),
        )
    asked = [{name for name in LABELS if getattr(one.weights, name)} for one in stages]
    if not any(names & has for names in asked):
        raise InputError(
            f"A potential of recipe `{potential.recipe}` trains on "
            f"{', '.join(sorted(set().union(*asked)))}, and no structure has any of them. Check "
            "the keys of the data file."
        )
    return tuple(
        dataclasses.replace(
            one, weights=dataclasses.replace(one.weights, **dict.fromkeys(names - has, 0.0))
        )
        for one, names in zip(stages, asked, strict=True)
        if names & has
    )


def check_stages(
    stages: Sequence[Stage],
    potential: Potential | Committee,
    structures: Sequence[Structure],
    *,
    validated: bool,
) -> None:
    """Raise `InputError` unless the potential can learn what the stages ask for from the data.

    Args:
        stages: All of them.
        potential: That is to be trained.
        structures: To train on.
        validated: Whether there are others to validate on.
    """
    if not stages:
        raise InputError("There are no stages to train.")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise InputError(f"Every stage needs a name of its own, got {names}.")
    for stage in stages:
        if stage.patience and not validated:
            raise InputError(
                f"Stage `{stage.name}` is to end after {stage.patience} epochs without improvement "
                "on the validation data, but there are none. Give some, or set `patience` to 0."
            )
        wanted = [label for label in LABELS if getattr(stage.weights, label)]
        for label in wanted:
            if all(getattr(one, label) is None for one in structures):
                raise InputError(
                    f"Stage `{stage.name}` trains on {label}, but no structure has any. Check the "
                    f"keys of the data file, or set the weight of `{label}` to 0."
                )
        if potential.charge_model is None and {"charges", "dipole", "quadrupole"} & {*wanted}:
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
