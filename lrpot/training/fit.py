"""Training: stages of updates over batches, validated, checkpointed and resumable."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from lrpot.checkpoint import fingerprint, read_checkpoint, read_notes, write_checkpoint
from lrpot.data import LABELS, Batch, Structure, make_batches
from lrpot.errors import InputError
from lrpot.potential import Potential
from lrpot.training.calibrate import (
    calibrate,
    is_calibrated,
    keep_descriptors,
    kept_bytes,
    offsets_of,
    relative,
    scale_charge_input,
    with_offsets,
)
from lrpot.training.devices import find_devices, writes
from lrpot.training.loss import predict_batch
from lrpot.training.progress import Reporter, reporter
from lrpot.training.stages import Stage, check_stages, default_stages
from lrpot.training.trainer import NotFinite, Trainer

KEEP_AT_MOST = 8e9
"""Memory that kept descriptors and Jacobians may take, in bytes."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Outcome of a training.

    Attributes:
        potential: The trained potential.
        history: One row per epoch: `stage`, `epoch`, `seconds`, and root mean square errors by
            label, `train` during the epoch and `validation` after it, in eV/atom, eV/Å, e, ….
    """

    potential: Potential
    history: list[dict[str, Any]]


@dataclasses.dataclass
class _Notes:
    """What a checkpoint says beside its arrays."""

    fingerprint: str
    stage: int = 0
    epoch: int = 0
    best_loss: float = float("inf")
    waited: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def fit(
    potential: Potential,
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
    progress: bool = True,
) -> Fit:
    """Train a potential on reference structures.

    Statistics of a new potential (energy offsets, scalings) are set from the training data first;
    one that has them, because it was trained before, keeps them.
    Structures of any size, boundary and total charge can be mixed. With a folder the training
    can be killed at any moment and, called again with the same arguments, goes on from its last
    checkpoint to the very parameters that an unbroken run ends with.

    Args:
        potential: From a recipe of `lrpot.MODELS`, or trained before.
        train: What to train on.
        validation: What chooses the best parameters of each stage and ends it early; without
            it, the last ones are taken.
        stages: What to train in turn; `default_stages` when not given.
        atomic_energies: Energy offsets by symbol, in eV; least squares when not given.
        scaling: Scaling of the descriptor, of `lrpot.descriptors.scaling.MODES`.
        keep: Compute descriptors and their Jacobians once and keep them, which saves most of
            the time. They take atoms · features · neighbours · 3 numbers per structure, and are
            computed anew in every step if that is more than `KEEP_AT_MOST` bytes in all.
        folder: For checkpoints.
        checkpoint_seconds: Least time between two checkpoints.
        seed: Of the order of the structures.
        devices: How many share the structures of each update; all that JAX finds when not given.
            Each holds all data. Parameters agree with those from one device within rounding.
            Several processes that `jax.distributed` has brought together call this alike, and
            use all of their devices; only the first writes files.
        progress: Whether to show a progress bar.

    Raises:
        InputError: If the data lack what the stages train on, hold an unknown element, or the
            folder holds the checkpoint of another training.
        FloatingPointError: If an update is not finite; it is not made, and structures that cause it
            are named.
    """
    if not train:
        raise InputError("There are no structures to train on.")
    stages = default_stages(potential, train) if stages is None else tuple(stages)
    check_stages(stages, potential, train)
    shared = find_devices(devices)
    folder = None if folder is None else Path(folder)
    settings = (stages, atomic_energies, scaling, keep, seed)
    data = [
        (one.system, [getattr(one, label) for label in LABELS]) for one in (*train, *validation)
    ]
    notes = _Notes(fingerprint(repr(settings), len(train), potential, data))
    stored = _stored_notes(folder, notes)

    stacked = make_batches(train, potential)
    batches = [batch for batch, _ in stacked]
    names = [[train[number].name for number in chosen] for _, chosen in stacked]
    new = not is_calibrated(potential)
    if new:
        potential = calibrate(
            potential, train, batches, atomic_energies=atomic_energies, scaling=scaling
        )
    offsets = offsets_of(potential)
    potential = with_offsets(potential, offsets_of(potential) - offsets)
    batches = [
        relative(batch, [train[number] for number in chosen], potential.elements, offsets)
        for batch, chosen in stacked
    ]
    held_out = [
        relative(batch, [validation[number] for number in chosen], potential.elements, offsets)
        for batch, chosen in make_batches(validation, potential)
    ]
    if keep and kept_bytes(potential, (*batches, *held_out)) <= KEEP_AT_MOST:
        batches = [keep_descriptors(potential, batch) for batch in batches]
        held_out = [keep_descriptors(potential, batch) for batch in held_out]
    if stored is not None:
        notes = stored

    with reporter(progress and writes(), stages, notes.history) as report:
        for number in range(notes.stage, len(stages)):
            if number > notes.stage:
                notes = dataclasses.replace(
                    notes, stage=number, epoch=0, best_loss=float("inf"), waited=0
                )
            resumed = folder is not None and stored is not None and number == stored.stage
            if new and not resumed:
                potential = _with_charge_input(potential, stages, number, batches)
            stage = Trainer(stages[number], seed + number, potential, batches, held_out, shared)
            if folder is not None and resumed:
                stage.put(*read_checkpoint(folder, (stage.state, stage.rest)))
            potential = _run(stage, notes, names, folder, checkpoint_seconds, report)
    return Fit(with_offsets(potential, offsets_of(potential) + offsets), notes.history)


def _run(
    stage: Trainer,
    notes: _Notes,
    names: list[list[str]],
    folder: Path | None,
    checkpoint_seconds: float,
    report: Reporter,
) -> Potential:
    settings = stage.settings
    begun = time.monotonic() - (notes.history[-1]["seconds"] if notes.epoch else 0.0)
    written = time.monotonic()
    while notes.epoch != settings.epochs:
        if settings.patience and notes.waited >= settings.patience:
            break
        try:
            train_errors = stage.epoch(notes.epoch)
        except NotFinite as failed:
            spoilt = [names[failed.number][row] for row in stage.spoilt(failed.number, failed.rows)]
            raise FloatingPointError(_not_finite(settings, notes.epoch + 1, spoilt)) from None
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
        if validation_loss is None or validation_loss < notes.best_loss:
            notes.best_loss = notes.best_loss if validation_loss is None else validation_loss
            notes.waited = 0
            stage.keep_best()
        report(row)
        last = notes.epoch == settings.epochs
        due = last or time.monotonic() - written > checkpoint_seconds
        if folder is not None and due and writes():
            write_checkpoint(folder, (stage.state, stage.rest), dataclasses.asdict(notes))
            written = time.monotonic()
    return stage.result()


def _not_finite(settings: Stage, epoch: int, spoilt: list[str]) -> str:
    message = (
        f"Training stopped before an update that is not finite, in epoch {epoch} of stage "
        f"`{settings.name}`. "
    )
    if spoilt:
        shown = "; ".join(spoilt[:5])
        return (
            f"{message}The error or its gradient is not finite for {shown}: look at geometry and "
            "labels, `lrpot check` helps, and leave out what is wrong."
        )
    remedy = {"adam": "Lower `learning_rate`", "kalman": "Give `noise` a first value"}
    return f"{message}{remedy[settings.optimiser]}, or look for outliers with `lrpot check`."


def _with_charge_input(
    potential: Potential, stages: Sequence[Stage], number: int, batches: Sequence[Batch]
) -> Potential:
    """Scale the charge input before the stage that first trains the networks which see it."""
    before = [part for stage in stages[:number] for part in stage.train]
    if "terms" not in stages[number].train or "terms" in before or potential.charge_model is None:
        return potential
    if "charge_model" in before:
        predicted = eqx.filter_jit(predict_batch)
        charges = [predicted(potential, batch, forces=False).charges for batch in batches]
    elif all(bool((batch.known["charges"] > 0).all()) for batch in batches):
        charges = [batch.labels["charges"] for batch in batches]
    else:
        return potential
    numbers = np.concatenate([np.asarray(batch.systems.numbers).ravel() for batch in batches])
    values = np.concatenate([np.asarray(one).ravel() for one in charges])
    return scale_charge_input(potential, values, numbers)


def _stored_notes(folder: Path | None, notes: _Notes) -> _Notes | None:
    stored = None if folder is None else read_notes(folder)
    if stored is None:
        return None
    if stored.get("fingerprint") != notes.fingerprint:
        raise InputError(
            f"{folder} holds the checkpoint of another training: its data, first parameters, "
            "stages or seed differ. Train in another folder, or delete the checkpoint to start "
            "over."
        )
    return _Notes(**stored)
