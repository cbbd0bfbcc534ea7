"""Uncertainties of a committee that are the size of its errors."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from lrpot.committee import QUANTITIES, Committee
from lrpot.data import Structure
from lrpot.errors import InputError
from lrpot.training.metrics import predict_structures


def calibrate_uncertainty(committee: Committee, structures: Sequence[Structure]) -> Committee:
    """The committee with a factor for each quantity that has labels.

    The factor α = ⟨error²/σ²⟩^½ makes the errors of these structures as large as their
    uncertainties ασ in the root mean square [imbalzano:21]. Members that were trained on the same
    data agree too well: α is then above 1.

    Args:
        committee: Any; earlier factors are replaced.
        structures: That it was not trained on, such as the validation data.

    Raises:
        InputError: If no structure has a label of which there is an uncertainty.
    """
    plain = Committee(committee.members)
    ratios: dict[str, list[np.ndarray]] = {}
    found = predict_structures(plain, structures, stress=False)
    for structure, prediction in zip(structures, found, strict=True):
        for label in QUANTITIES:
            reference, spread = getattr(structure, label), getattr(prediction.uncertainty, label)
            if reference is None or spread is None:
                continue
            squares = (np.asarray(getattr(prediction, label)) - reference) ** 2
            squares = squares.mean(axis=1) if label == "forces" else squares
            variance = np.maximum(np.asarray(spread) ** 2, np.finfo(float).tiny)
            ratios.setdefault(label, []).append(np.ravel(squares / variance))
    if not ratios:
        raise InputError(
            f"None of the {len(structures)} structures has one of the labels that a committee is "
            f"uncertain of: {', '.join(QUANTITIES)}."
        )
    factors = {label: jnp.sqrt(np.concatenate(values).mean()) for label, values in ratios.items()}
    return Committee(committee.members, {**plain.factors, **factors})
