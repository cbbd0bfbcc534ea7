"""Whether data suffice to learn from, and whether what was learnt holds elsewhere."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrpot.data import LABELS, Structure
from lrpot.data.repeats import count_distinct
from lrpot.elements import SYMBOLS, symbols
from lrpot.errors import InputError, InputWarning
from lrpot.potential import Potential

FEW = 5
"""Fewer different structures than this are worth a warning."""

NO_RANGE = 1e-6
"""Features that vary by less than this come from the same surroundings, written down twice."""

NO_SPREAD = 1e-3
"""Charges of an element that vary by less, in e, do not depend on the structure."""

WORSE = 30.0
"""Errors that grew by this factor, a mean square by a thousand, are worth a warning."""

SMALL = 1e-3
"""An error below this, in eV/atom, eV/Å or e, is small whatever that of training is."""


def check_surroundings(potential: Potential) -> None:
    """Refuse data in which every atom has the same surroundings as all others of its element.

    Args:
        potential: With the statistics of the training data.

    Raises:
        InputError: If no feature of any element varies.
    """
    scaling = potential.descriptor.scaling  # pyright: ignore[reportAttributeAccessIssue]
    constant = (np.asarray(scaling.maximum - scaling.minimum) < NO_RANGE).all(axis=1)
    if constant.all():
        raise InputError(
            "There is nothing to learn from these structures: all atoms of an element "
            f"({symbols(potential.elements)}) have the same surroundings, so that energies and "
            "forces cannot be told to depend on them. Add structures with other geometries."
        )


def warn_of_data(structures: Sequence[Structure], labels: Sequence[str]) -> None:
    """Warn of few different structures, and of labels that do not vary.

    Args:
        structures: The training data.
        labels: That are trained on, of `LABELS`.
    """
    distinct = count_distinct(structures, at_most=FEW)
    if distinct < FEW:
        _warn(
            f"There {'is' if distinct == 1 else 'are'} only {distinct} different "
            f"structure{'s' * (distinct > 1)} to train on (of {len(structures)}): errors for other "
            "geometries can be large, whatever the errors of training are. Add structures that "
            "sample what the potential is for."
        )
    if distinct > 1:
        for label in labels:
            found = _without_spread(structures, label)
            if found:
                _warn(
                    f"{found} in the training data: there is nothing to be learnt from them about "
                    f"how {label} depend on the geometry. Look whether the file holds what was "
                    f"computed, or leave {label} out."
                )


def warn_of_validation(
    rows: Sequence[Mapping[str, Any]], kept: Mapping[str, Any], stage: str
) -> None:
    """Warn where the errors on the validation data say that a stage went wrong.

    Args:
        rows: The history of the stage.
        kept: The row of the parameters that were kept.
        stage: Its name.
    """
    if not kept["validation"]:
        return
    if kept["epoch"] == 1 and len(rows) >= 10:
        _warn(
            f"Stage `{stage}`: the errors on the validation data were never less than after the "
            f"first of {len(rows)} epochs, whose parameters were kept. What the training data "
            "teach does not hold for the validation data: too few structures, or others."
        )
    last = rows[-1]["validation"]
    for label in LABELS:
        if label not in last:
            continue
        growth = last[label] / max(kept["validation"][label], 1e-12)
        gap = kept["validation"][label] / max(kept["train"].get(label, np.inf), 1e-12)
        if growth >= WORSE:
            _warn(
                f"Stage `{stage}`: the {label} error on the validation data grew by a factor of "
                f"{growth:.3g} from epoch {kept['epoch']}, which was kept, to the last: the "
                "training data are overfitted. More structures help, or fewer epochs."
            )
        elif gap >= WORSE and kept["validation"][label] > SMALL:
            _warn(
                f"Stage `{stage}`: the {label} error on the validation data is {gap:.3g} times "
                "that on the training data, which are overfitted. More structures help."
            )


def _without_spread(structures: Sequence[Structure], label: str) -> str:
    """What does not vary of a label, in words; empty if it does or if one cannot tell."""
    labelled = [one for one in structures if getattr(one, label) is not None]
    values = [np.asarray(getattr(one, label), float) for one in labelled]
    if len(values) < 2:
        return ""
    if label == "charges":
        numbers = np.concatenate([np.asarray(one.system.numbers) for one in labelled])
        charges = np.concatenate(values)
        same = [
            f"{SYMBOLS[number]} (all {charges[numbers == number].mean():.4g} e)"
            for number in np.unique(numbers)
            if (numbers == number).sum() > 1 and charges[numbers == number].std() < NO_SPREAD
        ]
        return f"The charges of {', '.join(same)} do not vary" if same else ""
    if label == "energy":
        groups: dict[tuple[int, ...], list[float]] = {}
        for one, value in zip(labelled, values, strict=True):
            composition = tuple(np.sort(one.system.numbers).tolist())
            groups.setdefault(composition, []).append(float(value))
        repeated = [group for group in groups.values() if len(group) > 1]
        same = bool(repeated) and all(np.ptp(group) == 0 for group in repeated)
        return "Structures of the same composition all have the same energy" if same else ""
    flat = np.concatenate([one.ravel() for one in values])
    return f"All values of `{label}` are {flat[0]:g}" if np.ptp(flat) == 0 else ""


def _warn(message: str) -> None:
    warnings.warn(message, InputWarning, stacklevel=4)
