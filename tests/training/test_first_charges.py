"""Hardness and widths from charges, before anything is trained."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import make_batches
from lrpot.environment import environment_from_shifts
from lrpot.training import charge_stage, evaluate_structures, fit
from lrpot.training import first_charges as module
from lrpot.training.calibrate import calibrate
from lrpot.training.first_charges import with_first_charges
from lrpot.units import KE


def linear(tiny, **settings):
    """A potential whose electronegativities are linear in the features."""
    return tiny.potential("hdnnp_4g", key=9, hidden=(), activation="linear", **settings)


def structures(tiny, teacher, *, cell=None):
    shapes = [(3, charge) for charge in (-1, 1)] + [(2, charge) for charge in (0, 1)]
    drawn = [tiny.structure(*shape, cell=cell, seed=n) for n in range(10) for shape in shapes]
    return tiny.label(teacher, drawn)


def started(tiny, known, **settings):
    """As a training starts."""
    potential = tiny.potential("hdnnp_4g", **settings)
    dense = dataclasses.replace(potential.charge_model, solver="dense")
    potential = dataclasses.replace(potential, charge_model=dense)
    batches = [batch for batch, _ in make_batches(known, potential)]
    return calibrate(potential, known, batches), batches


@pytest.mark.parametrize("cell", [None, 9 * np.eye(3)])
def test_the_hardness_of_a_linear_model_is_found_again(tiny, cell):
    hardness = {"H": 25.0, "O": 3.0}
    known = structures(tiny, linear(tiny, hardness=hardness), cell=cell)
    potential, _ = started(tiny, known)
    np.testing.assert_allclose(potential.charge_model.hardness_root**2, [25, 3], rtol=0.02)


def test_widths_are_found_where_they_are_learnt(tiny):
    """What an atom has against charge of its own is partly its hardness, partly its width."""
    radii = {"H": 0.5, "O": 0.9}
    known = structures(tiny, linear(tiny, hardness={"H": 25.0, "O": 3.0}, widths=radii))
    fixed, _ = started(tiny, known)
    found, _ = started(tiny, known, learn_widths=True)
    np.testing.assert_array_equal(fixed.charge_model.radii, [0.31, 0.66])
    widths, hardness = found.charge_model.radii, found.charge_model.hardness_root**2
    np.testing.assert_allclose(widths[1], 0.9, rtol=0.1)
    own = hardness + KE / (np.sqrt(np.pi) * widths)
    expected = np.array([25, 3]) + KE / np.sqrt(np.pi) / [0.5, 0.9]
    np.testing.assert_allclose(own, expected, rtol=0.2)
    # The two are hard to tell apart, down a narrow valley: what is left tells more.
    samples, _ = module._samples(fixed, [batch for batch, _ in make_batches(known, fixed)])
    at = [
        np.log([*hardness, *(widths / fixed.charge_model.radii)]),
        np.log([*fixed.charge_model.hardness_root**2, 1, 1]),
    ]
    left = [module._cost(one, fixed.charge_model, samples)[0] for one in at]
    assert left[0] < 2 * np.log(module.ERROR)
    assert left[0] < left[1] - 2


def test_training_begins_with_charges_that_are_about_right(tiny):
    """Hard atoms hold charges by large electronegativities, which networks do not start with."""
    known = structures(tiny, tiny.potential("hdnnp_4g", key=9, hardness=200.0))
    errors = []
    for hardness in (None, 10.0):
        potential, _ = started(tiny, known, hardness=hardness)
        charges = evaluate_structures(potential, known).total["charges"]
        errors.append(charges.rmse)
    spread = np.std(np.concatenate([one.charges for one in known]))
    assert errors[0] < 0.1 * spread < errors[1]


def test_outputs_of_the_networks_have_the_size_that_is_needed(tiny):
    """What is left to learn of an electronegativity is about 1 in units of its scale."""
    teacher = linear(tiny, hardness=80.0)
    networks = teacher.charge_model.networks
    larger = eqx.tree_at(
        lambda one: one.weights, networks, tuple(30 * one for one in networks.weights)
    )
    teacher = eqx.tree_at(lambda one: one.charge_model.networks, teacher, larger)
    known = structures(tiny, teacher)
    ((batch, _),) = make_batches(known, teacher)
    potential, _ = started(tiny, known)

    def wanted(single):
        environment = environment_from_shifts(single.systems, single.neighbors)
        features = teacher.descriptor(environment)
        return teacher.charge_model.networks(features, single.systems.numbers)[:, 0]

    wanted, numbers = jax.vmap(wanted)(batch), np.asarray(batch.systems.numbers)
    for scale, number in zip(potential.charge_model.scale, tiny.numbers, strict=True):
        assert 0.5 < scale / np.std(np.asarray(wanted)[numbers == number]) < 2


def test_the_search_knows_its_slope(tiny, molecules):
    """By hardness and by widths, against differences."""
    potential = tiny.potential("hdnnp_4g", learn_widths=True)
    _, batches = started(tiny, molecules)
    model = dataclasses.replace(potential.charge_model, solver="dense")
    calibrated, _ = started(tiny, molecules, learn_widths=True, hardness=1.0)
    samples, _ = module._samples(dataclasses.replace(calibrated, charge_model=model), batches)
    at = np.log([20.0, 5.0, 1.2, 0.9])
    _, slope, _ = module._cost(at, model, samples)
    for direction, found in zip(np.eye(4), slope, strict=True):
        after, before = (
            module._cost(at + step * direction, model, samples)[0] for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(found, (after - before) / 2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: dataclasses.replace(one, scale=jnp.ones(2)),
        lambda one: dataclasses.replace(one, solver="iterative"),
    ],
)
def test_a_given_hardness_and_an_iterative_solver_are_left_alone(tiny, molecules, change):
    potential, batches = started(tiny, molecules, hardness=4.0)
    changed = dataclasses.replace(
        potential, charge_model=change(dataclasses.replace(potential.charge_model, scale=None))
    )
    assert with_first_charges(changed, batches) is changed


def test_without_charges_nothing_is_found(tiny, molecules):
    bare = [dataclasses.replace(one, charges=None) for one in molecules]
    potential, _ = started(tiny, bare)
    np.testing.assert_allclose(potential.charge_model.hardness_root**2, 10.0)
    assert potential.charge_model.scale is None


def test_scales_are_kept_and_not_learnt(tiny, molecules, tmp_path):
    potential = tiny.potential("hdnnp_4g")
    first = fit(potential, molecules, stages=(charge_stage(epochs=1),), progress=False).potential
    more = fit(first, molecules, stages=(charge_stage(epochs=2),), progress=False).potential
    np.testing.assert_array_equal(more.charge_model.scale, first.charge_model.scale)
    lrpot.save(tmp_path / "model.lrpot", more)
    read = lrpot.load(tmp_path / "model.lrpot")
    np.testing.assert_array_equal(read.charge_model.scale, more.charge_model.scale)
    assert read.charge_model.frozen == more.charge_model.frozen
