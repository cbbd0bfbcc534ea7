"""Training: stages of AdamW over batches, validated, checkpointed and resumable."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from lrpot.data import LABELS, Batch, Structure, make_batches
from lrpot.errors import InputError
from lrpot.potential import Potential, trainable
from lrpot.training.calibrate import (
    calibrate,
    is_calibrated,
    keep_descriptors,
    kept_bytes,
    scale_charge_input,
)
from lrpot.training.checkpoint import fingerprint, read_checkpoint, read_notes, write_checkpoint
from lrpot.training.loss import loss, predict_batch, squared_errors
from lrpot.training.progress import Reporter, reporter
from lrpot.training.stages import PARTS, Stage, check_stages, default_stages

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


class _State(eqx.Module):
    """Parameters of a stage, in the shape of a potential, and the state of its optimiser."""

    parameters: Potential
    average: Potential
    best: Potential
    optimiser: Any


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
        progress: Whether to show a progress bar.

    Raises:
        InputError: If the data lack what the stages train on, hold an unknown element, or the
            folder holds the checkpoint of another training.
        FloatingPointError: If the loss is not finite any more.
    """
    if not train:
        raise InputError("There are no structures to train on.")
    stages = default_stages(potential, train) if stages is None else tuple(stages)
    check_stages(stages, potential, train)
    folder = None if folder is None else Path(folder)
    settings = (stages, atomic_energies, scaling, keep, seed)
    data = [
        (one.system, [getattr(one, label) for label in LABELS]) for one in (*train, *validation)
    ]
    notes = _Notes(fingerprint(repr(settings), len(train), potential, data))
    stored = _stored_notes(folder, notes)

    batches = [batch for batch, _ in make_batches(train, potential)]
    held_out = [batch for batch, _ in make_batches(validation, potential)]
    new = not is_calibrated(potential)
    if new:
        potential = calibrate(
            potential, train, batches, atomic_energies=atomic_energies, scaling=scaling
        )
    if keep and kept_bytes(potential, (*batches, *held_out)) <= KEEP_AT_MOST:
        batches = [keep_descriptors(potential, batch) for batch in batches]
        held_out = [keep_descriptors(potential, batch) for batch in held_out]
    if stored is not None:
        notes = stored

    with reporter(progress, stages, notes.history) as report:
        for number in range(notes.stage, len(stages)):
            if number > notes.stage:
                notes = dataclasses.replace(
                    notes, stage=number, epoch=0, best_loss=float("inf"), waited=0
                )
            if folder is not None and stored is not None and number == stored.stage:
                stage = _Trainer(stages[number], seed + number, potential, batches, held_out)
                stage.state, stage.rest = read_checkpoint(folder, (stage.state, stage.rest))
            else:
                if new:
                    potential = _with_charge_input(potential, stages, number, batches)
                stage = _Trainer(stages[number], seed + number, potential, batches, held_out)
            potential = _run(stage, notes, folder, checkpoint_seconds, report)
    return Fit(potential, notes.history)


def _run(
    stage: "_Trainer",
    notes: _Notes,
    folder: Path | None,
    checkpoint_seconds: float,
    report: Reporter,
) -> Potential:
    settings = stage.settings
    begun = time.monotonic() - (notes.history[-1]["seconds"] if notes.epoch else 0.0)
    written = time.monotonic()
    while notes.epoch < settings.epochs:
        if settings.patience and notes.waited >= settings.patience:
            break
        train_errors = stage.epoch(notes.epoch)
        validation_errors, validation_loss = stage.validate()
        notes.epoch += 1
        row = {
            "stage": settings.name,
            "epoch": notes.epoch,
            "seconds": time.monotonic() - begun,
            "train": train_errors,
            "validation": validation_errors,
        }
        if not all(np.isfinite(list(train_errors.values()))):
            raise FloatingPointError(
                f"The training error is not finite in epoch {notes.epoch} of stage "
                f"`{settings.name}`: {train_errors}. Lower `learning_rate`, or look for outliers "
                "in the data."
            )
        notes.history.append(row)
        notes.waited += 1
        if validation_loss is None or validation_loss < notes.best_loss:
            notes.best_loss = notes.best_loss if validation_loss is None else validation_loss
            notes.waited = 0
            stage.keep_best()
        report(row)
        last = notes.epoch == settings.epochs
        if folder is not None and (last or time.monotonic() - written > checkpoint_seconds):
            write_checkpoint(folder, (stage.state, stage.rest), dataclasses.asdict(notes))
            written = time.monotonic()
    return eqx.combine(stage.state.best, stage.rest)


class _Trainer:
    """Compiled steps of one stage. Parameters travel, all else of the potential stays."""

    def __init__(
        self,
        settings: Stage,
        seed: int,
        potential: Potential,
        batches: Sequence[Batch],
        held_out: Sequence[Batch],
    ):
        self.settings, self.seed = settings, seed
        self.batches, self.held_out = batches, held_out
        learnt = trainable(potential)
        for part in PARTS:
            if part not in settings.train:
                learnt = eqx.tree_at(
                    lambda tree, part=part: getattr(tree, part),
                    learnt,
                    jax.tree.map(lambda _: False, getattr(learnt, part)),
                    is_leaf=lambda leaf: leaf is None,
                )
        parameters, self.rest = eqx.partition(potential, learnt)
        self.weights = {
            label: weight
            for label, weight in dataclasses.asdict(settings.weights).items()
            if weight
        }
        self.sizes = [min(settings.batch_size, batch.size) for batch in batches]
        updates = sum(batch.size // size for batch, size in zip(batches, self.sizes, strict=True))
        self.optimiser = _optimiser(settings, settings.epochs * updates)
        self.state = _State(parameters, parameters, parameters, self.optimiser.init(parameters))
        self._updates = eqx.filter_jit(self._update_all)
        self._errors = eqx.filter_jit(
            lambda parameters, rest, batch: squared_errors(
                eqx.combine(parameters, rest), batch, self.weights
            )
        )

    def keep_best(self) -> None:
        """Remember the averaged parameters as the best so far."""
        self.state = dataclasses.replace(self.state, best=self.state.average)

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the data in an order that depends on seed and epoch alone."""
        random = np.random.default_rng((self.seed, epoch))
        groups = []
        for number, (batch, size) in enumerate(zip(self.batches, self.sizes, strict=True)):
            order = random.permutation(batch.size)[: batch.size // size * size].reshape(-1, size)
            groups += [
                (number, rows) for rows in (order[:, None] if len(self.batches) > 1 else [order])
            ]
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for at in random.permutation(len(groups)):
            number, rows = groups[at]
            self.state, means = self._updates(
                self.state, self.rest, self.batches[number], jnp.asarray(rows)
            )
            for label, values in means.items():
                # The mean of an update is over the structures that have the label.
                known = np.asarray(self.batches[number].known[label])[rows].sum(axis=1)
                sums[label] = sums.get(label, 0.0) + float(known @ np.asarray(values))
                counts[label] = counts.get(label, 0.0) + float(known.sum())
        return {label: (sums[label] / counts[label]) ** 0.5 for label in sums if counts[label]}

    def validate(self) -> tuple[dict[str, float], float | None]:
        """Errors of the averaged parameters on the validation set, and their weighted sum."""
        sums: dict[str, float] = dict.fromkeys(self.weights, 0.0)
        counts: dict[str, float] = dict.fromkeys(self.weights, 0.0)
        for batch in self.held_out:
            for label, errors in self._errors(self.state.average, self.rest, batch).items():
                sums[label] += float(errors.sum())
                counts[label] += float(batch.known[label].sum())
        means = {label: sums[label] / counts[label] for label in sums if counts[label]}
        if not means:
            return {}, None
        total = sum(self.weights[label] * mean for label, mean in means.items())
        return {label: mean**0.5 for label, mean in means.items()}, total

    def _update_all(
        self, state: _State, rest: Potential, data: Batch, rows: Array
    ) -> tuple[_State, dict[str, Array]]:
        decay = self.settings.averaging

        def update(state: _State, row: Array) -> tuple[_State, dict[str, Array]]:
            objective = lambda parameters: loss(  # noqa: E731
                eqx.combine(parameters, rest), data[row], self.weights
            )
            gradient, means = jax.grad(objective, has_aux=True)(state.parameters)
            step, optimiser = self.optimiser.update(
                gradient,
                state.optimiser,
                state.parameters,  # pyright: ignore[reportArgumentType]  (any tree will do)
            )
            parameters = eqx.apply_updates(state.parameters, step)
            average = jax.tree.map(
                lambda old, new: decay * old + (1 - decay) * new, state.average, parameters
            )
            return _State(parameters, average, state.best, optimiser), means

        return jax.lax.scan(update, state, rows)


def _optimiser(stage: Stage, updates: int) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.1 * stage.learning_rate,
        peak_value=stage.learning_rate,
        warmup_steps=updates // 50 + 1,
        decay_steps=max(updates, updates // 50 + 2),
        end_value=0.01 * stage.learning_rate,
    )
    return optax.chain(
        optax.clip_by_global_norm(stage.clip),
        optax.adamw(schedule, b2=0.99, weight_decay=stage.weight_decay),
    )


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
