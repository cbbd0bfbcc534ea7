"""What a training keeps of its structures changes nothing but its speed."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrpot.data import make_batches
from lrpot.potential import trainable
from lrpot.training import Weights, calibrate, energy_stage, keep_charges, keep_geometry, loss
from lrpot.training.keep import kept_bytes
from lrpot.training.observations import observe
from lrpot.training.trainer import Trainer

CELL = [[2.9, 0, 0], [0.4, 3.0, 0], [-0.3, 0.5, 3.1]]
RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def crystals(tiny):
    """Two sizes with energies, forces, stress and charges; the first charged."""

    def made(n_atoms, total_charge, seed):
        bare = tiny.structure(n_atoms, total_charge, cell=CELL, seed=seed)
        shapes = {"energy": (), "forces": (n_atoms, 3), "stress": (3, 3), "charges": (n_atoms,)}
        labels = {label: np.array(RNG.normal(size=shape)) for label, shape in shapes.items()}
        return dataclasses.replace(bare, **labels)

    return [made(2, 1.0, 0), made(3, 0.0, 1)]


@pytest.fixture(scope="module", params=["molecules", "crystals"])
def structures(request, crystals, molecules):
    return crystals if request.param == "crystals" else molecules[:4]


def case_of(tiny, structures, recipe):
    """A calibrated potential, its structures in one batch, and weights of all that they have."""
    settings = {} if recipe == "hdnnp_2g" else {"accuracy": 1e-3}
    potential = tiny.potential(recipe, **settings)
    ((batch, _),) = make_batches(structures, potential)
    weights = {"energy": 3.0, "forces": 1.0}
    if structures[0].stress is not None:
        weights["stress"] = 20.0
    return calibrate(potential, structures, [batch]), batch, weights


def assert_same_leaves(found, expected, *, at_least):
    leaves = [jax.tree.leaves(jax.tree.map(np.asarray, one)) for one in (found, expected)]
    scale = max(np.abs(leaf).max() for leaf in leaves[1])
    assert scale > at_least
    for same, leaf in zip(*leaves, strict=True):
        np.testing.assert_allclose(same, leaf, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("recipe", [pytest.param("hdnnp_2g", marks=pytest.mark.slow), "hdnnp_4g"])
def test_descriptors_and_coulomb_matrices(tiny, structures, recipe):
    """Second derivatives pass through the tangents: forces are in the loss."""
    potential, batch, weights = case_of(tiny, structures, recipe)
    if recipe == "hdnnp_4g":
        weights |= {"charges": 10.0}
    kept = keep_geometry(potential, batch)
    assert (kept.coulomb is None) == (recipe == "hdnnp_2g")
    learnt, rest = eqx.partition(potential, trainable(potential))
    gradient = eqx.filter_jit(
        jax.value_and_grad(lambda learnt, b: loss(eqx.combine(learnt, rest), b, weights)[0])
    )
    (value, slope), (same, same_slope) = gradient(learnt, batch), gradient(learnt, kept)
    np.testing.assert_allclose(same, value, rtol=1e-10)
    for part in ("charge_model", "terms"):
        if getattr(potential, part) is not None:
            assert_same_leaves(getattr(same_slope, part), getattr(slope, part), at_least=1e-3)


@pytest.mark.parametrize("recipe", ["hdnnp_3g", "hdnnp_4g"])
def test_coulomb_matrices_where_nothing_moves(tiny, molecules, recipe):
    potential, batch, _ = case_of(tiny, molecules[:4], recipe)
    learnt, rest = eqx.partition(potential, trainable(potential))
    weights = {"energy": 1.0, "charges": 10.0}
    gradient = eqx.filter_jit(
        jax.grad(lambda learnt, b: loss(eqx.combine(learnt, rest), b, weights)[0])
    )
    kept = keep_geometry(potential, batch)
    assert_same_leaves(gradient(learnt, kept), gradient(learnt, batch), at_least=1e-3)


def learning_terms(potential):
    learnt = eqx.tree_at(
        lambda one: one.charge_model,
        trainable(potential),
        jax.tree.map(lambda _: False, potential.charge_model),
    )
    return eqx.partition(potential, learnt)


@pytest.mark.parametrize("recipe", [pytest.param("hdnnp_3g", marks=pytest.mark.slow), "hdnnp_4g"])
def test_charges_of_a_model_that_is_left_alone(tiny, structures, recipe):
    """Gradients for Adam, and observations of energies, forces and stress for the filter."""
    potential, batch, weights = case_of(tiny, structures, recipe)
    (kept,) = keep_charges(potential, [keep_geometry(potential, batch)])
    assert kept.charges is not None
    learnt, rest = learning_terms(potential)
    gradient = eqx.filter_jit(
        jax.value_and_grad(lambda learnt, b: loss(eqx.combine(learnt, rest), b, weights)[0])
    )
    (value, slope), (same, same_slope) = gradient(learnt, batch), gradient(learnt, kept)
    np.testing.assert_allclose(same, value, rtol=1e-10)
    assert_same_leaves(same_slope, slope, at_least=1e-3)


@pytest.mark.parametrize("charges", ["free", "kept", "kept without stress"])
def test_observations_of_the_kalman_filter(tiny, crystals, charges):
    """Derivatives by parameters first and by positions last, unlike in a loss."""
    potential, batch, weights = case_of(tiny, crystals, "hdnnp_4g")
    by_cell = "without" not in charges
    weights = weights if by_cell else {**weights, "stress": 0.0}
    kept = keep_geometry(potential, batch)
    learnt, rest = eqx.partition(potential, trainable(potential))
    if charges != "free":
        (kept,) = keep_charges(potential, [kept], by_cell=by_cell)
        learnt, rest = learning_terms(potential)
    look = eqx.filter_jit(
        lambda learnt, b: observe(learnt, rest, b, weights, key=jax.random.key(0))[0]
    )
    assert_same_leaves(look(learnt, kept), look(learnt, batch), at_least=1e-3)


@pytest.mark.parametrize("stress", [0.0, 1.0])
def test_a_stage_keeps_derivatives_by_the_cell_where_it_learns_stress(tiny, crystals, stress):
    potential, batch, _ = case_of(tiny, crystals, "hdnnp_4g")
    stage = energy_stage(weights=Weights(energy=1.0, stress=stress))
    trainer = Trainer(stage, 0, potential, [keep_geometry(potential, batch)], [])
    trainer.keep_charges()
    (kept,) = trainer.batches
    assert kept.charges.by_cell == bool(stress)


def test_coulomb_matrices_of_charges_that_change_their_widths_are_not_kept(tiny, molecules):
    potential = tiny.potential("hdnnp_4g", learn_widths=True)
    ((batch, _),) = make_batches(molecules[:4], potential)
    assert keep_geometry(potential, batch).coulomb is None


def test_the_size_of_what_is_kept_is_known_before_it_is_made(tiny, molecules):
    potential, batch, _ = case_of(tiny, molecules[:4], "hdnnp_4g")
    kept = keep_geometry(potential, batch)
    made = kept.descriptor.jacobian.nbytes + kept.coulomb.nbytes
    assert kept_bytes(potential, [batch]) == made > 0
    (with_charges,) = keep_charges(potential, [kept])
    assert with_charges.charges.jacobian.shape[-1] == 3 * batch.systems.numbers.shape[1]
    assert jnp.isfinite(with_charges.charges.jacobian).all()
