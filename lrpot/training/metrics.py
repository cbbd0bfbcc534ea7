"""How well a potential reproduces reference data: RMSE and MAE, whole and in groups."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from lrpot.committee import Committee
from lrpot.data import LABELS, Structure, make_batches
from lrpot.elements import SYMBOLS
from lrpot.errors import InputError
from lrpot.potential import Potential
from lrpot.predict import check_prediction
from lrpot.system import Prediction
from lrpot.training.loss import predict_batch


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors of one quantity.

    Attributes:
        rmse, mae: Root mean square and mean absolute error per component, energies per atom;
            in eV/atom, eV/Å, eV/Å³, e, e Å or e Å².
        count: Number of components compared.
    """

    rmse: float
    mae: float
    count: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Comparison of a potential with reference data.

    Attributes:
        total: Errors by label.
        by_element: Errors of forces and charges by chemical symbol and label.
        by_total_charge: Errors by total charge of the system and label.
        reference, predicted: For every label, all components one after the other, in the order
            of the structures; energies per atom and in eV.
        predictions: The prediction for each structure, without padding.
    """

    total: dict[str, Errors]
    by_element: dict[str, dict[str, Errors]]
    by_total_charge: dict[str, dict[str, Errors]]
    reference: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]
    predictions: list[Prediction]

    def as_dict(self) -> dict[str, Any]:
        """The errors as plain numbers, fit for JSON."""
        groups = ("total", "by_element", "by_total_charge")
        return {name: _plain(getattr(self, name)) for name in groups}


def predict_structures(
    potential: Potential | Committee,
    structures: Sequence[Structure],
    *,
    forces: bool = True,
    stress: bool = True,
) -> list[Prediction]:
    """Predictions for many structures, in their order and without padding.

    Raises:
        InputError: As `lrpot.predict`; the structure is named.
    """
    results: dict[int, Prediction] = {}
    for batch, chosen in make_batches(structures, potential):
        periodic = batch.systems.cell is not None
        stacked = _predict(potential, batch, forces=forces, stress=forces and stress and periodic)
        for row, number in enumerate(chosen):
            one = _unpadded(stacked, row, structures[number].system.n_atoms)
            try:
                check_prediction(one)
            except InputError as error:
                raise InputError(f"{structures[number].name}: {error}") from None
            results[int(number)] = one
    return [results[number] for number in range(len(structures))]


def evaluate_structures(
    potential: Potential | Committee, structures: Sequence[Structure]
) -> Evaluation:
    """Compare a potential with whatever labels the structures have.

    Args:
        potential: The potential, or a committee.
        structures: Reference structures, of any sizes and boundaries.

    Raises:
        InputError: If there is nothing to compare, and as `lrpot.predict`, the structure named.
    """
    wants_stress = any(one.stress is not None for one in structures)
    predictions = predict_structures(potential, structures, stress=wants_stress)
    reference: dict[str, list[np.ndarray]] = {}
    predicted: dict[str, list[np.ndarray]] = {}
    groups: dict[tuple[str, str, str], list[np.ndarray]] = {}
    for structure, prediction in zip(structures, predictions, strict=True):
        total_charge = float(structure.system.total_charge)
        charge = f"{total_charge:+g}" if total_charge else "0"
        for label, expected, found in _pairs(structure, prediction):
            reference.setdefault(label, []).append(expected.ravel())
            predicted.setdefault(label, []).append(found.ravel())
            difference = found - expected
            groups.setdefault(("charge", charge, label), []).append(difference.ravel())
            if label in ("forces", "charges"):
                numbers = np.asarray(structure.system.numbers)
                for number in np.unique(numbers):
                    key = ("element", SYMBOLS[number], label)
                    groups.setdefault(key, []).append(difference[numbers == number].ravel())
    if not reference:
        raise InputError(
            f"There is nothing to compare: none of the {len(structures)} structures has a label "
            "that the potential predicts. Check the keys of the data file."
        )
    joined_reference = {label: np.concatenate(all_) for label, all_ in reference.items()}
    joined_predicted = {label: np.concatenate(all_) for label, all_ in predicted.items()}
    return Evaluation(
        total={
            label: _errors(joined_predicted[label] - joined_reference[label])
            for label in joined_reference
        },
        by_element=_grouped(groups, "element"),
        by_total_charge=_grouped(groups, "charge"),
        reference=joined_reference,
        predicted=joined_predicted,
        predictions=predictions,
    )


def _pairs(
    structure: Structure, prediction: Prediction
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for label in LABELS:
        expected, found = getattr(structure, label), getattr(prediction, label)
        if expected is not None and found is not None:
            share = structure.system.n_atoms if label == "energy" else 1
            yield label, np.asarray(expected) / share, np.asarray(found) / share


def _errors(differences: np.ndarray) -> Errors:
    return Errors(
        rmse=float(np.sqrt(np.mean(differences**2))),
        mae=float(np.mean(np.abs(differences))),
        count=differences.size,
    )


def _grouped(
    groups: dict[tuple[str, str, str], list[np.ndarray]], kind: str
) -> dict[str, dict[str, Errors]]:
    result: dict[str, dict[str, Errors]] = {}
    for (this, name, label), differences in sorted(groups.items()):
        if this == kind:
            result.setdefault(name, {})[label] = _errors(np.concatenate(differences))
    return result


def _plain(errors: Any) -> Any:
    if isinstance(errors, Errors):
        return dataclasses.asdict(errors)
    return {name: _plain(one) for name, one in errors.items()}


_predict = eqx.filter_jit(predict_batch)


_PER_ATOM = ("energies", "forces", "charges", "electronegativity", "adjoint", "extrapolation")


def _unpadded(stacked: Prediction, row: int, n_atoms: int) -> Prediction:
    """One row of stacked predictions; `forces` and `charges` of its uncertainty are by atom too."""

    def cut(path: tuple[Any, ...], value: Any) -> Any:
        return value[row, :n_atoms] if path[-1].name in _PER_ATOM else value[row]

    return jax.tree_util.tree_map_with_path(cut, stacked)
