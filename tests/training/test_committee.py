"""Committees: trained in one step as alone, uncertain where they disagree, and of use for it."""

import dataclasses
import json

import ase
import jax
import numpy as np
import pytest

import lrpot
from lrpot import Committee
from lrpot.training import (
    calibrate_uncertainty,
    charge_stage,
    energy_stage,
    farthest,
    fit,
    uncertainties,
)
from lrpot.training.metrics import predict_structures

SHORT = {"epochs": 6, "batch_size": 6, "averaging": 0.5, "learning_rate": 0.02}
STAGES = charge_stage(**SHORT), energy_stage(**SHORT)


def quietly(potential, structures, validation=(), **settings):
    return fit(potential, structures, validation, progress=False, **settings)


@pytest.fixture(scope="module")
def water(molecules):
    return [one for one in molecules if one.system.n_atoms == 3]


@pytest.fixture(scope="module")
def members(tiny):
    return [tiny.potential("hdnnp_4g", key=key) for key in range(3)]


@pytest.fixture(scope="module")
def trained(members, water, tmp_path_factory):
    """The outcome of a training, and its folder."""
    folder = tmp_path_factory.mktemp("committee")
    settings = dict(stages=STAGES, folder=folder, checkpoint_seconds=0.0)
    return folder, quietly(Committee(members), water[:8], water[8:], **settings)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_members_are_trained_as_if_alone(members, water, trained):
    """The best parameters of each are its own, and found again when the training is resumed."""
    folder, found = trained
    alone = quietly(members[1], water[:8], water[8:], stages=STAGES)
    for one, other in zip(leaves(alone.potential), leaves(found.potential.members[1]), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)
    again = quietly(Committee(members), water[:8], water[8:], stages=STAGES, folder=folder)
    for one, other in zip(leaves(found.potential), leaves(again.potential), strict=True):
        np.testing.assert_array_equal(one, other)
    notes = json.loads(json.dumps(again.history))
    assert set(notes[-1]["validation"]) == {"energy", "forces"}


def test_the_prediction_is_the_mean_and_the_uncertainty_the_spread(trained, water):
    committee = trained[1].potential
    found = lrpot.predict(committee, water[0].system)
    each = [lrpot.predict(one, water[0].system) for one in committee.members]
    factors = {name: float(value) for name, value in committee.factors.items()}
    for name in ("energy", "forces", "charges", "dipole", "quadrupole"):
        values = np.stack([getattr(one, name) for one in each])
        np.testing.assert_allclose(getattr(found, name), values.mean(axis=0), atol=1e-10)
        if name in ("energy", "charges"):
            spread = factors[name] * values.std(axis=0)
            np.testing.assert_allclose(getattr(found.uncertainty, name), spread, rtol=1e-6)
    forces = np.stack([one.forces for one in each])
    variance = np.mean(np.sum((forces - forces.mean(axis=0)) ** 2, axis=-1) / 3, axis=0)
    expected = factors["forces"] * np.sqrt(variance)
    np.testing.assert_allclose(found.uncertainty.forces, expected, rtol=1e-6)


def test_calibrated_uncertainties_are_as_large_as_the_errors(trained, water):
    committee, held_out = trained[1].potential, water[8:]
    for label in ("energy", "forces", "charges"):
        ratios = []
        for structure, found in zip(held_out, predict_structures(committee, held_out), strict=True):
            error = np.asarray(getattr(found, label)) - getattr(structure, label)
            squares = (error**2).mean(axis=-1) if label == "forces" else error**2
            ratios.append(np.ravel(squares / np.asarray(getattr(found.uncertainty, label)) ** 2))
        np.testing.assert_allclose(np.mean(np.concatenate(ratios)), 1.0, rtol=1e-6)


def test_members_that_are_the_same_are_certain(members, water):
    found = lrpot.predict(Committee([members[0]] * 2), water[0].system)
    assert float(found.uncertainty.energy) < 1e-12
    assert np.max(found.uncertainty.forces) < 1e-12


def test_a_committee_is_one_file(trained, tmp_path):
    lrpot.save(tmp_path / "committee.lrpot", trained[1].potential)
    again = lrpot.load(tmp_path / "committee.lrpot")
    assert isinstance(again, Committee)
    for one, other in zip(leaves(again), leaves(trained[1].potential), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_calculator_gives_uncertainties(trained, water):
    committee, system = trained[1].potential, water[0].system
    calculator = lrpot.Calculator(committee, total_charge=float(system.total_charge))
    atoms = ase.Atoms(
        np.asarray(system.numbers), np.asarray(system.positions), calculator=calculator
    )
    atoms.get_forces()
    expected = lrpot.predict(committee, system).uncertainty
    for name in ("energy", "forces", "charges"):
        found = calculator.get_property(f"{name}_uncertainty", atoms)
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-7)


def test_members_of_a_bootstrap_see_data_of_their_own(tiny, members, water):
    """The same first parameters become different ones."""
    twins = Committee([members[0]] * 2)
    stage = energy_stage(**{**SHORT, "epochs": 2})
    same, different = (
        quietly(twins, water, stages=(stage,), bootstrap=bootstrap).potential.members
        for bootstrap in (False, True)
    )
    pairs = zip(leaves(same[0]), leaves(same[1]), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    one, other = (each.terms["short_range"].networks.weights[0] for each in different)
    assert not np.allclose(one, other, rtol=1e-3)
    with pytest.raises(lrpot.InputError, match="`bootstrap` is for committees"):
        quietly(members[0], water, bootstrap=True)


def test_a_distorted_structure_is_uncertain_and_far_from_the_others(tiny, trained, water):
    committee = trained[1].potential
    odd = water[0].system
    odd = dataclasses.replace(odd, positions=0.75 * odd.positions)
    pool = [*water[1:5], dataclasses.replace(water[0], system=odd, name="odd"), water[6]]
    assert int(np.argmax(uncertainties(committee, pool, quantity="energy"))) == 4
    expected = [one.uncertainty for one in predict_structures(committee, pool)]
    for quantity in ("forces", "charges"):
        largest = [np.max(getattr(one, quantity)) for one in expected]
        np.testing.assert_allclose(uncertainties(committee, pool, quantity=quantity), largest)
    order = farthest(committee, pool, 10, known=water[1:5])
    assert order[:2] == [4, 5]
    assert sorted(order) == list(range(6))
    assert farthest(committee, pool, 1) == [4]
    with pytest.raises(
        lrpot.InputError, match=r"no uncertainty of `force`\. Did you mean `forces`"
    ):
        uncertainties(committee, pool, quantity="force")


def test_members_of_different_kinds_are_refused(tiny, members):
    for others in ([members[0]], [members[0], tiny.potential("hdnnp_4g", hidden=(5,))]):
        with pytest.raises(lrpot.InputError, match="needs two or more potentials with the same"):
            Committee(others)


def test_without_labels_there_is_nothing_to_calibrate_by(members, water):
    bare = [dataclasses.replace(one, energy=None, forces=None, charges=None) for one in water[:1]]
    with pytest.raises(lrpot.InputError, match="None of the 1 structures has one of the labels"):
        calibrate_uncertainty(Committee(members), bare)
