"""Fields, applied potentials and fragments: what systems say, and what charges do with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot import md
from lrpot.data import pad_neighbors, pad_system
from lrpot.descriptors import ACSF, Channels, Radial, Shells, identity_scaling
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.potential import trainable

NUMBERS = np.array([1, 8, 8, 1, 8])
POSITIONS = np.array(
    [[0.0, 0.1, 0.0], [1.1, 0.2, -0.1], [1.8, 1.5, 0.4], [0.2, 1.7, 1.9], [2.2, -0.6, 2.3]]
)
CELL = np.array([[4.1, 0.0, 0.0], [0.9, 3.8, 0.0], [0.0, 0.0, 1.0]])
FIELD = np.array([0.3, -0.2, 0.5])
MOLECULE = lrpot.System(POSITIONS, NUMBERS, field=FIELD)
SLAB = lrpot.System(
    POSITIONS, NUMBERS, cell=CELL, pbc=(True, True, False), field=[0.0, 0.0, 0.5], total_charge=1.0
)
GROUPS = np.array([0, 0, 1, -1, 1])
SPLIT = lrpot.System(
    POSITIONS,
    NUMBERS,
    applied=[0.0, 0.0, 0.4, -0.7, 0.0],
    fragments=GROUPS,
    fragment_charges=[1.0, -0.5],
)
SYSTEMS = {"molecule": MOLECULE, "slab": SLAB, "fragments": SPLIT}
each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
each_solver = pytest.mark.parametrize("solver", ["dense", "iterative"])


def potential_of(recipe, **settings):
    numbers = 1, 8
    radial = Radial(Channels(numbers), Shells(((0.6, 0.9),), 3.5, "tanh3"))
    potential = recipe(
        numbers,
        descriptor=ACSF((radial,), identity_scaling(numbers, len(radial.labels))),
        hidden=(4,),
        key=jax.random.key(3),
        **({"accuracy": 1e-8} if recipe is not lrpot.hdnnp_2g else {}),
    )
    rng = np.random.default_rng(8)
    potential = jax.tree.map(
        lambda leaf, learnt: leaf + 0.4 * rng.normal(size=leaf.shape) if learnt else leaf,
        potential,
        trainable(potential),
    )
    return potential.with_solver(**settings) if settings else potential


def tight(recipe, solver):
    return potential_of(recipe, solver=solver, tolerance=1e-11)


def moved(system, **changes):
    return dataclasses.replace(system, **{n: jnp.asarray(v) for n, v in changes.items()})


def evaluate(potential, system):
    neighbors = potential.neighbors(system)
    return jax.jit(lambda system: lrpot.evaluate(potential, system, neighbors, stress=False))


def with_field(potential, system, field):
    """For each field of a list, from one compilation."""
    evaluated = evaluate(potential, system)
    return [evaluated(moved(system, field=one)) for one in field]


@each_system
@each_solver
def test_charges_solve_the_bordered_equations_of_numpy(system, solver):
    potential = tight(lrpot.cent, solver)
    neighbors = potential.neighbors(system)

    @jax.jit
    def charges_and_matrix(system):
        environment = environment_from_shifts(system, neighbors)
        _, found = potential(system, environment)
        operator = potential.charge_model.coulomb.operator(found.widths, system, environment)
        return found, operator.matrix()

    found, matrix = charges_and_matrix(system)
    matrix = np.asarray(matrix) + np.diag(found.hardness)
    drive = np.asarray(found.electronegativity).copy()
    if system.field is not None:
        drive -= POSITIONS @ np.asarray(system.field)
    if system.applied is not None:
        drive -= np.asarray(system.applied)
    groups, totals = np.zeros(5, dtype=int), [float(system.total_charge)]
    if system.fragments is not None:
        groups, totals = GROUPS, [1.0, -0.5]
    members = (groups == np.arange(len(totals))[:, None]).astype(float)
    bordered = np.block([[matrix, members.T], [members, np.zeros((len(totals),) * 2)]])
    expected = np.linalg.solve(bordered, [*-drive, *totals])
    np.testing.assert_allclose(found.charges, expected[:5], rtol=0, atol=1e-10)
    multiplier = expected[5] if len(totals) == 1 else expected[5:]
    np.testing.assert_allclose(found.multiplier, multiplier, rtol=0, atol=1e-9)


@each_system
@each_solver
@pytest.mark.parametrize("recipe", [lrpot.hdnnp_4g, lrpot.cent], ids=["4g", "cent"])
def test_forces_are_the_gradient_of_the_energy(system, solver, recipe):
    evaluated = evaluate(tight(recipe, solver), system)
    forces = evaluated(system).forces
    direction = np.random.default_rng(0).normal(size=(5, 3))
    step = 1e-4
    up, down = (
        evaluated(moved(system, positions=system.positions + s * direction)).energy
        for s in (step, -step)
    )
    expected = -(float(up) - float(down)) / (2 * step)
    assert np.sum(forces * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@each_solver
def test_derivative_of_the_energy_by_the_field_is_minus_the_dipole(solver):
    """As it is for charges that minimise the energy."""
    step = 1e-3
    fields = [FIELD + s * np.eye(3)[a] for a in range(3) for s in (step, -step)]
    found = with_field(tight(lrpot.cent, solver), MOLECULE, [*fields, FIELD])
    energies = np.array([float(one.energy) for one in found[:6]]).reshape(3, 2)
    slopes = (energies[:, 0] - energies[:, 1]) / (2 * step)
    np.testing.assert_allclose(-slopes, found[6].dipole, rtol=1e-8)
    # The energy is quadratic in the field, and the polarizability symmetric and positive.
    dipoles = np.stack([one.dipole for one in found[:6]]).reshape(3, 2, 3)
    polarizability = (dipoles[:, 0] - dipoles[:, 1]) / (2 * step)
    np.testing.assert_allclose(polarizability, polarizability.T, rtol=0, atol=1e-9)
    assert np.linalg.eigvalsh(polarizability)[0] > 0


def test_fixed_charges_feel_the_field_as_a_force():
    potential = potential_of(lrpot.hdnnp_3g)
    free = evaluate(potential, moved(MOLECULE, field=jnp.zeros(3)))
    without, within = (free(moved(MOLECULE, field=f)) for f in (jnp.zeros(3), FIELD))
    np.testing.assert_allclose(within.charges, without.charges, rtol=0, atol=1e-15)
    work = float(without.energy - within.energy)
    assert work == pytest.approx(float(without.dipole @ FIELD), rel=1e-10)
    total = np.asarray(within.forces).sum(axis=0)  # on a neutral system there is none
    np.testing.assert_allclose(total, 0.0, atol=1e-10)


@each_solver
def test_electrode_takes_the_charge_that_its_potential_asks_for(solver):
    """χ + M q equals the applied potential on every atom of the electrode."""
    applied = np.array([0.5, 0.5, 0.0, 0.5, 0.0])
    system = lrpot.System(
        POSITIONS, NUMBERS, applied=applied, fragments=[-1, -1, 0, -1, 0], total_charge=-0.3
    )
    potential = tight(lrpot.cent, solver)
    neighbors = potential.neighbors(system)
    charges_of = jax.jit(
        lambda system: potential(system, environment_from_shifts(system, neighbors))[1]
    )
    found = charges_of(system)
    level = found.electronegativity + found.hardness * found.charges + found.phi
    np.testing.assert_allclose(level[applied > 0], 0.5, atol=1e-9)
    assert float(found.charges[applied == 0].sum()) == pytest.approx(-0.3, abs=1e-12)
    higher = moved(system, applied=3 * applied)
    more = charges_of(higher)
    assert float((more.charges - found.charges)[applied > 0].sum()) > 0.01


@each_solver
def test_padding_atoms_belong_to_no_fragment(solver):
    potential = tight(lrpot.hdnnp_4g, solver)
    neighbors = potential.neighbors(SPLIT)
    compiled = jax.jit(lambda s, n: lrpot.evaluate(potential, s, n, stress=False))
    alone = compiled(SPLIT, neighbors)
    padded = compiled(pad_system(SPLIT, 7), pad_neighbors(neighbors, 7, neighbors.index.shape[1]))
    np.testing.assert_allclose(padded.energy, alone.energy, rtol=1e-12)
    np.testing.assert_allclose(padded.forces[:5], alone.forces, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(padded.charges[5:], 0.0)


WRONG = {
    "has no potential in a crystal": dict(cell=4 * np.eye(3), field=FIELD),
    "component along a period": dict(cell=CELL, pbc=(True, True, False), field=FIELD),
    r"`field` must have shape \(3,\)": dict(field=[0.1]),
    r"`applied` must have shape \(5,\)": dict(applied=[0.1]),
    "`applied` is not finite": dict(applied=[np.nan] * 5),
    "goes with `fragments`": dict(fragment_charges=[1.0]),
    "between -1 .none. and 0": dict(fragments=[0, 0, 1, 1, 1]),
    "not the sum of `fragment_charges`": dict(
        fragments=[0, 0, 1, 1, 1], fragment_charges=[1.0, 0.0], total_charge=2.0
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_conditions_that_make_no_sense_are_refused(message):
    with pytest.raises(InputError, match=message):
        lrpot.System(POSITIONS, NUMBERS, **WRONG[message])


def test_potentials_say_what_they_cannot_feel():
    with pytest.raises(InputError, match="has no charges, and feels no field"):
        lrpot.predict(potential_of(lrpot.hdnnp_2g), MOLECULE)
    with pytest.raises(InputError, match="equilibrates no charges"):
        lrpot.predict(potential_of(lrpot.hdnnp_3g), SPLIT)
    with pytest.raises(InputError, match="which molecular dynamics cannot use"):
        md.run(potential_of(lrpot.cent), MOLECULE, steps=1, key=jax.random.key(0))
