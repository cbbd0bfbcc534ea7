"""Energies corrected by the adjoint: their error, and their derivatives to second order."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.descriptors import ACSF, Channels, Radial, Shells, identity_scaling
from lrpot.potential import trainable

CELL = np.array([[4.1, 0.0, 0.0], [0.9, 3.8, 0.0], [-0.6, 0.7, 5.4]])
NUMBERS = np.array([1, 8, 8, 1, 8])
POSITIONS = np.array(
    [[0.0, 0.1, 0.0], [1.1, 0.2, -0.1], [1.8, 1.5, 0.4], [0.2, 1.7, 1.9], [2.2, -0.6, 2.3]]
)
SYSTEMS = {
    "open": lrpot.System(POSITIONS, NUMBERS, total_charge=-1.0),
    "crystal": lrpot.System(POSITIONS, NUMBERS, cell=CELL, total_charge=1.0),
}
RECIPES = {"4g": lrpot.hdnnp_4g, "cent": lrpot.cent}


def potential_of(recipe, **settings):
    """Random weights everywhere, so that no derivative is trivially zero."""
    numbers = 1, 8
    radial = Radial(Channels(numbers), Shells(((0.6, 0.9), (0.3, 0.0)), 3.5, "tanh3"))
    potential = RECIPES[recipe](
        numbers,
        descriptor=ACSF((radial,), identity_scaling(numbers, len(radial.labels))),
        hidden=(4,),
        hardness=2.0,
        accuracy=1e-5,
        key=jax.random.key(3),
    )
    rng = np.random.default_rng(8)
    potential = jax.tree.map(
        lambda leaf, learnt: leaf + 0.4 * rng.normal(size=leaf.shape) if learnt else leaf,
        potential,
        trainable(potential),
    )
    return potential.with_solver(**settings)


each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
each_recipe = pytest.mark.parametrize("recipe", RECIPES)


def evaluate(potential, system, **settings):
    neighbors = potential.neighbors(system)
    compiled = jax.jit(lambda neighbors: lrpot.evaluate(potential, system, neighbors, **settings))
    return compiled(neighbors)


def test_error_of_the_energy_is_of_second_order_in_the_errors_of_the_charges():
    system = SYSTEMS["crystal"]
    exact = evaluate(potential_of("4g", solver="iterative", tolerance=1e-12), system)
    # So tolerant that what it is given is what it returns.
    lazy = potential_of("4g", solver="iterative", tolerance=1e3)
    neighbors = lazy.neighbors(system)
    evaluate_at = jax.jit(
        lambda guess: lrpot.evaluate(lazy, system, neighbors, stress=False, guess=guess)
    )
    moves = np.random.default_rng(1).normal(size=(2, 5))
    moves -= moves.mean(axis=1, keepdims=True)

    def errors(size):
        guess = exact.charges + size * moves[0], exact.adjoint + size * moves[1]
        found = evaluate_at(guess)
        assert int(found.iterations) == 0
        np.testing.assert_allclose(found.charges - exact.charges, size * moves[0], atol=1e-12)
        return float(found.energy - exact.energy), np.abs(found.forces - exact.forces).max()

    large, small = errors(1e-3), errors(1e-4)
    assert abs(large[0]) > 1e-7
    assert large[0] == pytest.approx(100 * small[0], rel=1e-2)
    assert large[1] == pytest.approx(10 * small[1], rel=0.1)


@each_system
@each_recipe
def test_energy_forces_stress_and_charges_are_those_of_the_dense_solver(system, recipe):
    found, exact = (
        evaluate(potential_of(recipe, solver=solver, tolerance=1e-10), system)
        for solver in ("iterative", "dense")
    )
    assert found.converged
    for name in ("energy", "forces", "stress", "charges", "dipole"):
        one, other = getattr(found, name), getattr(exact, name)
        if other is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * (1 + np.abs(other).max()))
    if recipe == "cent":  # the charges minimise the energy: there is nothing to answer to
        np.testing.assert_allclose(found.adjoint, 0.0, atol=1e-9)
    else:
        assert np.abs(found.adjoint).max() > 1e-3
        np.testing.assert_allclose(found.adjoint.sum(), 0.0, atol=1e-12)


@each_system
def test_second_derivatives_are_those_of_the_dense_solver(system):
    """The Hessian, and the gradient of a loss on forces by the parameters and the total charge.

    Some parameters move the charges and some only the energy: of the latter, mixed derivatives
    with positions need the response of charges that do not depend on the parameter.
    """
    neighbors = potential_of("4g", solver="iterative").neighbors(system)

    def loss(potential, positions, total_charge):
        moved = lrpot.System(positions, system.numbers, cell=system.cell, total_charge=total_charge)
        found = lrpot.evaluate(potential, moved, neighbors)
        value = jnp.sum(jnp.sin(found.forces)) + found.energy**2 + jnp.sum(found.charges**2)
        return value if found.stress is None else value + 100 * jnp.sum(found.stress**2)

    def energy_slope(potential, positions, total_charge):
        """By the parameters inside, by the positions outside."""

        def energy(potential):
            moved = lrpot.System(
                positions, system.numbers, cell=system.cell, total_charge=total_charge
            )
            return lrpot.evaluate(potential, moved, neighbors, forces=False, stress=False).energy

        parts = eqx.filter_grad(energy)(potential)
        return sum(jnp.sum(jnp.cos(jnp.arange(p.size)) * p.ravel()) for p in jax.tree.leaves(parts))

    def derivatives(solver):
        potential = potential_of("4g", solver=solver, tolerance=1e-12)

        @jax.jit
        def compute(*arguments):
            by_parameters = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)(*arguments)
            mixed = jax.grad(energy_slope, argnums=(1, 2))(*arguments)
            return eqx.filter(by_parameters, eqx.is_inexact_array), mixed

        return compute(potential, system.positions, system.total_charge)

    found, exact = derivatives("iterative"), derivatives("dense")
    compared = 0
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * (1e-3 + scale))
        compared += scale > 1e-6
    assert compared > 8


def test_guess_of_charges_and_adjoint_leaves_nothing_to_do():
    system = SYSTEMS["crystal"]
    potential = potential_of("4g", solver="iterative", tolerance=1e-9)
    cold = evaluate(potential, system)
    loose = potential.with_solver(tolerance=2e-9)
    warm = evaluate(loose, system, guess=(cold.charges, cold.adjoint))
    assert int(cold.iterations) > 6
    assert int(warm.iterations) == 0
    np.testing.assert_allclose(warm.energy, cold.energy, rtol=1e-14)
    np.testing.assert_allclose(warm.forces, cold.forces, rtol=0, atol=1e-7)


def test_lack_of_convergence_of_the_adjoint_is_reported():
    system = SYSTEMS["open"]
    potential = potential_of("4g", solver="iterative", tolerance=1e-9, max_iterations=3)
    good = evaluate(potential_of("4g", solver="dense"), system)
    found = evaluate(potential, system, guess=(good.charges, jnp.zeros(5)))
    assert int(found.iterations) == 3  # the charges needed none
    assert not found.converged
