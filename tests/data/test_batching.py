"""Batches: padded predictions are those of the structures alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.data import Structure, make_batches, pad_neighbors
from lrpot.data.batching import BUCKET_RATIO
from lrpot.descriptors import default_acsf
from lrpot.training import predict_batch

ELEMENTS = ("H", "O")
ATOMS = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [0.2, 0.3, 2.5], [1.1, 2.2, 1.4]])
NUMBERS = np.array([8, 1, 1, 8, 1])


predict = jax.jit(lrpot.evaluate)


def structure(n_atoms, total_charge=0.0, cell=None, name="structure", **labels):
    moved = ATOMS[:n_atoms] + 0.03 * np.random.default_rng(n_atoms).normal(size=(n_atoms, 3))
    system = lrpot.System(moved, NUMBERS[:n_atoms], cell=cell, total_charge=total_charge)
    return Structure(system, **labels, name=name)


def slab(n_atoms, pbc=(True, True, False), **settings):
    cell = [[2.4, 0, 0], [0.4, 2.9, 0], [-0.3, 0.5, 3.1]]
    one = structure(n_atoms, cell=cell, **settings)
    return Structure(dataclasses.replace(one.system, pbc=pbc))


# Two buckets of molecules, one of crystals and one of slabs, whose numbers of waves and neighbours
# differ.
MIXTURE = [
    structure(3, -1),
    structure(2, cell=[[2.4, 0, 0], [0.4, 2.9, 0], [-0.3, 0.5, 3.1]]),
    structure(2, 1),
    structure(5),
    structure(3, 1, cell=[[4.0, 0, 0], [0, 3.6, 0], [0.9, 0, 3.3]]),
    structure(5, 2),
    slab(2),
    slab(3, total_charge=1),
]


def test_slabs_of_each_orientation_have_batches_of_their_own():
    potential = lrpot.hdnnp_2g(ELEMENTS, cutoff=3.0, hidden=(2,), key=jax.random.key(0))
    kinds = [slab(2), MIXTURE[1], slab(3), MIXTURE[0], slab(2, (False, True, True))]
    found = make_batches(kinds, potential)
    assert [(batch.systems.pbc, chosen.tolist()) for batch, chosen in found] == [
        ((False, False, False), [3]),
        ((False, True, True), [4]),
        ((True, True, False), [0, 2]),
        ((True, True, True), [1]),
    ]


@pytest.fixture(scope="module", params=["hdnnp_3g", "hdnnp_4g"])
def potential(request):
    descriptor = default_acsf(ELEMENTS, cutoff=3.0, spacing=1.2, shells=1, zetas=(1.0,))
    return lrpot.MODELS[request.param](
        ELEMENTS, descriptor=descriptor, hidden=(4,), accuracy=1e-3, key=jax.random.key(1)
    )


@pytest.fixture(scope="module")
def batches(potential):
    return make_batches(MIXTURE, potential)


@pytest.fixture(scope="module")
def predictions(potential, batches):
    """The rows of the padded predictions, by the number of the structure."""
    found = {}
    for batch, chosen in batches:
        stress = batch.systems.cell is not None
        together = jax.jit(functools.partial(predict_batch, stress=stress))(potential, batch)
        for row, number in enumerate(chosen):
            found[int(number)] = jax.tree.map(lambda array, row=row: array[row], together)
    return found


def test_every_structure_is_in_exactly_one_batch(batches):
    assert sorted(np.concatenate([chosen for _, chosen in batches])) == list(range(len(MIXTURE)))


@pytest.mark.parametrize("number", range(len(MIXTURE)))
def test_padded_predictions_equal_single_ones(potential, predictions, number):
    system = MIXTURE[number].system
    alone, found = predict(potential, system, potential.neighbors(system)), predictions[number]
    n_atoms = system.n_atoms
    np.testing.assert_allclose(found.energy, alone.energy, rtol=1e-11)
    np.testing.assert_allclose(found.energies[:n_atoms], alone.energies, atol=1e-10)
    np.testing.assert_allclose(found.forces[:n_atoms], alone.forces, atol=1e-10)
    np.testing.assert_allclose(found.charges[:n_atoms], alone.charges, atol=1e-12)
    np.testing.assert_allclose(found.dipole, alone.dipole, atol=1e-11)
    np.testing.assert_allclose(found.charges.sum(), system.total_charge, atol=1e-11)
    if system.cell is not None:
        np.testing.assert_allclose(found.stress, alone.stress, atol=1e-11)


def test_the_crystals_really_differ_in_waves_and_slots(potential):
    lists = [potential.neighbors(MIXTURE[number].system) for number in (1, 4)]
    assert lists[0].n_waves != lists[1].n_waves
    assert lists[0].index.shape[1] != lists[1].index.shape[1]


def test_buckets_hold_similar_sizes_and_one_kind_of_boundary(batches):
    for _, chosen in batches:
        systems = [MIXTURE[number].system for number in chosen]
        sizes = [system.n_atoms for system in systems]
        assert max(sizes) <= BUCKET_RATIO * min(sizes)
        assert len({system.pbc for system in systems}) == 1
    assert sorted(sorted(chosen.tolist()) for _, chosen in batches) == [
        [0, 2],
        [1, 4],
        [3, 5],
        [6, 7],
    ]


def test_labels_keep_their_places_and_gaps_are_known():
    potential = lrpot.hdnnp_2g(ELEMENTS, cutoff=3.0, hidden=(2,), key=jax.random.key(0))
    forces, charges = np.arange(6.0).reshape(2, 3), np.array([0.25, -0.25, 1.0])
    ((batch, chosen),) = make_batches(
        [structure(3, charges=charges), structure(2, energy=np.array(-3.0), forces=forces)],
        potential,
    )
    np.testing.assert_array_equal(chosen, [1, 0])  # by size
    assert batch.size == 2
    np.testing.assert_array_equal(batch.labels["energy"], [-3.0, 0.0])
    np.testing.assert_array_equal(batch.labels["forces"][0], [*forces, [0, 0, 0]])
    np.testing.assert_array_equal(batch.labels["charges"], [[0, 0, 0], charges])
    assert {label: known.tolist() for label, known in batch.known.items()} == dict(
        energy=[1, 0],
        forces=[1, 0],
        stress=[0, 0],
        charges=[0, 1],
        dipole=[0, 0],
        quadrupole=[0, 0],
    )
    swapped = batch[jnp.array([1, 0])]
    np.testing.assert_array_equal(swapped.systems.numbers, [[8, 1, 1], [8, 1, 0]])


def test_a_padded_list_marks_empty_slots_with_the_new_number_of_atoms():
    potential = lrpot.hdnnp_2g(ELEMENTS, cutoff=3.0, hidden=(2,), key=jax.random.key(0))
    system = lrpot.System([[0, 0, 0], [1, 0, 0], [8, 0, 0]], [8, 1, 1])
    grown = pad_neighbors(potential.neighbors(system), 5, 3)
    np.testing.assert_array_equal(
        grown.index, [[1, 5, 5], [0, 5, 5], [5, 5, 5], [5, 5, 5], [5, 5, 5]]
    )


def test_an_unknown_element_names_the_structure():
    potential = lrpot.hdnnp_2g(("H",), cutoff=3.0, hidden=(2,), key=jax.random.key(0))
    with pytest.raises(lrpot.InputError, match=r"the water: Element 8 \(O, atom 0\)"):
        make_batches([structure(3, name="the water")], potential)


def test_overlapping_atoms_name_the_structure():
    potential = lrpot.hdnnp_2g(ELEMENTS, cutoff=3.0, hidden=(2,), key=jax.random.key(0))
    system = lrpot.System([[0, 0, 0], [2, 0, 0], [2, 0, 0.01]], [8, 1, 1])
    with pytest.raises(lrpot.InputError, match="the doubled one: Atoms 1 and 2 lie on top"):
        make_batches([structure(2), Structure(system, name="the doubled one")], potential)
