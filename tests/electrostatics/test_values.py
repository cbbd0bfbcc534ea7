"""Electrostatics against numbers that others have published, and against plain sums."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import lrpot
from lrpot.electrostatics import (
    CoulombSum,
    coulomb_kernel,
    ewald_parameters,
    gaussian_kernel,
    self_potential,
)
from lrpot.electrostatics.kernels import complementary_kernel
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list
from lrpot.units import KE

TIGHT = 1e-14
TRICLINIC = np.array([[5.1, 0.0, 0.0], [1.3, 4.7, 0.0], [-0.9, 1.1, 5.6]])


def system_of(positions, cell=None, total_charge=0.0):
    return lrpot.System(positions, [1] * len(positions), cell=cell, total_charge=total_charge)


def lists(system, coulomb, *, slots=None, waves=None):
    """Neighbours of a system, rounded up in size so that few shapes are compiled."""
    found = neighbor_list(
        system, coulomb.cutoff, capacity=slots, reciprocal=coulomb.reciprocal(system)
    )
    assert not found.overflow
    if waves is None or found.reciprocal is None:
        return found
    assert found.n_waves <= waves
    padded = jnp.pad(found.reciprocal.waves, ((0, waves - found.n_waves), (0, 0)))
    return lrpot.Neighbors(found.index, found.shifts, lrpot.Reciprocal(padded), found.overflow)


def energy_at(coulomb, charges, widths, positions, cell, neighbors):
    """½ qᵀφ, self-interaction of Gaussian charges included."""
    system = system_of(positions, cell)
    phi = coulomb(charges, widths, system, environment_from_shifts(system, neighbors))
    return 0.5 * charges @ phi


@functools.partial(jax.jit, static_argnums=0)
def _energy_and_forces(coulomb, charges, widths, positions, cell, neighbors):
    energy, slope = jax.value_and_grad(energy_at, argnums=3)(
        coulomb, charges, widths, positions, cell, neighbors
    )
    return energy, -slope


def energy_and_forces(coulomb, charges, widths, system, **sizes):
    return _energy_and_forces(
        coulomb,
        jnp.asarray(charges, float),
        None if widths is None else jnp.asarray(widths, float),
        system.positions,
        system.cell,
        lists(system, coulomb, **sizes),
    )


@functools.partial(jax.jit, static_argnums=0)
def _matrix_and_columns(coulomb, widths, system, neighbors):
    environment = environment_from_shifts(system, neighbors)
    columns = jax.vmap(lambda unit: coulomb(unit, widths, system, environment))
    matrix = coulomb.operator(widths, system, environment).matrix()
    return matrix, columns(jnp.eye(system.n_atoms)).T


def matrix_and_columns(coulomb, widths, system, **sizes):
    widths = None if widths is None else jnp.asarray(widths, float)
    return _matrix_and_columns(coulomb, widths, system, lists(system, coulomb, **sizes))


def random_system(seed, n_atoms=6, cell=TRICLINIC, closest=0.9):
    """Atoms no closer than `closest`, also to images of each other; charges and widths."""
    rng = np.random.default_rng(seed)
    fractional = [rng.random(3)]
    while len(fractional) < n_atoms:
        new = rng.random(3)
        gaps = new - np.array(fractional)
        if np.linalg.norm((gaps - np.round(gaps)) @ cell, axis=1).min() > closest:
            fractional.append(new)
    charges = rng.normal(size=n_atoms)
    return system_of(np.array(fractional) @ cell, cell), charges - charges.mean(), rng


# Crystals ------------------------------------------------------------------------------------

# Fractional coordinates of anions relative to cations, and distance of nearest neighbours, in a
# face-centred (simple for caesium chloride) cubic cell of unit edge. The constants, per nearest
# distance, are those of the standard tables (Borwein, Glasser et al., Lattice Sums Then and Now,
# 2013; sequences A085469, A181152 and A182566 of the OEIS).
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CRYSTALS = {
    "rock salt": (FCC, [0.5, 0.5, 0.5], 0.5, 1.7475645946331822),
    "caesium chloride": (FCC[:1], [0.5, 0.5, 0.5], math.sqrt(3) / 2, 1.76267477307099),
    "zinc blende": (FCC, [0.25, 0.25, 0.25], math.sqrt(3) / 4, 1.63805505338879),
}


def crystal(name, edge):
    cations, offset, nearest, constant = CRYSTALS[name]
    fractional = np.concatenate([cations, cations + offset])
    charges = np.repeat([1.0, -1.0], len(cations))
    system = system_of(edge * fractional, edge * np.eye(3))
    return system, charges, edge * nearest, constant


@pytest.mark.parametrize("name", CRYSTALS)
def test_point_charges_on_a_lattice_have_its_madelung_constant(name):
    system, charges, nearest, constant = crystal(name, 5.64)
    energy, forces = energy_and_forces(CoulombSum(6.0, TIGHT), charges, None, system)
    pairs = len(charges) / 2
    assert -energy * nearest / (KE * pairs) == pytest.approx(constant, rel=1e-10)
    np.testing.assert_allclose(forces, 0.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("width", "constant", "tolerance"),
    # Sodium chloride with a = 5.64 Å. The narrow Gaussians do not overlap, so the number is the
    # point one; the wide ones were summed plainly over waves when the method was specified, to the
    # digits given.
    [(0.05, 1.7475645946, 1e-10), (0.6, 1.7422510, 5e-8)],
)
def test_gaussian_sodium_chloride_has_the_golden_numbers(width, constant, tolerance):
    system, charges, nearest, _ = crystal("rock salt", 5.64)
    widths = np.full(8, width)
    energy, _ = energy_and_forces(CoulombSum(6.0, TIGHT), charges, widths, system)
    per_pair = (energy - 0.5 * KE * np.sum(charges**2) / (math.sqrt(math.pi) * width)) / 4
    assert -per_pair * nearest / KE == pytest.approx(constant, abs=tolerance)
    if width == 0.05:
        assert per_pair == pytest.approx(-8.9235144, abs=5e-8)


@pytest.mark.parametrize(("edge", "width"), [(4.0, 0.5), (4.0, 0.9), (6.3, 0.2)])
def test_one_gaussian_in_a_cube_has_the_closed_form_of_a_charged_cell(edge, width):
    # Wigner lattice of point charges in its background: ½ · 2.8372974794806 / L (Brush, Sahlin &
    # Teller 1966); a Gaussian adds its self-interaction and its spread in the background.
    system = system_of([[0.3, 0.1, -0.2]], edge * np.eye(3))
    energy, forces = energy_and_forces(CoulombSum(5.0, TIGHT), [1.0], [width], system)
    expected = 1 / (2 * math.sqrt(math.pi) * width)
    expected += -0.5 * 2.8372974794806 / edge + 2 * math.pi * width**2 / edge**3
    # Gaussians of neighbouring cells overlap where erfc(L/2σ) is not small.
    overlap = 3 * math.erfc(edge / (2 * width)) / edge
    assert float(energy) / KE == pytest.approx(expected, abs=1e-11 + 2 * overlap)
    np.testing.assert_allclose(forces, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("half_edges", "constant"),
    # Energy of a Wigner lattice per charge, in units of kₑ/r_s (Brush, Sahlin & Teller 1966).
    [((np.ones((3, 3)) - 2 * np.eye(3)), 0.895929255682), ((1 - np.eye(3)), 0.895873615195)],
    ids=["body-centred", "face-centred"],
)
def test_wigner_lattices_have_their_energies_in_primitive_cells(half_edges, constant):
    """One point charge in an oblique cell and its background."""
    cell = 2.1 * half_edges
    radius = (3 * np.linalg.det(cell) / (4 * math.pi)) ** (1 / 3)
    system = system_of([[0.2, 0.1, -0.3]], cell)
    energy, _ = energy_and_forces(CoulombSum(5.0, TIGHT), [1.0], None, system)
    assert float(energy) == pytest.approx(-constant * KE / radius, rel=1e-10)


# Against plain sums and against itself ---------------------------------------------------------

WIDTHS = {
    "point": None,
    "narrow": np.array([0.31, 0.31, 0.66, 0.66, 0.5, 0.45]),
    "wide": np.array([1.66, 1.02, 1.41, 1.66, 2.44, 1.2]),
    "mixed": np.array([0.31, 1.66, 0.66, 1.02, 2.44, 0.31]),
    # Around the width of the auxiliary Gaussians, 0.5 Å to 1 Å for the cutoffs used here.
    "medium": np.array([0.31, 0.76, 0.9, 1.02, 0.6, 0.31]),
}
each_width = pytest.mark.parametrize("kind", WIDTHS)
each_gaussian = pytest.mark.parametrize("kind", [kind for kind in WIDTHS if kind != "point"])


def plain_matrix(system, widths):
    """4π/V Σ_{k≠0} exp(-γ²k²/2) cos(k·r)/k² over all waves that matter, in numpy."""
    positions, cell = np.asarray(system.positions), np.asarray(system.cell)
    largest = math.sqrt(2 * 36 / (2 * widths.min() ** 2))  # exp(-36) is 2e-16
    limits = np.ceil(largest * np.linalg.norm(cell, axis=1) / (2 * math.pi)).astype(int)
    grid = [np.arange(-limit, limit + 1) for limit in limits]
    whole = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3)
    waves = 2 * math.pi * whole[np.any(whole != 0, axis=1)] @ np.linalg.inv(cell).T
    squares = np.sum(waves**2, axis=1)
    matrix = np.empty((len(positions), len(positions)))
    for i, j in itertools.product(range(len(positions)), repeat=2):
        damping = np.exp(-0.5 * (widths[i] ** 2 + widths[j] ** 2) * squares)
        cosines = np.cos(waves @ (positions[i] - positions[j]))
        matrix[i, j] = np.sum(damping * cosines / squares)
    return KE * 4 * math.pi / np.linalg.det(cell) * matrix


@each_gaussian
def test_matrix_equals_the_plain_sum_over_waves(kind):
    system, _, _ = random_system(3)
    expected = plain_matrix(system, WIDTHS[kind])
    found, _ = matrix_and_columns(CoulombSum(6.0, 1e-13), WIDTHS[kind], system)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@each_width
@pytest.mark.parametrize("total_charge", [0.0, 1.0], ids=["neutral", "charged"])
def test_result_does_not_depend_on_the_splitting(kind, total_charge):
    system, charges, _ = random_system(4)
    charges = charges + total_charge / len(charges)
    reference, reference_forces = energy_and_forces(
        CoulombSum(9.0, 1e-13), charges, WIDTHS[kind], system
    )
    for cutoff in (4.0, 6.0):
        energy, forces = energy_and_forces(CoulombSum(cutoff, 1e-13), charges, WIDTHS[kind], system)
        assert float(energy) == pytest.approx(float(reference), rel=1e-11)
        scale = float(jnp.abs(reference_forces).max())
        np.testing.assert_allclose(forces, reference_forces, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("kind", ["point", "mixed"])
def test_eight_cells_have_eight_times_the_energy(kind):
    system, charges, _ = random_system(5)
    charges = charges + 0.1  # a background too
    shifts = np.array(list(itertools.product((0, 1), repeat=3))) @ TRICLINIC
    eight = system_of(
        np.concatenate([np.asarray(system.positions) + shift for shift in shifts]), 2 * TRICLINIC
    )
    widths = WIDTHS[kind]
    one, forces = energy_and_forces(CoulombSum(5.0, 1e-12), charges, widths, system)
    all_widths = None if widths is None else np.tile(widths, 8)
    total, all_forces = energy_and_forces(
        CoulombSum(5.0, 1e-12), np.tile(charges, 8), all_widths, eight
    )
    assert float(total) == pytest.approx(8 * float(one), rel=1e-11)
    np.testing.assert_allclose(all_forces, np.tile(forces, (8, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["point", "mixed"])
def test_energy_does_not_change_when_all_atoms_move_together_or_into_another_cell(kind):
    system, charges, rng = random_system(6)
    coulomb, sizes = CoulombSum(5.0, 1e-12), dict(slots=120, waves=4000)
    before, _ = energy_and_forces(coulomb, charges, WIDTHS[kind], system, **sizes)
    jumps = rng.integers(-2, 3, size=(6, 3)) @ TRICLINIC
    for move in (np.array([[0.7, -1.9, 3.1]]), jumps):
        after, forces = energy_and_forces(
            coulomb, charges, WIDTHS[kind], system_of(system.positions + move, TRICLINIC), **sizes
        )
        assert float(after) == pytest.approx(float(before), rel=1e-11)
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-10)


@each_width
@pytest.mark.parametrize("boundary", ["open", "crystal"])
def test_matrix_is_symmetric_and_its_columns_are_potentials_of_single_charges(kind, boundary):
    system, _, _ = random_system(7)
    if boundary == "open":
        system = system_of(system.positions)
    matrix, columns = matrix_and_columns(CoulombSum(6.0, 1e-8), WIDTHS[kind], system)
    np.testing.assert_allclose(matrix, columns, rtol=0, atol=1e-12)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12)


@each_gaussian
@pytest.mark.parametrize("boundary", ["open", "crystal"])
def test_energy_of_gaussian_charges_is_never_negative(kind, boundary):
    """Also with atoms at 0.3 Å from each other: the Coulomb energy of a density is positive."""
    for seed in range(5):
        system, _, rng = random_system(seed)
        positions = np.asarray(system.positions).copy()
        step = rng.normal(size=3)
        positions[1] = positions[0] + 0.3 * step / np.linalg.norm(step)
        positions[3] = positions[2] - 0.3 * step / np.linalg.norm(step)
        system = system_of(positions, None if boundary == "open" else TRICLINIC)
        matrix, _ = matrix_and_columns(
            CoulombSum(6.0, 1e-10), WIDTHS[kind], system, slots=120, waves=2000
        )
        # In a crystal a uniform density has no energy: zero is reached by very wide charges.
        lowest = np.linalg.eigvalsh(matrix).min()
        assert lowest > (0 if boundary == "open" else -1e-8)


def test_wide_gaussians_need_no_real_space_sum():
    system, charges, _ = random_system(8)
    coulomb = CoulombSum(6.0, 1e-12)
    alpha, _ = ewald_parameters(1e-12, 6.0)
    widths = np.linspace(1.6, 2.4, 6) / (2 * alpha)
    full = lists(system, coulomb)
    empty = lrpot.Neighbors(
        jnp.full_like(full.index[:, :1], 6), full.shifts[:, :1], full.reciprocal, full.overflow
    )
    with_pairs, without = (
        _energy_and_forces(
            coulomb, jnp.asarray(charges), jnp.asarray(widths), system.positions, system.cell, one
        )
        for one in (full, empty)
    )
    assert float(without[0]) == pytest.approx(float(with_pairs[0]), rel=1e-13)
    np.testing.assert_allclose(without[1], with_pairs[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("boundary", ["open", "crystal"])
def test_narrow_gaussians_are_point_charges(boundary):
    """Down to widths at which erfc(r/2σ) is below rounding; the self-interaction is taken off.

    In a charged cell the background adds 2π/V Q Σ q_i σ_i², here taken off too.
    """
    system, charges, _ = random_system(9, closest=1.2)
    charges = charges + 0.2
    cell = None if boundary == "open" else TRICLINIC
    system = system_of(system.positions, cell)
    coulomb, width = CoulombSum(5.0, 1e-13), 0.05
    points, point_forces = energy_and_forces(coulomb, charges, None, system)
    found, forces = energy_and_forces(coulomb, charges, np.full(6, width), system)
    extra = np.sum(charges**2) / (2 * math.sqrt(math.pi) * width)
    if cell is not None:
        extra += 2 * math.pi / np.linalg.det(cell) * np.sum(charges) ** 2 * width**2
    assert float(found) - KE * extra == pytest.approx(float(points), abs=1e-9)
    np.testing.assert_allclose(forces, point_forces, rtol=0, atol=1e-9)


# Kernels ---------------------------------------------------------------------------------------


@functools.cache
def kernel_derivative(order):
    """d^n K/d(r²)^n at γ² = 1."""
    function = functools.partial(gaussian_kernel, gamma_squared=jnp.ones(()))
    for _ in range(order):
        function = jax.grad(function)
    return jax.jit(jax.vmap(function))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_gaussian_kernel_is_a_boys_function_with_all_its_derivatives(order):
    """erf(r/√2)/r = √(2/π) F₀(r²/2) and F_n' = -F_{n+1}, with F from Kummer's function of scipy."""
    r_squared = np.concatenate([[0.0], np.logspace(-16, 2, 200), [0.5, 0.4999999, 0.5000001]])
    n = order
    boys = scipy.special.hyp1f1(n + 0.5, n + 1.5, -r_squared / 2) / (2 * n + 1)
    expected = math.sqrt(2 / math.pi) * (-0.5) ** n * boys
    found = kernel_derivative(order)(jnp.asarray(r_squared))
    tolerance = [1e-15, 1e-14, 1e-13, 2e-12][order]  # the closed form cancels near z = 0.25
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=tolerance)


@pytest.mark.parametrize("gamma", [0.4, 2.3])
def test_gaussian_kernel_follows_its_expansion_at_the_centre(gamma):
    """√(2/π)/γ (1 - r²/6γ² + r⁴/40γ⁴): value, slope and curvature in r, at and around 0."""

    def kernel(r):
        return gaussian_kernel(r**2, jnp.asarray(gamma**2))

    start = math.sqrt(2 / math.pi) / gamma
    slope_of = jax.grad(kernel)
    value, slope, curvature = jax.jit(lambda r: (kernel(r), slope_of(r), jax.grad(slope_of)(r)))(
        0.0
    )
    assert float(value) == pytest.approx(start, rel=1e-15)
    assert slope == 0
    assert float(curvature) == pytest.approx(-start / (3 * gamma**2), rel=1e-14)
    x = 0.01
    series = start * (1 - x**2 / 6 + x**4 / 40)
    assert float(kernel(jnp.asarray(x * gamma))) == pytest.approx(series, rel=x**6 / 100)


def test_a_gaussian_acts_on_itself_as_two_that_coincide():
    widths = jnp.array([0.31, 1.2])
    alone = self_potential(widths)
    np.testing.assert_allclose(alone, gaussian_kernel(jnp.zeros(2), 2 * widths**2), rtol=1e-15)


def test_point_kernel_is_the_inverse_distance_and_nothing_at_the_charge_itself():
    kernel = jax.vmap(jax.value_and_grad(lambda r_squared: coulomb_kernel(r_squared, None)))
    values, slopes = kernel(jnp.array([0.0, 4.0]))
    np.testing.assert_array_equal(values, [0, 0.5])
    np.testing.assert_allclose(slopes, [0, -0.0625], rtol=1e-15)


def test_what_a_gaussian_lacks_is_the_difference_of_both_kernels():
    r_squared, gamma_squared = jnp.array([0.5, 4.0, 30.0]), jnp.array([0.2, 1.7, 4.0])

    def difference(r_squared, gamma_squared):
        whole = coulomb_kernel(r_squared, None)
        return whole - coulomb_kernel(r_squared, gamma_squared)

    for of in (lambda f: f, jax.grad, lambda f: jax.grad(f, 1), lambda f: jax.hessian(f, (0, 1))):
        got = jax.vmap(of(complementary_kernel))(r_squared, gamma_squared)
        expected = jax.vmap(of(difference))(r_squared, gamma_squared)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), got, expected
        )


# Derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["point", "mixed"])
@pytest.mark.parametrize("boundary", ["open", "crystal"])
def test_energy_has_the_right_first_and_second_derivatives(kind, boundary):
    """By positions, cell, charges and widths together, against central differences."""
    system, charges, rng = random_system(10, n_atoms=3)
    system = system_of(system.positions, None if boundary == "open" else TRICLINIC)
    coulomb = CoulombSum(5.0, 1e-10)
    neighbors = lists(system, coulomb)
    widths = None if kind == "point" else jnp.array([0.31, 1.3, 2.44])
    strain = jnp.asarray(0.02 * rng.normal(size=(3, 3)))
    arguments = (system.positions, strain, jnp.asarray(charges) + 0.1, widths)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), arguments)

    def energy(positions, strain, charges, widths):
        moved = system_of(positions, system.cell).strained(strain)
        environment = environment_from_shifts(moved, neighbors)
        # Both ways to compute it.
        phi = coulomb(charges, widths, moved, environment)
        phi += coulomb.operator(widths, moved, environment).matrix() @ charges
        return 0.25 * charges @ phi

    @jax.jit
    def with_derivatives(step):
        def along(t):
            return energy(*jax.tree.map(lambda leaf, move: leaf + t * move, arguments, direction))

        slope = jax.grad(along)
        return along(step), slope(step), jax.grad(slope)(step)

    size = 1e-4
    (_, slope, curvature), up, down = (with_derivatives(t) for t in (0.0, size, -size))
    assert float(slope) == pytest.approx(float(up[0] - down[0]) / (2 * size), rel=1e-6)
    assert float(curvature) == pytest.approx(float(up[1] - down[1]) / (2 * size), rel=1e-6)


# Accuracy --------------------------------------------------------------------------------------


def rattled_rock_salt(seed):
    """Forces here are small differences of large ones, the hardest case."""
    rng = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(range(4), range(2), range(2))))
    positions = 2.82 * grid + 0.1 * rng.normal(size=grid.shape)
    return system_of(positions, 2.82 * np.diag([4.0, 2.0, 2.0])), (-1.0) ** grid.sum(axis=1), rng


def random_salt(seed):
    return random_system(seed, n_atoms=16, cell=1.6 * TRICLINIC, closest=1.2)


@pytest.mark.parametrize("make", [random_salt, rattled_rock_salt])
@pytest.mark.parametrize("kind", ["point", "mixed"])
@pytest.mark.parametrize("accuracy", [1e-4, 1e-6, 1e-8])
def test_forces_are_as_accurate_as_requested(make, kind, accuracy):
    """Relative root-mean-square error over ten systems, against converged sums."""
    for seed in range(10):
        system, charges, rng = make(seed)
        widths = None if kind == "point" else rng.choice([0.31, 0.76, 1.02, 1.66, 2.44], 16)
        exact = _converged_forces(make, kind, seed)
        _, forces = energy_and_forces(
            CoulombSum(6.0, accuracy), charges, widths, system, slots=120, waves=5000
        )
        error = jnp.linalg.norm(forces - exact) / jnp.linalg.norm(exact)
        assert error < accuracy


@functools.cache
def _converged_forces(make, kind, seed):
    system, charges, rng = make(seed)
    widths = None if kind == "point" else rng.choice([0.31, 0.76, 1.02, 1.66, 2.44], 16)
    # That this converges to the right sum is tested above, without an Ewald sum.
    coulomb = CoulombSum(7.0, 1e-11)
    return energy_and_forces(coulomb, charges, widths, system, slots=120, waves=5000)[1]


@pytest.mark.parametrize("accuracy", [0.0, 1e-16, 0.5, math.nan])
def test_accuracy_must_be_reachable(accuracy):
    with pytest.raises(InputError, match="relative force error between 1e-15 and 1e-1"):
        CoulombSum(6.0, accuracy)


def test_cutoff_must_be_positive():
    with pytest.raises(InputError, match=r"real-space cutoff must be positive.*-1"):
        CoulombSum(-1.0)


def test_crystal_without_waves_says_how_to_get_them():
    system, charges, _ = random_system(0)
    environment = environment_from_shifts(system, neighbor_list(system, 3.0))
    with pytest.raises(InputError, match="reciprocal="):
        CoulombSum(3.0)(jnp.asarray(charges), None, system, environment)
