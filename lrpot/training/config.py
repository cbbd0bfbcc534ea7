"""Training from a configuration file: what `lrpot train` does."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from lrpot.committee import Committee
from lrpot.config import Limits, Seed, arguments_of, check_fields, read_toml
from lrpot.data import (
    Contents,
    Keys,
    Structure,
    Usage,
    read_data,
    refuse_losses,
    refuse_problems,
)
from lrpot.data.structures import CHARGE_TOLERANCE
from lrpot.descriptors import default_acsf
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError, suggestion
from lrpot.files import replacing
from lrpot.io import load, save
from lrpot.models import MODELS
from lrpot.training.devices import writes
from lrpot.training.fit import Fit, fit
from lrpot.training.metrics import Evaluation, evaluate_structures
from lrpot.training.stages import Stage, default_stages


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Table `[data]`: files are taken relative to the configuration file.

    Attributes:
        train: Structures to train on.
        validation: Structures that choose the best parameters. Without a file, a random
            `validation_fraction` of the training structures.
        validation_fraction: Between 0 (none) and 1; 0.1 when neither is given.
        test: Structures for a last evaluation.
        keys: Names of the labels in the files.
        charge_tolerance, format, ignore: As in `lrpot.data.read_structures`.
    """

    train: str
    validation: str | None = None
    validation_fraction: Annotated[float, Limits(least=0.0, below=1.0)] | None = None
    test: str | None = None
    keys: Keys = dataclasses.field(default_factory=Keys)
    charge_tolerance: Annotated[float, Limits(least=0.0, infinite=True)] = CHARGE_TOLERANCE
    format: str | None = None
    ignore: tuple[str, ...] = ()

    def __post_init__(self):
        check_fields(self)
        if self.validation is not None and self.validation_fraction is not None:
            raise InputError(
                "`validation` names a file, and `validation_fraction` would hold out some of the "
                "training structures. Leave one of them out."
            )


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """A whole training.

    Attributes:
        data: Files.
        recipe: A name of `lrpot.MODELS`.
        start: A model file to go on from, in place of a recipe.
        elements: Symbols; those of the training data when empty.
        potential: Further arguments of the recipe.
        descriptor: Arguments of `lrpot.descriptors.default_acsf`.
        stages: In turn; the usual ones of the recipe when empty.
        optimiser: Of the usual stages, `adam` when not given; `stages` name their own.
        atomic_energies: Energy offsets by symbol, in eV; least squares when empty.
        scaling: Of the descriptor, see `lrpot.descriptors.scaling_from_data`.
        keep: Keep descriptors in memory, see `lrpot.fit`.
        seed: Of first weights, validation split and order of the data.
        devices: How many share the structures of an update, see `lrpot.fit`; 0 for all.
        members: Of a committee, each with first weights of its own; 1 for a single potential.
        bootstrap: Whether each member sees a sample of the data of its own.
        folder: For the model, checkpoints, history, plots and test errors.
    """

    data: DataSettings
    recipe: str = "hdnnp_4g"
    start: str | None = None
    elements: tuple[str, ...] = ()
    potential: dict[str, Any] = dataclasses.field(default_factory=dict)
    descriptor: dict[str, Any] = dataclasses.field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    optimiser: str | None = None
    atomic_energies: dict[str, float] = dataclasses.field(default_factory=dict)
    scaling: str = "sigma"
    keep: bool = True
    seed: Seed = 0
    devices: Annotated[int, Limits(least=0, most=65536)] = 0
    members: Annotated[int, Limits(least=1, most=100)] = 1
    bootstrap: bool = False
    folder: str = "training"

    def __post_init__(self):
        check_fields(self)


def train(
    path: str | Path, *, progress: bool = True, report: Callable[[Usage], None] | None = None
) -> tuple[Fit, Evaluation | None]:
    """Train as a configuration file says, or go on with it if it was interrupted.

    Leaves `model.lrpot`, `history.json`, `learning_curve.png`, `data.json` (what of the files was
    used), the last checkpoint and, with test data, `errors.json` in the folder of the
    configuration. Called again after the end it takes the result from the checkpoint; another
    training needs another folder.

    Args:
        path: TOML file with the fields of `TrainSettings`.
        progress: Whether to say what is done, as in `lrpot.fit`.
        report: Called with what of each file is used and what is not, before training.

    Of several processes (see `lrpot.fit`) each calls this, and the first writes the files.

    Returns:
        The outcome, and the errors on the test data.
    """
    from lrpot import plots  # matplotlib takes a while

    path = Path(path)
    settings = read_toml(path, TrainSettings)
    here, folder = path.parent, path.parent / settings.folder
    files = {part: getattr(settings.data, part) for part in ("train", "validation", "test")}
    data = {part: _read(here / file, settings) for part, file in files.items() if file is not None}
    if report is not None and writes():
        for contents in data.values():
            report(contents.usage)
    structures, test = data["train"].structures, None
    if "validation" in data:
        validation = data["validation"].structures
    else:
        fraction = settings.data.validation_fraction
        structures, validation = split(
            structures, 0.1 if fraction is None else fraction, seed=settings.seed
        )
    if "test" in data:
        test = data["test"].structures
    potential = build(settings, structures, here)
    if settings.stages and settings.optimiser is not None:
        raise InputError(
            "`optimiser` at the top is that of the usual stages, but there are `[[stages]]`: name "
            "the optimiser in each of them."
        )
    stages = settings.stages or default_stages(
        potential, structures, optimiser=settings.optimiser or "adam"
    )
    outcome = fit(
        potential,
        structures,
        validation,
        stages=stages,
        atomic_energies=settings.atomic_energies or None,
        scaling=settings.scaling,
        keep=settings.keep,
        folder=folder,
        seed=settings.seed,
        devices=settings.devices or None,
        bootstrap=settings.bootstrap,
        progress=progress,
    )
    evaluation = None if test is None else evaluate_structures(outcome.potential, test)
    if writes():
        save(folder / "model.lrpot", outcome.potential)
        write_json(folder / "history.json", outcome.history)
        write_json(folder / "data.json", {part: one.usage.as_dict() for part, one in data.items()})
        plots.learning_curve(outcome.history, folder / "learning_curve.png")
        if evaluation is not None:
            write_json(folder / "errors.json", evaluation.as_dict())
    return outcome, evaluation


def build(settings: TrainSettings, structures: Sequence[Structure], here: Path = Path()) -> Any:
    """The untrained potential or committee of a configuration."""
    if settings.start is not None:
        names = ["atomic_energies", "descriptor", "elements", "potential"]
        names += ["members"] if settings.members > 1 else []
        names += ["scaling"] if settings.scaling != "sigma" else []
        unused = [f"`{name}`" for name in names if getattr(settings, name)]
        if unused:
            raise InputError(
                f"With `start` everything comes from the model file {settings.start}: leave out "
                f"{', '.join(unused)}."
            )
        return load(here / settings.start)
    if settings.recipe not in MODELS:
        raise InputError(
            f"Unknown recipe `{settings.recipe}`. {suggestion(settings.recipe, MODELS)}"
        )
    numbers = np.unique(np.concatenate([one.system.numbers for one in structures]))
    elements = settings.elements or tuple(SYMBOLS[number] for number in numbers)
    recipe = MODELS[settings.recipe]
    where = "[potential] of the configuration"
    arguments = arguments_of(recipe, settings.potential, where, ("elements", "descriptor", "key"))
    where = "[descriptor] of the configuration"
    chosen = arguments_of(default_acsf, settings.descriptor, where, ("elements",))
    if arguments.get("cutoff") is not None:
        chosen.setdefault("cutoff", arguments["cutoff"])
    descriptor = default_acsf(elements, **chosen)
    key = jax.random.key(settings.seed)
    if settings.members == 1:
        return recipe(elements, **arguments, descriptor=descriptor, key=key)
    keys = jax.random.split(key, settings.members)
    return Committee(
        [recipe(elements, **arguments, descriptor=descriptor, key=one) for one in keys]
    )


def split(
    structures: Sequence[Structure], fraction: float, *, seed: int
) -> tuple[list[Structure], list[Structure]]:
    """Two random parts of a data set, the second with the given fraction of it."""
    if not 0 <= fraction < 1:
        raise InputError(f"`validation_fraction` must be in [0, 1), got {fraction}.")
    order = np.random.default_rng(seed).permutation(len(structures))
    count = round(fraction * len(structures))
    second = set(order[:count].tolist())
    return (
        [one for number, one in enumerate(structures) if number not in second],
        [one for number, one in enumerate(structures) if number in second],
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _read(path: Path, settings: TrainSettings) -> Contents:
    """A file of structures; what looks like a label and is not used must be named or ignored."""
    energies = not settings.stages or any(one.weights.energy for one in settings.stages)
    contents = read_data(
        path,
        keys=settings.data.keys,
        require=("energy",) if energies else (),
        charge_tolerance=settings.data.charge_tolerance,
        format=settings.data.format,
        ignore=settings.data.ignore,
    )
    refuse_losses(contents.usage)
    refuse_problems(path, contents.problems)
    return contents
