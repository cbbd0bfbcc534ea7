"""Statistics that a potential takes from its training data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure, make_batches
from lrpot.environment import environment_from_shifts
from lrpot.training import calibrate, energy_offsets
from lrpot.training.calibrate import given_offsets, is_calibrated, scale_charge_input


def chain(numbers, energy=None, **labels):
    """Atoms in a row."""
    positions = np.zeros((len(numbers), 3))
    positions[:, 0] = np.arange(len(numbers))
    energy = None if energy is None else np.array(energy)
    return Structure(lrpot.System(positions, numbers), energy=energy, **labels)


def test_offsets_are_found_again_when_energies_are_sums_over_atoms():
    water, hydrogen = chain([8, 1, 1], -2043.2), chain([1, 1], -31.4)
    peroxide = chain([8, 8, 1, 1], 2 * -2011.8 - 31.4)
    found = energy_offsets([water, hydrogen, peroxide], (1, 8))
    np.testing.assert_allclose(found, [-15.7, -2011.8], rtol=1e-12)


def test_offsets_are_the_least_squares_solution():
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 5, size=(9, 2))
    energies = counts @ [-13.6, -2040.0] + rng.normal(size=9)
    structures = [
        chain([1] * hydrogens + [8] * oxygens, energy)
        for (hydrogens, oxygens), energy in zip(counts, energies, strict=True)
    ]
    normal = np.linalg.solve(counts.T @ counts, counts.T @ energies)  # the normal equations
    np.testing.assert_allclose(energy_offsets(structures, (1, 8)), normal, rtol=1e-9)


def test_compositions_that_do_not_determine_the_offsets_share_the_energy_evenly():
    """In C10H2 alone the sum is all that is known."""
    structures = [chain([6] * 10 + [1] * 2, energy) for energy in (-602.0, -598.0)]
    carbon, hydrogen = energy_offsets(structures, (6, 1))
    np.testing.assert_allclose([carbon, hydrogen], -50.0, rtol=1e-12)


def test_all_electron_energies_of_two_compositions_stay_sensible():
    """Two compositions that differ by one hydrogen: nothing absurd for carbon."""
    structures = [chain([6] * 10 + [1] * 2, -10_370.0), chain([6] * 10 + [1] * 3, -10_383.0)]
    carbon, hydrogen = energy_offsets(structures, (6, 1))
    np.testing.assert_allclose(hydrogen, -13.0, atol=1e-6)
    np.testing.assert_allclose(carbon, (-10_370.0 + 26.0) / 10, atol=1e-6)


def test_structures_without_energy_do_not_count_for_the_offsets():
    structures = [chain([1], -10.0), chain([8], -20.0), chain([1, 8])]
    np.testing.assert_allclose(energy_offsets(structures, (1, 8)), [-10, -20], rtol=1e-12)


def test_offsets_need_an_energy():
    with pytest.raises(lrpot.InputError, match="No structure has an energy"):
        energy_offsets([chain([1, 1])], (1,))


def test_given_atomic_energies_are_put_in_the_order_of_the_elements():
    found = given_offsets({"O": -2.0, "H": -1.0, "C": -9.0}, (1, 8))
    np.testing.assert_array_equal(found, [-1.0, -2.0])


def test_a_missing_atomic_energy_is_named():
    with pytest.raises(lrpot.InputError, match=r"The atomic energies lack O; they hold \['H'\]"):
        given_offsets({"H": -1.0}, (1, 8))


def test_an_unknown_symbol_among_the_atomic_energies_is_named():
    with pytest.raises(lrpot.InputError, match="Unknown element `Hh`"):
        given_offsets({"Hh": -1.0}, (1, 8))


def features(potential, structures):
    """Scaled features and atomic numbers of all atoms, one structure at a time."""
    describe = jax.jit(
        lambda system, neighbors: potential.descriptor(environment_from_shifts(system, neighbors)),
    )
    rows, numbers = [], []
    for structure in structures:
        system = structure.system
        rows.append(np.asarray(describe(system, potential.neighbors(system))))
        numbers.append(np.asarray(system.numbers))
    return np.concatenate(rows), np.concatenate(numbers)


@pytest.fixture(scope="module")
def calibrated(tiny, molecules):
    potential = tiny.potential("hdnnp_4g")
    return calibrate(potential, molecules[:8], batches_of(molecules[:8], potential))


def batches_of(structures, potential):
    return [batch for batch, _ in make_batches(structures, potential)]


def test_scaled_features_of_each_element_have_mean_0_and_deviation_1(calibrated, molecules):
    """Padding does not enter: batches pad the molecules of two atoms to three."""
    rows, numbers = features(calibrated, molecules[:8])
    for number in (1, 8):
        ours = rows[numbers == number]
        varying = ours.std(axis=0) > 0
        assert varying.sum() >= 4
        np.testing.assert_allclose(ours.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(ours.std(axis=0)[varying], 1, rtol=1e-9)


def test_features_scaled_by_range_fill_the_unit_interval(tiny, molecules):
    potential = tiny.potential("hdnnp_2g")
    batches = batches_of(molecules[:8], potential)
    found = calibrate(potential, molecules[:8], batches, scaling="scale")
    rows, numbers = features(found, molecules[:8])
    ours = rows[numbers == 1]
    varying = ours.max(axis=0) > 0
    assert varying.any()
    np.testing.assert_allclose(ours.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(ours.max(axis=0)[varying], 1, rtol=1e-12)


def test_the_energy_scale_is_the_spread_of_the_forces(calibrated, molecules):
    forces = np.concatenate([one.forces.ravel() for one in molecules[:8]])
    np.testing.assert_allclose(calibrated.terms["short_range"].scale, forces.std(), rtol=1e-12)


def test_calibrating_twice_changes_nothing_more(calibrated, molecules):
    again = calibrate(calibrated, molecules[:8], batches_of(molecules[:8], calibrated))
    for one, other in zip(jax.tree.leaves(calibrated), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_potential_knows_whether_it_is_calibrated(calibrated, tiny):
    assert is_calibrated(calibrated)
    assert not is_calibrated(tiny.potential("hdnnp_4g"))


def test_given_atomic_energies_replace_least_squares(tiny, molecules):
    potential = tiny.potential("hdnnp_2g")
    batches = batches_of(molecules[:8], potential)
    given = {"H": -1.5, "O": -7.0}
    found = calibrate(potential, molecules[:8], batches, atomic_energies=given)
    np.testing.assert_array_equal(found.terms["offsets"].energies, [-1.5, -7.0])


def local_bias(potential):
    return np.asarray(potential.charge_model.networks.biases[-1])


def test_local_charges_start_from_the_mean_charge_of_each_element(tiny, molecules):
    potential = tiny.potential("hdnnp_3g", neutralisation="weighted")
    batches = batches_of(molecules[:8], potential)
    found = calibrate(potential, molecules[:8], batches)
    numbers = np.concatenate([one.system.numbers for one in molecules[:8]])
    charges = np.concatenate([one.charges for one in molecules[:8]])
    means = [charges[numbers == number].mean() for number in tiny.numbers]
    np.testing.assert_allclose(local_bias(found), np.stack([means, [0, 0]], axis=1), rtol=1e-12)


def test_an_element_without_reference_charges_does_not_become_nan(tiny):
    potential = tiny.potential("hdnnp_3g")
    structures = [
        chain([1, 1, 1], -3.0, charges=np.array([0.3, 0.4, 0.3])),
        chain([1, 8], -4.0),
        chain([1, 1, 8], -6.0),
    ]
    found = calibrate(potential, structures, batches_of(structures, potential))
    np.testing.assert_allclose(local_bias(found), [[1 / 3], [0.0]])


def test_the_charge_input_is_scaled_by_the_charges_it_will_see(tiny):
    structures = [
        chain([1, 1, 8], -3.0, charges=np.array([0.2, 0.4, -0.5])),
        chain([1, 8], -4.0, charges=np.array([0.3, -0.8])),
    ]
    potential = tiny.potential("hdnnp_4g")
    batches = batches_of(structures, potential)
    charges = [batch.labels["charges"] for batch in batches]
    potential = scale_charge_input(potential, batches, charges)
    scaling = potential.terms["short_range"].charge_scaling
    np.testing.assert_allclose(scaling.offset[:, 0], [0.3, -0.65])
    deviations = [np.std([0.2, 0.4, 0.3]), np.std([-0.5, -0.8])]
    np.testing.assert_allclose(scaling.factor[:, 0], 1 / np.array(deviations))


@pytest.mark.parametrize("recipe", ["hdnnp_2g", "hdnnp_3g", "cent"])
def test_potentials_that_do_not_see_charges_have_no_charge_input_to_scale(tiny, recipe):
    potential = tiny.potential(recipe)
    assert scale_charge_input(potential, [], []) is potential


def test_an_unknown_scaling_names_the_nearest(tiny, molecules):
    with pytest.raises(lrpot.InputError, match=r"Unknown scaling `sigm`\. Did you mean `sigma`\?"):
        calibrate(tiny.potential("hdnnp_2g"), molecules[:2], [], scaling="sigm")


def test_an_element_that_never_occurs_is_named(tiny, molecules):
    potential = tiny.potential("hdnnp_2g")
    hydrogen = [chain([1, 1], -1.0), dataclasses.replace(chain([1, 1, 1], -2.0), name="other")]
    with pytest.raises(lrpot.InputError, match=r"Element 8 .* does not occur in the training data"):
        calibrate(potential, hydrogen, batches_of(hydrogen, potential))


@pytest.mark.parametrize("shells", [0, 2])
def test_charges_without_spread_are_not_blown_up(tiny, molecules, shells):
    """Formal charges, which predictions meet within 1e-5 e: a charge counts 100 per e at most."""
    potential = tiny.potential("hdnnp_4g", charge_shells=shells)
    batches = [batch for batch, _ in make_batches(molecules[:8], potential)]
    random = np.random.default_rng(0)
    charges = []
    for batch in batches:
        numbers = np.asarray(batch.systems.numbers)
        formal = np.where(numbers == 8, -0.8, np.where(numbers == 1, 0.8, 0.0))
        charges.append(jnp.asarray(formal + 1e-5 * random.normal(size=formal.shape)))
    scaling = scale_charge_input(potential, batches, charges).terms["short_range"].charge_scaling
    np.testing.assert_allclose(scaling.offset[:, 0], [0.8, -0.8], atol=1e-4)
    np.testing.assert_allclose(scaling.factor[:, 0], 100.0)
    assert scaling.factor.max() <= 100.0
