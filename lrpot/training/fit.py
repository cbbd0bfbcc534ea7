"""Training: stages of updates over batches, validated, checkpointed and resumable."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import equinox as eqx
import numpy as np

from lrpot.charges import Equilibration
from lrpot.checkpoint import fingerprint, read_checkpoint
from lrpot.committee import Committee, unstacked
from lrpot.config import Seed, convert
from lrpot.data import LABELS, Batch, Structure, make_batches
from lrpot.electrostatics import CoulombSum
from lrpot.errors import InputError, NonFiniteUpdateError
from lrpot.files import try_folder
from lrpot.potential import Potential
from lrpot.training.calibrate import (
    calibrate,
    is_calibrated,
    offsets_of,
    relative,
    scale_charge_input,
    with_offsets,
)
from lrpot.training.devices import find_devices, writes
from lrpot.training.keep import KEEP_AT_MOST, keep_geometry, kept_bytes
from lrpot.training.loss import predict_batch
from lrpot.training.notes import (
    Notes,
    conclude,
    not_finite,
    resumption,
    stored_notes,
    summary,
    write_notes,
)
from lrpot.training.progress import Reporter, reporter
from lrpot.training.stages import Stage, check_stages, default_stages
from lrpot.training.sufficiency import check_surroundings, warn_of_data
from lrpot.training.trainer import NotFinite, Trainer
from lrpot.training.uncertainty import calibrate_uncertainty

FACTORISE_UP_TO = 400
"""Atoms of the largest structure with which a training solves for charges by factorisation."""


Model = TypeVar("Model", Potential, Committee)


@dataclasses.dataclass(frozen=True)
class Fit(Generic[Model]):
    """Outcome of a training.

    Attributes:
        potential: The trained potential or committee.
        history: One row per epoch: `stage`, `epoch`, `seconds`, and root mean square errors by
            label, `train` during the epoch and `validation` after it, in eV/atom, eV/Å, e, ….
    """

    potential: Model
    history: list[dict[str, Any]]

    @property
    def seconds(self) -> float:
        """Of all epochs, without compilation: the first of a stage counts as its others do."""
        times: dict[str, list[float]] = {}
        for row in self.history:
            times.setdefault(row["stage"], []).append(row["seconds"])
        return float(
            sum(
                (one[-1] - one[0]) * len(one) / (len(one) - 1)
                for one in times.values()
                if len(one) > 1
            )
        )


def fit(
    potential: Model,
    train: Sequence[Structure],
    validation: Sequence[Structure] = (),
    *,
    stages: Sequence[Stage] | None = None,
    atomic_energies: Mapping[str, float] | None = None,
    scaling: str = "sigma",
    keep: bool = True,
    folder: str | Path | None = None,
    checkpoint_seconds: float = 20.0,
    seed: int = 0,
    devices: int | None = None,
    bootstrap: bool = False,
    progress: bool = True,
) -> Fit[Model]:
    """Train a potential on reference structures.

    Statistics of a new potential (energy offsets, scalings) are set from the training data first;
    one that has them, because it was trained before, keeps them.
    Structures of any size, boundary and total charge can be mixed. With a folder the training
    can be killed at any moment and, called again with the same arguments, goes on from its last
    checkpoint to the very parameters that an unbroken run ends with.

    Args:
        potential: From a recipe of `lrpot.MODELS`, or trained before; or a committee, whose
            members are trained together. With validation data its uncertainties are calibrated.
        train: What to train on.
        validation: What chooses the best parameters of each stage and ends it early; without
            it, the last ones are taken.
        stages: What to train in turn; `default_stages` when not given.
        atomic_energies: Energy offsets by symbol, in eV; least squares when not given.
        scaling: Scaling of the descriptor, of `lrpot.descriptors.scaling.MODES`.
        keep: Compute descriptors, their Jacobians and Coulomb matrices once and keep them, which
            saves most of the time. They take atoms · features · neighbours · 3 and atoms² numbers
            per structure, and are computed anew in every step if that is more than
            `KEEP_AT_MOST` bytes in all.
        folder: For checkpoints.
        checkpoint_seconds: Least time between two checkpoints.
        seed: Of the order of the structures.
        devices: How many share the structures of each update; all that JAX finds when not given.
            Each holds all data. Parameters agree with those from one device within rounding.
            Several processes that `jax.distributed` has brought together call this alike, and
            use all of their devices; only the first writes files.
        bootstrap: Whether each member of a committee sees a sample of the training data of its
            own, drawn with replacement.
        progress: Whether to say what is done: with a progress bar in a terminal, elsewhere with a
            line now and then.

    Raises:
        InputError: If the data lack what the stages train on, hold an unknown element, do not
            differ in geometry, or the folder holds the checkpoint of another training.
        FileError: If the folder cannot be written to, or the disk is full. The last checkpoint is
            kept, and the same call goes on from it.
        NonFiniteUpdateError: If an update is not finite; it is not made, and structures that cause
            it are named.

    Warns:
        InputWarning: If there are few different structures, labels do not vary, or the errors on
            the validation data say that the training data are overfitted.
    """
    if not train:
        raise InputError(
            "There are no structures to train on. Give some, or hold out fewer for validation."
        )
    seed = convert(Seed, seed, "`seed`")
    members = potential.members if isinstance(potential, Committee) else (potential,)
    stages = default_stages(potential, train) if stages is None else tuple(stages)
    check_stages(stages, potential, train, validated=bool(validation))
    shared = find_devices(devices)
    folder = None if folder is None else Path(folder)
    if folder is not None and writes():
        try_folder(folder)
    labels = [name for name in LABELS if any(getattr(one.weights, name) for one in stages)]
    warn_of_data(train, labels)
    settings = (stages, atomic_energies, scaling, keep, bootstrap, seed)
    data = [
        (one.system, one.weight, [getattr(one, label) for label in LABELS])
        for one in (*train, *validation)
    ]
    notes = Notes(fingerprint(repr(settings), len(train), potential, data))
    stored = stored_notes(folder, notes)

    charge_models = [one.charge_model for one in members]
    members = [_factorised(one, (*train, *validation)) for one in members]
    stacked = make_batches(train, members[0])
    batches = [batch for batch, _ in stacked]
    names = [[train[number].name for number in chosen] for _, chosen in stacked]
    emphasis = _emphasis(potential, stacked, bootstrap=bootstrap, seed=seed)
    new = not all(is_calibrated(one) for one in members)
    if new:
        members = [
            calibrate(one, train, batches, atomic_energies=atomic_energies, scaling=scaling)
            for one in members
        ]
        check_surroundings(members[0])
    offsets = offsets_of(members[0])
    members = [with_offsets(one, offsets_of(one) - offsets) for one in members]
    batches = [
        relative(batch, [train[number] for number in chosen], potential.elements, offsets)
        for batch, chosen in stacked
    ]
    held_out = [
        relative(batch, [validation[number] for number in chosen], potential.elements, offsets)
        for batch, chosen in make_batches(validation, members[0])
    ]
    keep = keep and kept_bytes(members[0], (*batches, *held_out)) <= KEEP_AT_MOST
    if keep and all(eqx.tree_equal(_fixed(one), _fixed(members[0])) for one in members):
        batches = [keep_geometry(members[0], batch) for batch in batches]
        held_out = [keep_geometry(members[0], batch) for batch in held_out]
    if stored is not None:
        notes = stored

    with reporter(progress and writes(), stages, notes.history) as report:
        report.say(summary(potential, train, validation, labels))
        report.say(resumption(stored, stages, folder))
        for number in range(notes.stage, len(stages)):
            if number > notes.stage:
                notes = dataclasses.replace(
                    notes,
                    stage=number,
                    epoch=0,
                    best_loss=float("inf"),
                    best_epoch=0,
                    waited=0,
                )
            resumed = folder is not None and stored is not None and number == stored.stage
            if new and not resumed:
                members = [_with_charge_input(one, stages, number, batches) for one in members]
            together = members[0] if emphasis is None else Committee(members).stacked
            stage = Trainer(
                stages[number], seed + number, together, batches, held_out, shared, emphasis
            )
            if folder is not None and resumed:
                stage.put(*read_checkpoint(folder, (stage.state, stage.rest)))
            stage.keep_charges()
            together = _run(stage, notes, names, folder, checkpoint_seconds, report)
            members = (together,) if emphasis is None else unstacked(together)
    members = [
        _solved_as(with_offsets(one, offsets_of(one) + offsets), model)
        for one, model in zip(members, charge_models, strict=True)
    ]
    if not isinstance(potential, Committee):
        return Fit(members[0], notes.history)
    committee: Any = Committee(members)
    if validation:
        committee = calibrate_uncertainty(committee, validation)
    return Fit(committee, notes.history)


def _fixed(potential: Potential) -> tuple[Any, Any]:
    """What decides about descriptors and Coulomb matrices."""
    return potential.descriptor, getattr(potential.charge_model, "radii", None)


def _factorised(potential: Potential, structures: Sequence[Structure]) -> Potential:
    """With charges by factorisation where nothing else was asked for and structures are small.

    One factorisation serves the many solves that an update needs of a structure.
    """
    model = potential.charge_model
    largest = max(one.system.n_atoms for one in structures)
    if not isinstance(model, Equilibration) or largest > FACTORISE_UP_TO:
        return potential
    coulomb = model.coulomb
    if model.solver == "auto" and isinstance(coulomb, CoulombSum) and coulomb.method == "auto":
        coulomb = dataclasses.replace(coulomb, method="ewald")
        model = dataclasses.replace(model, solver="dense", coulomb=coulomb)
    return dataclasses.replace(potential, charge_model=model)


def _solved_as(potential: Potential, before: eqx.Module | None) -> Potential:
    """With the solver and the Coulomb map that the charge model had before."""
    model = potential.charge_model
    if isinstance(model, Equilibration) and isinstance(before, Equilibration):
        model = dataclasses.replace(model, solver=before.solver, coulomb=before.coulomb)
    return dataclasses.replace(potential, charge_model=model)


def _emphasis(
    potential: Potential | Committee,
    stacked: Sequence[tuple[Batch, np.ndarray]],
    *,
    bootstrap: bool,
    seed: int,
) -> list[np.ndarray] | None:
    """How often each member of a committee sees each structure of each batch."""
    if not isinstance(potential, Committee):
        if bootstrap:
            raise InputError(
                "`bootstrap` is for committees: a single potential sees all data once."
            )
        return None
    total = sum(batch.size for batch, _ in stacked)
    counts = np.ones((len(potential.members), total))
    if bootstrap:
        random = np.random.default_rng((seed, total))
        counts = random.multinomial(total, np.full(total, 1 / total), size=len(counts)).astype(
            float
        )
    return [counts[:, chosen] for _, chosen in stacked]


def _run(
    stage: Trainer,
    notes: Notes,
    names: list[list[str]],
    folder: Path | None,
    checkpoint_seconds: float,
    report: Reporter,
) -> Potential:
    settings = stage.settings
    begun = time.monotonic() - (notes.history[-1]["seconds"] if notes.epoch else 0.0)
    written = time.monotonic()
    if folder is not None and writes():
        try_folder(folder, stage.n_bytes)
    if not notes.epoch:
        learnt = " and ".join(part.replace("_", " ") for part in settings.train)
        wanted = ", ".join(stage.weights)
        report.say(
            f"Stage {settings.name}: {settings.epochs} epochs of {settings.optimiser} train "
            f"{learnt} on {wanted}."
        )
    while notes.epoch != settings.epochs:
        if settings.patience and notes.waited >= settings.patience:
            break
        try:
            train_errors = stage.epoch(notes.epoch)
        except NotFinite as failed:
            spoilt = [
                names[number][row]
                for number, rows in failed.looked_at.items()
                for row in stage.spoilt(number, rows)
            ]
            raise NonFiniteUpdateError(not_finite(settings, notes.epoch + 1, spoilt)) from None
        validation_errors, validation_loss = stage.validate()
        notes.epoch += 1
        row = {
            "stage": settings.name,
            "epoch": notes.epoch,
            "seconds": time.monotonic() - begun,
            "train": train_errors,
            "validation": validation_errors,
        }
        notes.history.append(row)
        notes.waited += 1
        better = np.asarray(validation_loss is None or validation_loss < notes.best_loss)
        if validation_loss is not None:
            notes.best_loss = np.minimum(validation_loss, notes.best_loss).tolist()
        notes.best_epoch = np.where(better, notes.epoch, notes.best_epoch).tolist()
        if better.any():
            notes.waited = 0
            stage.keep_best(better)
        report.row(row)
        last = notes.epoch == settings.epochs
        due = last or time.monotonic() - written > checkpoint_seconds
        if folder is not None and due and writes():
            write_notes(folder, stage, notes)
            written = time.monotonic()
    conclude(settings.name, notes, report)
    return stage.result()


def _with_charge_input(
    potential: Potential, stages: Sequence[Stage], number: int, batches: Sequence[Batch]
) -> Potential:
    """Scale the charge input before the stage that first trains the networks which see it."""
    before = [part for stage in stages[:number] for part in stage.train]
    if "terms" not in stages[number].train or "terms" in before or potential.charge_model is None:
        return potential
    if "charge_model" in before:
        predicted = eqx.filter_jit(predict_batch)
        found = [predicted(potential, batch, forces=False).charges for batch in batches]
        charges = [one for one in found if one is not None]
    elif all(bool((batch.known["charges"] > 0).all()) for batch in batches):
        charges = [batch.labels["charges"] for batch in batches]
    else:
        return potential
    return scale_charge_input(potential, batches, charges)
