"""What a training has come to, as its checkpoints store it and as it is told."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrpot.checkpoint import read_notes, write_checkpoint
from lrpot.committee import Committee
from lrpot.data import Structure
from lrpot.elements import SYMBOLS
from lrpot.errors import FileError, InputError
from lrpot.potential import Potential
from lrpot.training.progress import Reporter, describe_row
from lrpot.training.stages import Stage
from lrpot.training.sufficiency import warn_of_validation
from lrpot.training.trainer import Trainer


@dataclasses.dataclass
class Notes:
    """What a checkpoint says beside its arrays."""

    fingerprint: str
    stage: int = 0
    epoch: int = 0
    best_loss: float | list[float] = float("inf")
    best_epoch: int | list[int] = 0
    waited: int = 0
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def stored_notes(folder: Path | None, notes: Notes) -> Notes | None:
    """The notes of the checkpoint in a folder, which must be of the same training."""
    stored = None if folder is None else read_notes(folder)
    if stored is None:
        return None
    if stored.get("fingerprint") != notes.fingerprint:
        raise InputError(
            f"{folder} holds the checkpoint of another training: its data, first parameters, "
            "stages or seed differ. Train in another folder, or delete the checkpoint to start "
            "over."
        )
    return Notes(**stored)


def write_notes(folder: Path, stage: Trainer, notes: Notes) -> None:
    """Write a checkpoint."""
    try:
        write_checkpoint(folder, (stage.state, stage.rest), dataclasses.asdict(notes))
    except FileError as error:
        raise FileError(
            f"Training stopped after epoch {notes.epoch} of stage `{stage.settings.name}`, which "
            f"could not be stored: {error} The checkpoint before it is kept; train again in the "
            "same way to go on from there."
        ) from error


def summary(
    potential: Potential | Committee,
    train: Sequence[Structure],
    validation: Sequence[Structure],
    labels: Sequence[str],
) -> str:
    """What is trained on what, in a sentence."""
    elements = ", ".join(SYMBOLS[number] for number in potential.elements)
    what = f"{potential.recipe} ({elements})"
    if isinstance(potential, Committee):
        what = f"a committee of {len(potential.members)} {what}"
    counts = [(name, sum(getattr(one, name) is not None for one in train)) for name in labels]
    has = ", ".join(name if count == len(train) else f"{name} of {count}" for name, count in counts)
    held = f"{len(validation)} are held out for validation" if validation else "no validation data"
    return f"Training {what} on {len(train)} structures with {has}; {held}."


def resumption(stored: Notes | None, stages: Sequence[Stage], folder: Path | None) -> str:
    """From where a training goes on, in a sentence; empty if it begins."""
    if stored is None:
        return ""
    stage = stages[stored.stage]
    ended = stored.stage == len(stages) - 1 and (
        stored.epoch == stage.epochs or bool(stage.patience and stored.waited >= stage.patience)
    )
    if ended:
        return f"This training has ended before: its outcome is taken from {folder}."
    return (
        f"Resuming the training in {folder} after epoch {stored.epoch} of {stage.epochs} of stage "
        f"{stage.name}."
    )


def conclude(name: str, notes: Notes, report: Reporter) -> None:
    """Say which epoch of a stage was kept, and warn if its errors are not good."""
    rows = [row for row in notes.history if row["stage"] == name]
    first, last = np.min(notes.best_epoch), np.max(notes.best_epoch)
    kept = next((row for row in rows if row["epoch"] == last), None)
    if kept is None:  # of a checkpoint that does not say which epoch was the best
        return
    which = f"epoch {last}" if first == last else f"epochs {first} to {last}, by member,"
    why = "the best on the validation data" if kept["validation"] else "the last"
    report.say(f"Stage {name}: kept {which} of {len(rows)}, {why}: {describe_row(kept)}.")
    warn_of_validation(rows, kept, name)


def not_finite(settings: Stage, epoch: int, spoilt: list[str]) -> str:
    """Why a training stopped, and what helps."""
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
    remedy = {
        "adam": "Lower `learning_rate`",
        "kalman": "Give `noise` a first value",
        "lbfgs": "Begin with some epochs of `adam`",
    }
    return f"{message}{remedy[settings.optimiser]}, or look for outliers with `lrpot check`."
