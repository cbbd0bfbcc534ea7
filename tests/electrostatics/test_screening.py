"""Screening of close pairs, and the electrostatic energy of a 4G potential, by hand."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.charges import Charges
from lrpot.electrostatics import CoulombSum, Screening
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list
from lrpot.terms import Coulomb
from lrpot.units import KE

INNER, OUTER = 1.7, 4.2


def switch(r, inner=INNER, outer=OUTER):
    """f_s of Ko et al. 2021."""
    if r <= inner:
        return 0.0
    return 1.0 if r >= outer else 0.5 * (1 - math.cos(math.pi * (r - inner) / (outer - inner)))


def kernel(r, widths):
    if widths is None:
        return 1 / r
    return math.erf(r / math.sqrt(2 * (widths[0] ** 2 + widths[1] ** 2))) / r


@functools.partial(jax.jit, static_argnums=(0, 1))
def energies_of(term, coulomb, charges, widths, system, neighbors):
    """What `terms["coulomb"]` of a 4G potential gives for these charges."""
    environment = environment_from_shifts(system, neighbors)
    phi = coulomb(charges, widths, system, environment)
    known = Charges(charges, phi, widths, None, None, None, jnp.asarray(True))
    return term(system, environment, jnp.zeros((system.n_atoms, 0)), known)


def electrostatic_energies(
    charges, widths, positions, cell=None, *, screening=(INNER, OUTER), self_energy=False
):
    system = lrpot.System(positions, [1] * len(charges), cell=cell)
    coulomb = CoulombSum(4.5, 1e-12)
    neighbors = neighbor_list(system, 4.5, reciprocal=coulomb.reciprocal(system))
    term = Coulomb(None if screening is None else Screening(*screening), self_energy)
    return energies_of(
        term,
        coulomb,
        jnp.asarray(charges),
        None if widths is None else jnp.asarray(widths),
        system,
        neighbors,
    )


@pytest.mark.parametrize("widths", [None, (0.31, 1.2)], ids=["point", "gaussian"])
@pytest.mark.parametrize("r", [1.0, INNER, 2.1, 3.9, OUTER, 4.4, 30.0])
def test_two_charges_have_the_energy_of_the_formula(r, widths):
    charges = (0.7, -0.4)
    found = electrostatic_energies(charges, widths, [[0, 0, 0], [0.6 * r, 0, 0.8 * r]])
    expected = KE * charges[0] * charges[1] * switch(r) * kernel(r, widths)
    assert float(found.sum()) == pytest.approx(expected, rel=1e-13, abs=1e-14)
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-14)  # a pair shares its energy


def test_self_energy_is_that_of_each_gaussian_alone():
    charges, widths = (0.7, -0.4), (0.31, 1.2)
    arguments = charges, widths, [[0, 0, 0], [2.0, 0, 0]]
    difference = electrostatic_energies(*arguments, self_energy=True) - electrostatic_energies(
        *arguments
    )
    expected = [
        KE * q**2 / (2 * math.sqrt(math.pi) * w) for q, w in zip(charges, widths, strict=True)
    ]
    np.testing.assert_allclose(difference, expected, rtol=1e-13)


POSITIONS = np.array([[0.1, 0.0, 0.3], [1.6, 0.4, 0.0], [0.5, 2.4, 1.1]])
CELL = np.array([[3.0, 0.0, 0.0], [0.4, 3.2, 0.0], [-0.3, 0.5, 3.1]])
CHARGES, WIDTHS = np.array([0.8, -0.5, 0.3]), np.array([0.31, 0.66, 1.66])


@pytest.mark.parametrize("cell", [None, CELL], ids=["open", "crystal"])
@pytest.mark.parametrize("widths", [None, WIDTHS], ids=["point", "gaussian"])
def test_screening_below_every_distance_changes_nothing(cell, widths):
    bare = electrostatic_energies(CHARGES, widths, POSITIONS, cell, screening=None)
    nearly = electrostatic_energies(CHARGES, widths, POSITIONS, cell, screening=(0.0, 1e-3))
    np.testing.assert_array_equal(nearly, bare)


@pytest.mark.parametrize("widths", [None, WIDTHS], ids=["point", "gaussian"])
def test_screening_of_a_crystal_takes_every_close_pair_away_once(widths):
    bare = electrostatic_energies(CHARGES, widths, POSITIONS, CELL, screening=None).sum()
    screened = electrostatic_energies(CHARGES, widths, POSITIONS, CELL).sum()
    taken = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        for shift in itertools.product(range(-3, 4), repeat=3):
            r = math.hypot(*(POSITIONS[j] - POSITIONS[i] + np.array(shift) @ CELL))
            if r > 0:
                pair = None if widths is None else (widths[i], widths[j])
                # Every pair is met from both its ends, an atom and its image too.
                taken += 0.5 * KE * CHARGES[i] * CHARGES[j] * (1 - switch(r)) * kernel(r, pair)
    assert abs(taken) > 1
    assert float(bare - screened) == pytest.approx(taken, rel=1e-11)


def test_images_of_an_atom_itself_are_screened_with_half_weight():
    edge, charge, width = 3.0, 0.9, 0.5
    arguments = [charge], [width], [[0.2, 0.1, 0.0]], edge * np.eye(3)
    bare = electrostatic_energies(*arguments, screening=None).sum()
    screened = electrostatic_energies(*arguments).sum()
    # Six images at one edge; those at √2 edges, 4.24 Å, are beyond the outer radius.
    taken = 0.5 * 6 * KE * charge**2 * (1 - switch(edge)) * kernel(edge, (width, width))
    assert float(bare - screened) == pytest.approx(taken, rel=1e-11)


@pytest.mark.parametrize("widths", [None, WIDTHS], ids=["point", "gaussian"])
def test_screened_energy_doubles_with_the_cell(widths):
    one = electrostatic_energies(CHARGES, widths, POSITIONS, CELL).sum()
    double = electrostatic_energies(
        np.tile(CHARGES, 2),
        None if widths is None else np.tile(widths, 2),
        np.concatenate([POSITIONS, POSITIONS + CELL[1]]),
        CELL * [[1], [2], [1]],
    ).sum()
    assert float(double) == pytest.approx(2 * float(one), rel=1e-10)


@pytest.mark.parametrize("edge", [INNER, OUTER])
def test_switch_and_its_slope_are_continuous_at_both_radii(edge):
    missing = jax.jit(jax.vmap(jax.value_and_grad(Screening(INNER, OUTER).missing)))
    step = 1e-7
    (below, above), slopes = missing(jnp.array([edge - step, edge + step]))
    assert abs(below - above) < 1e-12  # a parabola on one side
    assert (jnp.abs(slopes) < 1e-6).all()


def test_switch_is_zero_one_half_and_one_where_it_should_be():
    found = Screening(INNER, OUTER).missing(
        jnp.array([0.0, INNER, (INNER + OUTER) / 2, OUTER, 1e4])
    )
    np.testing.assert_allclose(found, [1, 1, 0.5, 0, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize(("inner", "outer"), [(2.0, 2.0), (3.0, 2.0), (-0.1, 2.0)])
def test_screening_needs_two_radii_in_order(inner, outer):
    with pytest.raises(InputError, match=f"0 <= inner < outer.*inner={inner}.*outer={outer}"):
        Screening(inner, outer)
