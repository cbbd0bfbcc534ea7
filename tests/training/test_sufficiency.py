"""Data from which little or nothing can be learnt: refused, or told."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure
from lrpot.data.repeats import count_distinct
from lrpot.errors import InputWarning, NonFiniteUpdateError
from lrpot.training import charge_stage, energy_stage, evaluate_structures, fit
from lrpot.training.sufficiency import warn_of_data, warn_of_validation

LABELS = ("energy", "forces", "charges")
SHORT = energy_stage(epochs=1, batch_size=1)


def moved(structure, number):
    """The same structure, turned and shifted."""
    angle = 0.3 * number
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    system = lrpot.System(
        np.asarray(structure.system.positions) @ turn.T + number,
        np.asarray(structure.system.numbers),
        total_charge=structure.system.total_charge,
    )
    return dataclasses.replace(structure, system=system, forces=structure.forces @ turn.T)


def told(function, *arguments):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*arguments)
    assert all(one.category is InputWarning for one in found)
    return [str(one.message) for one in found]


def test_equal_structures_are_counted_once(molecules):
    ten = [moved(molecules[0], number) for number in range(10)]
    assert count_distinct(ten, at_most=5) == 1
    assert count_distinct([*ten, molecules[1]], at_most=5) == 2
    assert count_distinct(molecules, at_most=5) == 5


@pytest.mark.parametrize(
    ("count", "copies", "words"),
    [
        (1, 1, "There is only 1 different structure to train on (of 1)"),
        (2, 1, "There are only 2 different structures to train on (of 2)"),
        (1, 10, "There is only 1 different structure to train on (of 10)"),
    ],
)
def test_few_different_structures_are_told(molecules, count, copies, words):
    structures = [moved(one, number) for one in molecules[:count] for number in range(copies)]
    (message,) = told(warn_of_data, structures, LABELS)
    assert words in message


def test_data_that_suffice_are_not_remarked_upon(molecules):
    assert told(warn_of_data, molecules, LABELS) == []


def test_labels_that_do_not_vary_are_told(molecules):
    formal = [
        dataclasses.replace(
            one,
            charges=np.where(np.asarray(one.system.numbers) == 8, -0.8, 0.4),
            forces=np.zeros_like(one.forces),
            energy=np.array(-3.0),
        )
        for one in molecules
    ]
    energy, forces, charges = told(warn_of_data, formal, LABELS)
    assert "Structures of the same composition all have the same energy" in energy
    assert "All values of `forces` are 0 in the training data" in forces
    assert "The charges of H (all 0.4 e), O (all -0.8 e) do not vary" in charges


def of_a_force_field(seeds, distortion):
    """Distorted water molecules of harmonic bonds and angles, with the charges of SPC."""

    def energy(positions):
        arms = positions[1:] - positions[:1]
        lengths = jnp.linalg.norm(arms, axis=1)
        cosine = arms[0] @ arms[1] / lengths.prod()
        return 24.0 * jnp.sum((lengths - 1.0) ** 2) + 2.0 * (cosine + 1 / 3) ** 2

    labels = jax.jit(jax.value_and_grad(energy))
    relaxed = np.array([[0, 0, 0], [1, 0, 0], [-1 / 3, np.sqrt(8) / 3, 0]])
    for seed in seeds:
        positions = relaxed + distortion * np.random.default_rng(seed).normal(size=(3, 3))
        value, slope = labels(positions)
        yield Structure(
            lrpot.System(positions, np.array([8, 1, 1])),
            energy=np.asarray(value),
            forces=-np.asarray(slope),
            charges=np.array([-0.82, 0.41, 0.41]),
        )


@pytest.mark.filterwarnings("ignore:The charges of")
def test_charges_of_a_force_field_do_not_spoil_the_forces():
    """The input of the networks hardly varies; its scale is tested with `scale_charge_input`."""
    train, test = (list(of_a_force_field(seeds, 0.08)) for seeds in (range(40), range(40, 50)))
    potential = lrpot.hdnnp_4g(("H", "O"), cutoff=3.0, hidden=(8,), key=jax.random.key(0))
    stages = charge_stage(epochs=30), energy_stage(epochs=200, batch_size=5)
    found = fit(potential, train, stages=stages, progress=False).potential
    errors = evaluate_structures(found, test).total
    assert errors["charges"].rmse < 1e-3
    sizes = np.concatenate([one.forces.ravel() for one in test])
    assert errors["forces"].rmse < 0.1 * np.sqrt(np.mean(sizes**2))


def test_structures_without_any_difference_in_surroundings_are_refused():
    """Hydrogen molecules of one bond length: no network can tell one from the other."""
    structures = [
        Structure(
            lrpot.System(np.array([[0, 0, 0], [0, 0, 0.74]]) + number, np.array([1, 1])),
            energy=np.array(-31.0),
            forces=np.zeros((2, 3)),
        )
        for number in range(3)
    ]
    potential = lrpot.hdnnp_2g(("H",), cutoff=3.0, hidden=(4,), key=jax.random.key(0))
    with (
        pytest.warns(InputWarning, match="only 1 different structure"),
        pytest.raises(lrpot.InputError, match=r"nothing to learn .* element \(H \(1\)\) have the"),
    ):
        fit(potential, structures, stages=(SHORT,), progress=False)


def test_no_structures_are_refused(tiny):
    with pytest.raises(lrpot.InputError, match=r"no structures to train on.*hold out fewer"):
        fit(tiny.potential("hdnnp_2g"), [], progress=False)


def row(epoch, train, validation):
    errors = [{"energy": 0.01, "forces": one} for one in (train, validation)]
    return {"epoch": epoch, "train": errors[0], "validation": errors[1]}


def test_validation_errors_that_grow_a_thousandfold_are_told():
    rows = [row(1, 1.0, 0.5), row(2, 0.1, 0.2), *(row(n, 0.1, 200.0) for n in range(3, 12))]
    (message,) = told(warn_of_validation, rows, rows[1], "energies")
    assert (
        "`energies`: the forces error on the validation data grew by a factor of 1e+03" in message
    )
    assert "from epoch 2, which was kept" in message


def test_a_stage_that_never_got_better_than_its_first_epoch_is_told():
    rows = [row(1, 1.0, 0.5), *(row(n, 0.1, 0.6) for n in range(2, 12))]
    (message,) = told(warn_of_validation, rows, rows[0], "energies")
    assert "never less than after the first of 11 epochs" in message


def test_validation_errors_far_above_those_of_training_are_told():
    rows = [row(1, 1.0, 0.5), row(2, 0.001, 0.4)]
    (message,) = told(warn_of_validation, rows, rows[1], "energies")
    assert "the forces error on the validation data is 400 times that on the training" in message


def test_a_training_that_went_well_is_not_remarked_upon():
    rows = [row(n, 1.0 / n, 1.2 / n) for n in range(1, 20)]
    assert told(warn_of_validation, rows, rows[-1], "energies") == []


def test_an_update_that_is_not_finite_is_an_error_of_the_user():
    assert issubclass(NonFiniteUpdateError, lrpot.InputError)
    assert issubclass(NonFiniteUpdateError, FloatingPointError)
