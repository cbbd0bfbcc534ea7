import dataclasses
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot import InputError, System, predict
from lrpot.predict import check_prediction

evaluate = jax.jit(lrpot.evaluate, static_argnames=("forces", "stress"))

WATER = System([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
CELL = jnp.array([[3.0, 0, 0], [0.5, 3.2, 0], [0.1, -0.4, 2.9]])
ICE = System(WATER.positions, WATER.numbers, cell=CELL)


@pytest.fixture(scope="module")
def charged():
    return lrpot.hdnnp_4g(("H", "O"), cutoff=3.0, hidden=(4,), key=jax.random.key(0))


@pytest.fixture(scope="module")
def local():
    return lrpot.hdnnp_2g(("H", "O"), cutoff=3.0, hidden=(4,), key=jax.random.key(0))


def test_predict_is_evaluate_compiled_and_checked(charged):
    neighbors = charged.neighbors(ICE)
    found = predict(charged, ICE)
    expected = evaluate(charged, ICE, neighbors)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert found.energy.shape == ()
    assert found.energies.shape == (3,)
    np.testing.assert_allclose(found.energy, found.energies.sum(), rtol=1e-14)
    assert found.forces.shape == (3, 3)
    assert found.stress.shape == (3, 3)
    assert found.electronegativity.shape == (3,)
    assert bool(found.converged)
    assert not bool(found.overflow)


@pytest.mark.parametrize("settings", [{}, {"solver": "iterative"}], ids=["2G", "4G"])
def test_no_product_leaves_its_precision_to_the_accelerator(charged, local, settings, products):
    potential = charged.with_solver(**settings) if settings else local
    neighbors = potential.neighbors(ICE)
    every, exact = products(evaluate.lower(potential, ICE, neighbors))
    assert exact == every > 10

    def energy(positions):
        moved = dataclasses.replace(ICE, positions=positions)
        return evaluate(potential, moved, neighbors, forces=False, stress=False).energy

    # What is compiled first is differentiated elsewhere.
    every, exact = products(jax.jit(jax.grad(energy)).lower(ICE.positions))
    assert exact == every > 10


def test_forces_and_stress_are_left_out_when_not_wanted(local):
    neighbors = local.neighbors(ICE)
    everything = evaluate(local, ICE, neighbors)
    for forces, stress in [(True, False), (False, True), (False, False)]:
        found = evaluate(local, ICE, neighbors, forces=forces, stress=stress)
        assert (found.forces is not None) == forces
        assert (found.stress is not None) == stress
        np.testing.assert_allclose(found.energy, everything.energy, rtol=1e-13)
        if forces:
            np.testing.assert_allclose(found.forces, everything.forces, rtol=1e-11, atol=1e-13)
        if stress:
            np.testing.assert_allclose(found.stress, everything.stress, rtol=1e-11, atol=1e-13)


def test_an_open_system_has_no_stress_and_a_local_potential_no_charges(local):
    found = predict(local, WATER, forces=False)
    assert found.stress is None
    assert found.charges is None
    assert found.dipole is None
    assert found.electronegativity is None


def test_the_dipole_is_that_of_the_charges(charged):
    found = predict(charged, WATER, forces=False)
    expected = sum(q * r for q, r in zip(found.charges, WATER.positions, strict=True))
    np.testing.assert_allclose(found.dipole, expected, rtol=1e-14)
    assert jnp.linalg.norm(found.dipole) > 1e-4


def test_a_list_can_be_handed_over_and_used_again(charged):
    neighbors = charged.neighbors(WATER, skin=0.5, capacity=4)
    moved = eqx.tree_at(lambda s: s.positions, WATER, WATER.positions * 1.05)
    found = predict(charged, moved, neighbors, forces=False)
    expected = predict(charged, moved, forces=False)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)


def test_an_overflowed_list_is_refused_with_what_to_do(local):
    neighbors = local.neighbors(WATER, capacity=1)
    assert bool(evaluate(local, WATER, neighbors, forces=False).overflow)
    with pytest.raises(InputError, match=r"overflowed.*larger `capacity`, or leave `capacity` out"):
        predict(local, WATER, neighbors, forces=False)


def test_an_indefinite_equilibration_is_refused(charged):
    """Point charges without hardness attract each other without limit."""
    model = lrpot.charges.Equilibration(
        charged.charge_model.networks, jnp.full(2, 1e-3), None, charged.charge_model.coulomb
    )
    collapsing = eqx.tree_at(lambda p: p.charge_model, charged, model)
    found = evaluate(collapsing, WATER, collapsing.neighbors(WATER), forces=False)
    assert not bool(found.converged)
    with pytest.raises(InputError, match=r"charges could not be determined.*not positive definite"):
        predict(collapsing, WATER, forces=False)


def test_parameters_that_are_not_finite_are_refused(charged):
    broken = eqx.tree_at(
        lambda p: p.charge_model.networks.biases[-1], charged, replace_fn=lambda b: b + jnp.nan
    )
    with pytest.raises(InputError, match=r"charges could not be determined.*not finite"):
        predict(broken, WATER, forces=False)


def test_what_the_list_refuses_predict_refuses(local):
    with pytest.raises(InputError, match="on top of each other"):
        predict(local, System([[0, 0, 0], [0, 0, 0.01]], [1, 1]))
    with pytest.raises(InputError, match=r"Element 6 \(C, atom 0\)"):
        predict(local, System([[0, 0, 0]], [6]))


@pytest.mark.parametrize("name", lrpot.MODELS)
@pytest.mark.parametrize("cell", [None, 6.0 * np.eye(3)], ids=["open", "periodic"])
def test_a_lone_atom_has_an_energy_and_no_force(name, cell):
    potential = lrpot.MODELS[name](("H", "O"), cutoff=3.0, hidden=(4,), key=jax.random.key(0))
    atom = System([[0.5, 0.5, 0.5]], [8], cell=cell, total_charge=-1.0)
    found = evaluate(potential, atom, potential.neighbors(atom))
    check_prediction(found)
    assert np.isfinite(found.energy)
    np.testing.assert_allclose(found.forces, 0.0, atol=1e-12)
    if found.charges is not None:
        np.testing.assert_allclose(found.charges, [-1.0], rtol=1e-12)


def test_a_prediction_without_flags_passes(local):
    check_prediction(evaluate(local, WATER, local.neighbors(WATER), forces=False))


@pytest.fixture
def shapes(monkeypatch):
    """Shapes of neighbours and waves that `predict` is compiled for."""
    found = []

    def traced(potential, system, neighbors, **settings):
        found.append([leaf.shape for leaf in jax.tree.leaves(neighbors)])
        return lrpot.evaluate(potential, system, neighbors, **settings)

    monkeypatch.setattr(sys.modules["lrpot.predict"], "_compiled", eqx.filter_jit(traced))
    return found


@pytest.mark.parametrize("recipe", ["2G", "4G"])
def test_crystals_with_other_numbers_of_neighbours_and_waves_share_what_is_compiled(
    recipe, charged, local, shapes
):
    potential = local if recipe == "2G" else charged
    rng, exact = np.random.default_rng(0), set()
    grid = np.stack(np.meshgrid(*[[0.0, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for length in (5.22, 5.23, 5.24, 5.25, 5.255, 5.26):
        positions = length * (grid + 0.06 * rng.normal(size=grid.shape))
        system = System(positions, [8, 1] * 4, cell=length * np.eye(3))
        neighbors = potential.neighbors(system)
        exact.add((neighbors.index.shape[1], neighbors.n_waves))
        found = predict(potential, system).energy
    expected = evaluate(potential, system, neighbors, forces=False, stress=False).energy
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    slots, waves = (len(set(numbers)) for numbers in zip(*exact, strict=True))
    assert slots > 1
    assert waves > 1 or recipe == "2G"
    assert len(shapes) == 1
