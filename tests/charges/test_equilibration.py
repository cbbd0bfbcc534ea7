"""Equilibrated charges against dense linear algebra in numpy, and their derivatives."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import lrpot
from lrpot.charges import Constraints, Equilibration, equilibrate
from lrpot.charges.iterative import ChargeMatrix
from lrpot.electrostatics import CoulombSum
from lrpot.electrostatics.open import OpenOperator
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import neighbor_list
from lrpot.networks import ElementNetworks
from lrpot.units import KE

ELEMENTS = (1, 6, 8)
HARDNESS = {1: 3.0, 6: 7.5, 8: 0.4}
RADII = {1: 0.31, 6: 0.76, 8: 1.3}
CELL = np.array([[4.1, 0.0, 0.0], [0.9, 3.8, 0.0], [-0.6, 0.7, 4.4]])
NUMBERS = np.array([1, 6, 8, 1, 8])
POSITIONS = np.array(
    [[0.0, 0.1, 0.0], [1.1, 0.2, -0.1], [1.8, 1.3, 0.4], [0.2, 1.7, 1.9], [2.2, -0.6, 2.3]]
)
CHI = np.array([0.7, -2.1, 3.3, 0.2, 2.5])
COULOMB = CoulombSum(4.5, 1e-11)


either_boundary = pytest.mark.parametrize("cell", [None, CELL], ids=["open", "crystal"])
each_charge = pytest.mark.parametrize("total_charge", [-1.0, 0.0, 1.0])


def model(hardness=HARDNESS, radii=RADII):
    """An equilibration whose electronegativities are the features."""
    networks = ElementNetworks(ELEMENTS, (jnp.ones((3, 1, 1)),), (jnp.zeros((3, 1)),), ("linear",))
    root = jnp.sqrt(jnp.array([hardness[number] for number in ELEMENTS]))
    widths = None if radii is None else jnp.array([radii[number] for number in ELEMENTS])
    return Equilibration(networks, root, widths, COULOMB)


def system_of(cell, total_charge=0.0, positions=POSITIONS, numbers=NUMBERS):
    return lrpot.System(positions, numbers, cell=cell, total_charge=total_charge)


def lists(system, capacity=40):
    reciprocal = COULOMB.reciprocal(system)
    return neighbor_list(system, COULOMB.cutoff, capacity=capacity, reciprocal=reciprocal)


@jax.jit
def _solve(equilibration, chi, system, neighbors):
    return equilibration(chi[:, None], system, environment_from_shifts(system, neighbors))


def solve(system, *, chi=CHI, neighbors=None, **settings):
    neighbors = lists(system) if neighbors is None else neighbors
    return _solve(model(**settings), jnp.asarray(chi), system, neighbors)


def coulomb_matrix(system):
    """In open space from the formula; the map in a crystal has tests of its own."""
    sigma = np.array([RADII[number] for number in NUMBERS])
    if system.cell is not None:
        environment = environment_from_shifts(system, lists(system))
        return np.asarray(COULOMB.operator(jnp.asarray(sigma), system, environment).matrix())
    r = np.linalg.norm(POSITIONS[:, None] - POSITIONS[None], axis=-1) + np.eye(5)
    gamma = np.sqrt(sigma[:, None] ** 2 + sigma[None] ** 2)
    matrix = KE * scipy.special.erf(r / (math.sqrt(2) * gamma)) / r
    np.fill_diagonal(matrix, KE / (math.sqrt(math.pi) * sigma))
    return matrix


def bordered_solution(matrix, chi, total_charge):
    """[M 1; 1ᵀ 0] [q; μ] = [-χ; Q] by Gaussian elimination."""
    n = len(chi)
    bordered = np.block([[matrix, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solution = np.linalg.solve(bordered, [*-np.asarray(chi), total_charge])
    return solution[:n], solution[n]


@either_boundary
@each_charge
def test_charges_solve_the_bordered_system(cell, total_charge):
    system = system_of(cell, total_charge)
    found = solve(system)
    matrix = coulomb_matrix(system)
    hardness = np.array([HARDNESS[number] for number in NUMBERS])
    charges, multiplier = bordered_solution(matrix + np.diag(hardness), CHI, total_charge)
    assert np.abs(charges).max() > 0.1
    np.testing.assert_allclose(found.charges, charges, rtol=0, atol=1e-13)
    assert float(found.multiplier) == pytest.approx(multiplier, abs=1e-12)
    assert float(found.charges.sum()) == pytest.approx(total_charge, abs=1e-14)
    np.testing.assert_allclose(found.phi, matrix @ charges, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.hardness, hardness, rtol=1e-14)
    np.testing.assert_array_equal(found.electronegativity, CHI)
    assert found.converged


@each_charge
def test_diatomic_has_its_closed_form(total_charge):
    """q₁ = [χ₂ - χ₁ + Q (a₂₂ - o)]/(a₁₁ + a₂₂ - 2o), o being the Coulomb matrix element."""
    r, numbers, chi = 1.3, [1, 8], (0.4, 3.1)
    system = system_of(None, total_charge, [[0, 0, 0], [0, r, 0]], numbers)
    found = solve(system, chi=chi).charges
    one, two = (HARDNESS[n] + KE / (math.sqrt(math.pi) * RADII[n]) for n in numbers)
    gamma = math.hypot(*(RADII[n] for n in numbers))
    between = KE * math.erf(r / (math.sqrt(2) * gamma)) / r
    first = (chi[1] - chi[0] + total_charge * (two - between)) / (one + two - 2 * between)
    np.testing.assert_allclose(found, [first, total_charge - first], rtol=1e-13)


def equilibration_energy(system):
    """Σ χ q + ½ J q² + ½ q φ of the charges that were found."""
    found = solve(system)
    linear = found.electronegativity + 0.5 * found.hardness * found.charges + 0.5 * found.phi
    return float(found.charges @ linear), float(found.multiplier)


@either_boundary
@each_charge
def test_multiplier_is_minus_the_derivative_of_the_energy_by_the_total_charge(cell, total_charge):
    step = 1e-3  # the energy is a parabola: no error of the difference
    up, down = (equilibration_energy(system_of(cell, total_charge + s))[0] for s in (step, -step))
    _, multiplier = equilibration_energy(system_of(cell, total_charge))
    assert -(up - down) / (2 * step) == pytest.approx(multiplier, rel=1e-9, abs=1e-9)


@either_boundary
def test_charges_minimise_the_energy_among_all_with_the_same_sum(cell):
    system = system_of(cell, 1.0)
    charges = np.asarray(solve(system).charges)
    matrix = coulomb_matrix(system) + np.diag([HARDNESS[number] for number in NUMBERS])

    def energy(q):
        return CHI @ q + 0.5 * q @ matrix @ q

    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 1.0):
        move = rng.normal(size=5) * size
        assert energy(charges + move - move.mean()) > energy(charges)


@either_boundary
def test_padding_atoms_carry_nothing_and_change_nothing(cell):
    system = system_of(cell, 1.0)
    slots = np.array([5, 0, 2, 6, 3])  # where the atoms go among seven
    positions, numbers = np.full((7, 3), 0.3), np.zeros(7, dtype=int)
    positions[slots], numbers[slots] = POSITIONS, NUMBERS
    chi = np.full(7, 50.0)
    chi[slots] = CHI
    padded = system_of(cell, 1.0, positions, numbers)

    def charges_and_slope(system, chi):
        neighbors = lists(system)

        @jax.jit
        def slopes(positions, chi):
            def scalar(positions, chi):
                moved = system_of(cell, 1.0, positions, system.numbers)
                environment = environment_from_shifts(moved, neighbors)
                charges = model()(chi[:, None], moved, environment).charges
                return jnp.sum(jnp.sin(charges)), charges

            return jax.grad(scalar, argnums=(0, 1), has_aux=True)(positions, chi)

        return slopes(system.positions, jnp.asarray(chi))

    expected_slopes, expected = charges_and_slope(system, CHI)
    slopes, charges = charges_and_slope(padded, chi)
    empty = np.setdiff1d(np.arange(7), slots)
    np.testing.assert_array_equal(charges[empty], 0.0)
    np.testing.assert_allclose(charges[slots], expected, rtol=0, atol=1e-14)
    for found, reference in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_array_equal(found[empty], 0.0)
        np.testing.assert_allclose(found[slots], reference, rtol=0, atol=1e-13)


@either_boundary
def test_charges_have_the_right_first_and_second_derivatives(cell):
    """By positions, electronegativity, hardness, widths and total charge, by differences."""
    system = system_of(cell)
    neighbors = lists(system)
    rng = np.random.default_rng(6)
    start = model()
    arguments = (
        system.positions,
        jnp.asarray(CHI),
        start.hardness_root,
        start.radii,
        jnp.asarray(0.5),
    )

    def scalar(positions, chi, root, radii, total_charge):
        moved = system_of(cell, total_charge, positions)
        equilibration = eqx.tree_at(lambda m: (m.hardness_root, m.radii), start, (root, radii))
        environment = environment_from_shifts(moved, neighbors)
        found = equilibration(chi[:, None], moved, environment)
        return jnp.sum(jnp.sin(jnp.arange(1.0, 6) * found.charges)) + 0.1 * found.multiplier

    @jax.jit
    def with_derivatives(step, direction):
        def along(t):
            return scalar(*jax.tree.map(lambda leaf, move: leaf + t * move, arguments, direction))

        slope = jax.grad(along)
        return along(step), slope(step), jax.grad(slope)(step)

    # Small against the narrowest width: the error of the differences falls with the square.
    size, scale = 1e-4, 0.1
    moves = jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), arguments)
    for moved in ((0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)):
        direction = tuple(move * (n in moved) for n, move in enumerate(moves))
        (_, slope, curvature), up, down = (
            with_derivatives(t, direction) for t in (0.0, size, -size)
        )
        assert float(slope) == pytest.approx(float(up[0] - down[0]) / (2 * size), rel=1e-6)
        assert float(curvature) == pytest.approx(
            float(up[1] - down[1]) / (2 * size), rel=1e-6, abs=1e-9
        )


@pytest.mark.parametrize("n_real", [6, 4])
def test_implicit_derivatives_equal_those_through_a_dense_bordered_solve(n_real):
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(6, 6))
    real = jnp.arange(6) < n_real
    mask = np.asarray(real)[:, None] * np.asarray(real)
    matrix = jnp.asarray((factor @ factor.T + np.eye(6)) * mask)
    chi, total_charge = jnp.asarray(rng.normal(size=6)), jnp.asarray(-0.7)
    slopes = jnp.asarray(rng.normal(size=6))

    def by_cholesky(matrix, chi, total_charge):
        ones = real.astype(float)
        constraints = Constraints(ones[None, :], total_charge[None], ones)
        charges, multipliers = equilibrate(
            ChargeMatrix(OpenOperator(matrix), jnp.zeros(6), ones), chi, constraints
        )
        return charges, multipliers[0]

    def by_elimination(matrix, chi, total_charge):
        inner, ones = matrix[:n_real, :n_real], jnp.ones((n_real, 1))
        bordered = jnp.block([[inner, ones], [ones.T, jnp.zeros((1, 1))]])
        right = jnp.concatenate([-chi[:n_real], total_charge[None]])
        solution = jnp.linalg.solve(bordered, right)
        return jnp.pad(solution[:n_real], (0, 6 - n_real)), solution[n_real]

    def all_orders(route):
        def scalar(matrix, chi, total_charge):
            # The two routes read different halves of the matrix.
            charges, multiplier = route(0.5 * (matrix + matrix.T), chi, total_charge)
            return jnp.sum(jnp.sin(slopes * charges)) + multiplier**2

        gradient = jax.grad(scalar, argnums=(0, 1, 2))
        direction = jax.tree.map(jnp.cos, (matrix * mask, chi, total_charge))
        direction = (direction[0] * mask, *direction[1:])
        compiled = jax.jit(lambda *a: (scalar(*a), jax.jvp(gradient, a, direction)))
        return compiled(matrix, chi, total_charge)

    def of_real(tree):
        value, pairs = tree
        kept = [(m[:n_real, :n_real], c[:n_real], q) for m, c, q in pairs]
        return jax.tree.leaves((value, kept))

    for one, other in zip(
        of_real(all_orders(by_cholesky)), of_real(all_orders(by_elimination)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * (1 + np.abs(other).max()))


def test_indefinite_matrix_gives_nan_and_a_flag_but_no_exception():
    # Point charges 1.1 Å apart gain 13 eV by running away from each other; hardness 0.4 holds none.
    soft = solve(system_of(None), radii=None, hardness={1: 0.1, 6: 0.1, 8: 0.1})
    assert np.isnan(soft.charges).any()
    assert not soft.converged
    # With hardness they do not.
    hard = solve(system_of(None), radii=None, hardness={1: 40.0, 6: 40.0, 8: 40.0})
    assert np.isfinite(hard.charges).all()
    assert hard.converged


def test_very_wide_charges_without_hardness_still_have_a_solution():
    """In a crystal they leave the direction of uniform charge without energy."""
    wide = dict.fromkeys(ELEMENTS, 1.6)
    none = dict.fromkeys(ELEMENTS, 0.0)
    one = system_of(CELL, 1.0, POSITIONS[:1], NUMBERS[:1])
    found = solve(one, chi=CHI[:1], radii=wide, hardness=none)
    assert found.converged
    np.testing.assert_allclose(found.charges, [1.0], rtol=1e-12)


@either_boundary
def test_batch_of_total_charges_equals_a_loop(cell):
    totals = np.array([-2.0, -1.0, 0.0, 0.5, 1.0])
    neighbors = lists(system_of(cell))
    chi = np.stack([CHI + 0.1 * k for k in range(5)]) * np.cos(np.arange(5))
    alone = [
        solve(system_of(cell, total), chi=row, neighbors=neighbors)
        for total, row in zip(totals, chi, strict=True)
    ]

    def at(total, row):
        system = system_of(cell, total)
        return model()(row[:, None], system, environment_from_shifts(system, neighbors))

    together = jax.jit(jax.vmap(at))(jnp.asarray(totals), jnp.asarray(chi))
    for name in ("charges", "phi", "multiplier", "converged"):
        expected = np.stack([getattr(one, name) for one in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(together.charges.sum(axis=1), totals, rtol=0, atol=1e-14)
