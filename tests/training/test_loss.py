"""The errors that training minimises, by hand, and their gradients with kept descriptors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrpot.data import LABELS, make_batches
from lrpot.data.structures import label_shapes, traceless
from lrpot.training import loss, predict_batch, squared_errors

CELL = [[2.9, 0, 0], [0.4, 3.0, 0], [-0.3, 0.5, 3.1]]
RNG = np.random.default_rng(4)


def with_random_labels(structure, *labels):
    n_atoms = structure.system.n_atoms
    shapes = label_shapes(n_atoms)
    values = {label: np.array(RNG.normal(size=shapes[label])) for label in labels}
    if "quadrupole" in values:
        values["quadrupole"] = traceless(values["quadrupole"] + values["quadrupole"].T)
    return dataclasses.replace(structure, **values)


@pytest.fixture(scope="module")
def crystals(tiny):
    """Two sizes; the second structure has neither energy nor charges."""
    sizes = [(2, 1.0), (3, 0.0), (3, -1.0)]
    bare = [tiny.structure(*size, cell=CELL, seed=n) for n, size in enumerate(sizes)]
    wanted = [LABELS, ("forces", "stress", "dipole", "quadrupole"), LABELS]
    return [with_random_labels(one, *labels) for one, labels in zip(bare, wanted, strict=True)]


@pytest.fixture(scope="module")
def case(tiny, crystals):
    """A 4G potential, a batch of all labels, and what is predicted for it."""
    potential = tiny.potential("hdnnp_4g", accuracy=1e-3)
    ((batch, chosen),) = make_batches(crystals, potential)
    predict = jax.jit(functools.partial(predict_batch, stress=True))
    return potential, batch, chosen, predict(potential, batch)


@pytest.fixture(scope="module")
def errors(case):
    potential, batch, _, _ = case
    weights = dict.fromkeys(LABELS, 1.0)
    return jax.jit(lambda p, b: squared_errors(p, b, weights))(potential, batch)


@pytest.mark.parametrize("label", LABELS)
def test_the_error_of_each_label_is_a_mean_over_its_components(case, crystals, errors, label):
    _, _, chosen, prediction = case
    expected = []
    for row, number in enumerate(chosen):
        structure, n_atoms = crystals[number], crystals[number].system.n_atoms
        reference = getattr(structure, label)
        if reference is None:
            expected.append(0.0)
            continue
        found = np.asarray(getattr(prediction, label)[row])
        found = found[:n_atoms] if label in ("forces", "charges") else found
        share = n_atoms if label == "energy" else 1
        expected.append(np.mean(((found - reference) / share) ** 2))
    assert np.count_nonzero(expected) == (2 if label in ("energy", "charges") else 3)
    np.testing.assert_allclose(errors[label], expected, rtol=1e-10)


def test_structures_without_a_label_do_not_count_in_the_loss(case, errors):
    potential, batch, _, _ = case
    weights = {"energy": 2.0, "charges": 30.0, "forces": 0.0, "dipole": 0.5}
    total, means = jax.jit(lambda p, b: loss(p, b, weights))(potential, batch)
    assert set(means) == {"energy", "charges", "dipole"}
    np.testing.assert_allclose(means["energy"], np.sum(errors["energy"]) / 2, rtol=1e-12)
    np.testing.assert_allclose(means["charges"], np.sum(errors["charges"]) / 2, rtol=1e-12)
    np.testing.assert_allclose(means["dipole"], np.mean(errors["dipole"]), rtol=1e-12)
    by_hand = 2 * means["energy"] + 30 * means["charges"] + 0.5 * means["dipole"]
    np.testing.assert_allclose(total, by_hand, rtol=1e-12)


def test_structures_count_by_their_weight_in_the_loss_and_not_in_what_is_reported(case, errors):
    potential, batch, _, _ = case
    weights, emphasis = {"energy": 2.0, "dipole": 0.5}, jnp.array([3.0, 0.0, 0.5])
    heavier = dataclasses.replace(batch, weight=emphasis)
    total, means = jax.jit(lambda p, b: loss(p, b, weights))(potential, heavier)
    np.testing.assert_allclose(means["energy"], np.sum(errors["energy"]) / 2, rtol=1e-12)
    by_hand = 2 * emphasis @ errors["energy"] / 2 + 0.5 * emphasis @ errors["dipole"] / 3
    np.testing.assert_allclose(total, by_hand, rtol=1e-12)


def test_a_batch_without_the_label_has_loss_and_gradient_zero(case):
    potential, batch, chosen, _ = case
    without = batch[jnp.asarray(np.flatnonzero(chosen == 1))]
    (value, _), gradient = jax.jit(
        jax.value_and_grad(lambda p, b: loss(p, b, {"energy": 1.0, "charges": 1.0}), has_aux=True)
    )(potential, without)
    assert float(value) == 0.0
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_array_equal(leaf, 0.0)
