"""Errors of an evaluation, against a few lines of numpy."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.training import evaluate_structures
from lrpot.training.metrics import predict_structures

MOLECULAR = ["energy", "forces", "charges", "dipole", "quadrupole"]


@pytest.fixture(scope="module")
def potential(tiny):
    return tiny.potential("hdnnp_4g")


@pytest.fixture(scope="module")
def structures(molecules):
    """The last one has an energy only, and there is a neutral one with stress missing."""
    wrong = []
    for number, one in enumerate(molecules[:8]):
        n_atoms, rng = one.system.n_atoms, np.random.default_rng(number)
        changes = dict(
            energy=np.array(one.energy + 1.0),
            forces=rng.normal(size=(n_atoms, 3)),
            charges=rng.normal(size=n_atoms),
            dipole=rng.normal(size=3),
        )
        if number == 7:
            changes |= dict(forces=None, charges=None, dipole=None, quadrupole=None)
        wrong.append(dataclasses.replace(one, **changes))
    return wrong


@pytest.fixture(scope="module")
def evaluation(potential, structures):
    return evaluate_structures(potential, structures)


def differences(
    evaluation, structures, label, chosen=lambda one: np.ones(one.system.n_atoms, bool)
):
    """Prediction minus reference of one label, all components, atoms or structures chosen."""
    found = []
    for structure, prediction in zip(structures, evaluation.predictions, strict=True):
        reference = getattr(structure, label)
        if reference is None:
            continue
        difference = np.asarray(getattr(prediction, label)) - reference
        if label == "energy":
            difference = difference / structure.system.n_atoms
        if label in ("forces", "charges"):
            difference = difference[chosen(structure)]
        elif not chosen(structure).all():
            continue
        found.append(difference.ravel())
    return np.concatenate(found)


def check(errors, expected):
    assert errors.count == expected.size > 0
    np.testing.assert_allclose(errors.rmse, np.sqrt(np.mean(expected**2)), rtol=1e-12)
    np.testing.assert_allclose(errors.mae, np.abs(expected).mean(), rtol=1e-12)


@pytest.mark.parametrize("label", MOLECULAR)
def test_errors_are_over_all_components(evaluation, structures, label):
    expected = differences(evaluation, structures, label)
    check(evaluation.total[label], expected)
    both = evaluation.predicted[label] - evaluation.reference[label]
    np.testing.assert_allclose(both, expected, rtol=1e-12, atol=1e-15)


def test_labels_that_nothing_has_are_left_out(evaluation):
    assert set(evaluation.total) == set(MOLECULAR)


@pytest.mark.parametrize(("symbol", "number"), [("H", 1), ("O", 8)])
@pytest.mark.parametrize("label", ["forces", "charges"])
def test_errors_of_an_element_are_those_of_its_atoms(evaluation, structures, symbol, number, label):
    expected = differences(
        evaluation, structures, label, lambda one: np.asarray(one.system.numbers) == number
    )
    check(evaluation.by_element[symbol][label], expected)
    assert set(evaluation.by_element) == {"H", "O"}
    assert set(evaluation.by_element[symbol]) == {"forces", "charges"}


@pytest.mark.parametrize(("name", "charge"), [("-1", -1), ("0", 0), ("+1", 1)])
@pytest.mark.parametrize("label", MOLECULAR)
def test_errors_of_a_total_charge_are_those_of_its_structures(
    evaluation, structures, name, charge, label
):
    def chosen(one):
        return np.full(one.system.n_atoms, float(one.system.total_charge) == charge)

    check(
        evaluation.by_total_charge[name][label], differences(evaluation, structures, label, chosen)
    )
    assert set(evaluation.by_total_charge) == {"-1", "0", "+1"}


def test_an_evaluation_is_fit_for_json(evaluation):
    found = evaluation.as_dict()
    assert found["total"]["energy"] == dataclasses.asdict(evaluation.total["energy"])
    errors = evaluation.by_element["O"]["charges"]
    assert found["by_element"]["O"]["charges"] == dataclasses.asdict(errors)
    assert all(isinstance(one["rmse"], float) for one in found["by_total_charge"]["+1"].values())


def test_predictions_come_in_the_order_of_the_structures_without_padding(evaluation, structures):
    for structure, prediction in zip(structures, evaluation.predictions, strict=True):
        n_atoms = structure.system.n_atoms
        assert prediction.forces.shape == (n_atoms, 3)
        assert prediction.charges.shape == prediction.energies.shape == (n_atoms,)
        charge = float(structure.system.total_charge)
        np.testing.assert_allclose(prediction.charges.sum(), charge, atol=1e-12)
        np.testing.assert_allclose(prediction.energies.sum(), prediction.energy, rtol=1e-12)


def test_stress_is_compared_where_there_is_any(tiny):
    bare = tiny.structure(2, cell=4 * np.eye(3))
    structures = [dataclasses.replace(bare, stress=0.01 * np.eye(3)), bare]
    found = evaluate_structures(tiny.potential("hdnnp_2g"), structures)
    expected = np.asarray(found.predictions[0].stress) - 0.01 * np.eye(3)
    check(found.total["stress"], expected.ravel())
    assert set(found.total) == {"stress"}


def test_structures_without_any_label_are_an_input_error(tiny, potential):
    with pytest.raises(lrpot.InputError, match="nothing to compare"):
        evaluate_structures(potential, [tiny.structure(3)])


def test_charges_that_cannot_be_determined_name_the_structure(tiny, molecules):
    potential = tiny.potential("hdnnp_4g")
    nan = jnp.full(2, np.nan)
    broken = eqx.tree_at(lambda one: one.charge_model.hardness_root, potential, nan)
    with pytest.raises(lrpot.InputError, match=r"2 atoms, seed 0: The charges could not be"):
        predict_structures(broken, molecules[:8])
