"""Charged and neutral slabs against exact sums in two dimensions, closed forms and LAMMPS."""

import dataclasses
import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import lrpot
from lrpot.charges import constraints_of, equilibrate
from lrpot.charges.iterative import ChargeMatrix
from lrpot.data import pad_neighbors
from lrpot.electrostatics import CoulombSum, FixedSum
from lrpot.electrostatics.open import OpenOperator
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list
from lrpot.units import KE

# Two periods that are not at right angles, and a third vector that leans: axis by axis.
CELL = np.array([[4.3, 0.0, 0.0], [1.6, 3.9, 0.0], [0.8, -1.1, 9.0]])
SLABS = {
    axis: (np.roll(np.roll(CELL, axis + 1, axis=0), axis + 1, axis=1), tuple(np.arange(3) != axis))
    for axis in range(3)
}
WIDTHS = {
    "point": None,
    "narrow": np.array([0.31, 0.31, 0.66, 0.66, 0.5, 0.45]),
    "wide": np.array([1.66, 1.02, 1.41, 1.66, 2.44, 1.2]),
    "mixed": np.array([0.31, 1.66, 0.66, 1.02, 2.44, 0.31]),
}
each_width = pytest.mark.parametrize("kind", WIDTHS)


def random_slab(seed, axis=2, n_atoms=6, thickness=4.0, closest=0.9):
    """Atoms in the middle of the cell and outside of it, charges that do not sum to zero."""
    rng = np.random.default_rng(seed)
    cell, pbc = SLABS[axis]
    extent = np.where(pbc, 1.0, thickness / 9.0)
    fractional = [rng.random(3) * extent]
    while len(fractional) < n_atoms:
        new = rng.random(3) * extent
        gaps = new - np.array(fractional)
        gaps -= np.where(pbc, np.round(gaps), 0.0)
        if np.linalg.norm(gaps @ cell, axis=1).min() > closest:
            fractional.append(new)
    fractional = np.array(fractional) + np.array([1.2, -0.7, 2.3])
    system = lrpot.System(fractional @ cell, [1] * n_atoms, cell=cell, pbc=pbc)
    return system, rng.normal(size=n_atoms), rng


def lists(system, coulomb, widths=None, **settings):
    reciprocal = coulomb.reciprocal(system, widths, **settings)
    return rounded_up(neighbor_list(system, coulomb.cutoff, reciprocal=reciprocal))


def rounded_up(neighbors):
    """The list with its sizes rounded up, so that few shapes are compiled."""
    n_atoms, slots = neighbors.index.shape
    waves = -(-neighbors.n_waves // 6000) * 6000
    return pad_neighbors(neighbors, n_atoms, -(-slots // 50) * 50, waves)


def energy_at(coulomb, charges, widths, system, neighbors):
    phi = coulomb(charges, widths, system, environment_from_shifts(system, neighbors))
    return 0.5 * charges @ phi


@functools.partial(jax.jit, static_argnums=0)
def _energy_and_forces(coulomb, charges, widths, system, neighbors):
    def energy(positions):
        moved = dataclasses.replace(system, positions=positions)
        return energy_at(coulomb, charges, widths, moved, neighbors)

    value, slope = jax.value_and_grad(energy)(system.positions)
    return value, -slope


def energy_and_forces(coulomb, charges, widths, system, neighbors=None):
    widths = None if widths is None else jnp.asarray(widths)
    neighbors = lists(system, coulomb, widths) if neighbors is None else neighbors
    return _energy_and_forces(coulomb, jnp.asarray(charges), widths, system, neighbors)


@functools.partial(jax.jit, static_argnums=0)
def _all_maps(coulomb, widths, system, neighbors):
    operator = coulomb.operator(widths, system, environment_from_shifts(system, neighbors))
    columns = jax.vmap(operator)(jnp.eye(system.n_atoms)).T
    slab = operator.real.slab
    dipole = jnp.sqrt(KE) * slab.column()
    crystal = operator.matrix() - KE * slab.matrix()
    positive = crystal + dipole[:, None] * dipole[None, :]
    diagonal = jnp.diag(columns - KE * slab.matrix()) + dipole**2
    return operator.matrix(), columns, diagonal, positive


def matrix_of(coulomb, widths, system):
    widths = None if widths is None else jnp.asarray(widths)
    matrix, columns, diagonal, positive = _all_maps(
        coulomb, widths, system, lists(system, coulomb, widths)
    )
    np.testing.assert_allclose(columns, matrix, rtol=0, atol=1e-11)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-11)
    # The diagonal is that of a positive matrix which is the same for neutral charges.
    np.testing.assert_allclose(jnp.diag(positive), diagonal, rtol=0, atol=1e-11)
    neutral = np.eye(len(matrix)) - 1 / len(matrix)
    np.testing.assert_allclose(
        neutral @ positive @ neutral, neutral @ matrix @ neutral, rtol=0, atol=1e-10
    )
    if widths is not None:
        assert np.linalg.eigvalsh(positive)[0] > -1e-9
        assert np.linalg.eigvalsh(neutral @ matrix @ neutral)[0] > -1e-9
    return np.asarray(matrix)


# The exact sum ---------------------------------------------------------------------------------


def gaussian_sheet(separation, gamma, plane, normal):
    """Potential of Gaussians on a lattice in a plane, each of total width γ, without units.

    Waves along the plane in closed form across it [parry:75]: for k ≠ 0
    π/(A k) cos(k·r) [exp(kz) erfc(kγ/√2 + z/√2γ) + exp(-kz) erfc(kγ/√2 - z/√2γ)], and for k = 0
    -2π/A [z erf(z/√2γ) + γ √(2/π) exp(-z²/2γ²)].
    """
    area = np.linalg.norm(np.cross(*plane))
    z = separation @ normal
    largest = math.sqrt(2 * 38) / gamma  # exp(-38) is 3e-17
    limits = np.ceil(largest * np.linalg.norm(plane, axis=1) / (2 * math.pi)).astype(int)
    grid = np.array(list(itertools.product(*(range(-limit, limit + 1) for limit in limits))))
    waves = 2 * math.pi * grid[grid.any(axis=1)] @ np.linalg.pinv(plane).T
    k = np.linalg.norm(waves, axis=1)

    def side(z):
        x = k * gamma / math.sqrt(2) + z / (math.sqrt(2) * gamma)
        scaled = scipy.special.erfcx(np.maximum(x, 0.0)) * np.exp(
            -0.5 * (k * gamma) ** 2 - 0.5 * (z / gamma) ** 2
        )
        return np.where(x > 0, scaled, np.exp(np.minimum(k * z, 0.0)) * scipy.special.erfc(x))

    along = math.pi / area * np.sum(np.cos(waves @ separation) / k * (side(z) + side(-z)))
    y = z / (math.sqrt(2) * gamma)
    constant = z * math.erf(y) + gamma * math.sqrt(2 / math.pi) * math.exp(-(y**2))
    return along - 2 * math.pi / area * constant


def exact_matrix(system, widths):
    """The Coulomb matrix of a slab in numpy. Point charges take the splitting of Ewald."""
    positions, cell = np.asarray(system.positions), np.asarray(system.cell)
    axis = system.pbc.index(False)
    plane = np.delete(cell, axis, axis=0)
    normal = np.cross(*plane) / np.linalg.norm(np.cross(*plane))
    images = np.array(list(itertools.product(range(-12, 13), repeat=2))) @ plane
    split = 1.0  # exp(-r²/2) is below rounding at the nearest image that is left out
    matrix = np.empty((len(positions),) * 2)
    for i, j in itertools.product(range(len(positions)), repeat=2):
        separation = positions[i] - positions[j]
        separation -= np.round(separation @ np.linalg.pinv(plane)) @ plane
        if widths is not None:
            gamma = math.hypot(widths[i], widths[j])
            matrix[i, j] = gaussian_sheet(separation, gamma, plane, normal)
            continue
        r = np.linalg.norm(separation + images, axis=1)
        r = r[r > 0]
        matrix[i, j] = gaussian_sheet(separation, split, plane, normal)
        matrix[i, j] += np.sum(scipy.special.erfc(r / (math.sqrt(2) * split)) / r)
        matrix[i, j] -= (i == j) * math.sqrt(2 / math.pi) / split
    return KE * matrix


CASES = [*((kind, 2) for kind in WIDTHS), ("mixed", 0), ("mixed", 1)]


@pytest.mark.parametrize(("kind", "axis"), CASES)
def test_matrix_equals_the_exact_sum_of_a_slab(kind, axis):
    """Every element, and so any net charge, along any axis."""
    system, _, _ = random_slab(3, axis)
    expected = exact_matrix(system, WIDTHS[kind])
    found = matrix_of(CoulombSum(6.0, 1e-12), WIDTHS[kind], system)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["point", "mixed"])
def test_nothing_depends_on_the_vacuum_of_the_given_cell(kind):
    """Nor on the tilt of its open vector, nor on where along it the atoms are."""
    system, charges, _ = random_slab(5)
    coulomb = CoulombSum(6.0, 1e-6)
    before, before_forces = energy_and_forces(coulomb, charges, WIDTHS[kind], system)
    for open_vector, moved in [([0, 0, 0], 0.0), ([3.0, 7.0, 400.0], 0.0), (CELL[2], -37.0)]:
        cell = np.array([*CELL[:2], open_vector])
        other = lrpot.System(
            system.positions + jnp.array([[0.0, 0.0, moved]]),
            system.numbers,
            cell=cell,
            pbc=system.pbc,
        )
        energy, forces = energy_and_forces(coulomb, charges, WIDTHS[kind], other)
        assert float(energy) == pytest.approx(float(before), rel=1e-11)
        np.testing.assert_allclose(forces, before_forces, rtol=0, atol=1e-10)


@each_width
def test_neither_splitting_nor_the_period_across_the_slab_matter(kind):
    """Atoms may also leave their cell along its periods, one by one."""
    system, charges, rng = random_slab(6)
    reference, reference_forces = energy_and_forces(
        CoulombSum(8.0, 1e-12), charges, WIDTHS[kind], system
    )
    coulomb = CoulombSum(5.0, 1e-12)
    jumps = np.append(rng.integers(-2, 3, size=(6, 2)), np.zeros((6, 1)), axis=1) @ CELL
    moved = dataclasses.replace(system, positions=system.positions + jumps)
    longer = lists(moved, coulomb, WIDTHS[kind], growth=0.3)
    usual = lists(moved, coulomb, WIDTHS[kind])
    assert longer.reciprocal.heights[2] > 1.2 * usual.reciprocal.heights[2]
    for neighbors in (usual, longer):
        energy, forces = energy_and_forces(coulomb, charges, WIDTHS[kind], moved, neighbors)
        assert float(energy) == pytest.approx(float(reference), rel=1e-11)
        np.testing.assert_allclose(forces, reference_forces, rtol=0, atol=1e-10)


# Closed forms ----------------------------------------------------------------------------------


def sheet(positions, edge, **settings):
    cell = np.diag([edge, edge, 0.0])
    return lrpot.System(positions, [1] * len(positions), cell=cell, pbc=(True, True, False))


def test_square_lattices_in_a_plane_have_their_constants():
    """A checkerboard, and charges of one sign in a background that lies in their plane.

    That background adds nothing at its own height. 1.6155426267 per nearest distance (sequence
    A088537 of the OEIS), -1.9501326 q²/edge (Bonsall & Maradudin 1977, their -3.900265/2).
    """
    edge, coulomb = 3.7, CoulombSum(6.0, 1e-13)
    ions = sheet([[0, 0, 0], [edge / 2, edge / 2, 0]], edge)
    energy, forces = energy_and_forces(coulomb, [1.0, -1.0], None, ions)
    assert float(energy) == pytest.approx(-1.6155426267 * KE / (edge / math.sqrt(2)), rel=1e-10)
    np.testing.assert_allclose(forces, 0.0, atol=1e-11)
    energy, _ = energy_and_forces(coulomb, [1.0], None, sheet([[0.0, 0, 0]], edge))
    assert float(energy) == pytest.approx(-0.5 * 3.900264920 * KE / edge, rel=1e-8)


@pytest.mark.parametrize("kind", ["point", "gaussian"])
@pytest.mark.parametrize("signs", [(1.0, -1.0), (1.0, 1.0)], ids=["capacitor", "charged"])
def test_two_sheets_attract_or_repel_as_in_the_textbook(kind, signs):
    """2π kₑ q q'/area at any distance: a condenser, and a slab of net charge."""
    edge, charge = 2.9, 0.7
    widths = None if kind == "point" else np.array([0.4, 0.9])
    charges = charge * np.array(signs)
    coulomb = CoulombSum(5.0, 1e-10)
    expected = 2 * math.pi * KE * charges[0] * charges[1] / edge**2
    energies = []
    for gap in (9.0, 14.0):
        energy, forces = energy_and_forces(
            coulomb, charges, widths, sheet([[0, 0, 0], [1.0, 0.5, gap]], edge)
        )
        # What is left of the atoms in the sheets at 9 Å: exp(-2π 9/2.9) = 3e-9.
        np.testing.assert_allclose(forces[:, 2], [-expected, expected], rtol=3e-8)
        energies.append(float(energy))
    assert energies[1] - energies[0] == pytest.approx(-expected * 5.0, rel=1e-7)


@pytest.mark.parametrize("width", [None, 0.6])
def test_a_condenser_drops_the_potential_by_its_charge_and_distance(width):
    """Two sheets, of 3 by 3 atoms each to bring them close to uniform, 4π kₑ d Q/area apart.

    On top comes the potential of each lattice at its own atoms, 2 · 3.900265 q/spacing for points.
    """
    spacing, distance, charge = 1.5, 6.0, 0.2
    grid = spacing * np.array([[i, j, 0] for i in range(3) for j in range(3)], dtype=float)
    system = sheet([*grid, *(grid + np.array([0.4, 0.7, distance]))], 3 * spacing)
    charges = charge * np.repeat([1.0, -1.0], 9)
    widths = None if width is None else jnp.full(18, width)
    coulomb = CoulombSum(5.0, 1e-11)
    environment = environment_from_shifts(system, lists(system, coulomb, widths))
    phi = np.asarray(coulomb(jnp.asarray(charges), widths, system, environment))
    np.testing.assert_allclose(phi[:9], phi[0], rtol=1e-9)
    drop = 4 * math.pi * KE * distance * charge / spacing**2
    if width is None:
        drop -= 2 * 3.900264920 * KE * charge / spacing
    else:
        single = sheet([[0.0, 0, 0]], spacing)
        drop += 2 * charge * exact_matrix(single, np.array([width]))[0, 0]
    # exp(-2π 6/1.5) = 1e-11 of the lattice of one sheet is felt at the other.
    assert phi[0] - phi[9] == pytest.approx(drop, rel=2e-8)


# Derivatives and errors of the sum --------------------------------------------------------------


def test_energy_has_the_right_first_and_second_derivatives():
    """By positions, strain in all directions, charges and widths, against central differences."""
    system, charges, rng = random_slab(10, axis=0, n_atoms=3)
    coulomb = CoulombSum(5.0, 1e-11)
    widths = jnp.array([0.31, 1.3, 2.44])
    neighbors = lists(system, coulomb, widths)
    strain = jnp.asarray(0.02 * rng.normal(size=(3, 3)))
    arguments = (system.positions, strain, jnp.asarray(charges) + 0.1, widths)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), arguments)

    def energy(positions, strain, charges, widths):
        moved = dataclasses.replace(system, positions=positions).strained(strain)
        environment = environment_from_shifts(moved, neighbors)
        operator = coulomb.operator(widths, moved, environment)
        return 0.25 * charges @ (operator(charges) + operator.matrix() @ charges)

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


PLANES = {
    "long": (np.diag([4.0, 14.0]), 3.0),
    "sheared": (np.array([[5.0, 0.0], [19.0, 6.0]]), 3.0),
    "flat": (np.diag([9.0, 9.0]), 0.3),
}


@pytest.mark.parametrize("plane", PLANES)
def test_forces_are_as_accurate_as_requested(plane):
    """Also after the atoms have used all the room that they were given across the slab."""
    rng = np.random.default_rng(17)
    cell = np.zeros((3, 3))
    cell[:2, :2], thickness = PLANES[plane]
    cell[2, 2] = thickness
    grid = np.array(list(itertools.product(range(2), range(3), range(2))))
    system = lrpot.System(
        (grid / [2, 3, 2] + 0.05 * rng.normal(size=grid.shape)) @ cell,
        [1] * 12,
        cell=cell,
        pbc=(True, True, False),
    )
    charges = rng.normal(size=12)
    highest = jnp.argmax(system.positions[:, 2])
    risen = dataclasses.replace(system, positions=system.positions.at[highest, 2].add(2.9))
    _, exact = energy_and_forces(CoulombSum(6.0, 1e-10), charges, None, risen)
    coulomb = CoulombSum(6.0, 1e-5)
    neighbors = neighbor_list(risen, 6.0, reciprocal=coulomb.reciprocal(system))
    _, forces = energy_and_forces(coulomb, charges, None, risen, neighbors)
    assert jnp.linalg.norm(forces - exact) / jnp.linalg.norm(exact) < 1e-5


@pytest.mark.parametrize("kind", ["point", "mixed"])
def test_a_mesh_gives_the_same_forces(kind):
    system, charges, _ = random_slab(12, axis=1)
    _, exact = energy_and_forces(CoulombSum(5.0, 1e-10), charges, WIDTHS[kind], system)
    coulomb = CoulombSum(5.0, 1e-5, method="mesh")
    neighbors = neighbor_list(system, 5.0, reciprocal=coulomb.reciprocal(system, WIDTHS[kind]))
    assert neighbors.reciprocal.mesh is not None
    _, forces = energy_and_forces(coulomb, charges, WIDTHS[kind], system, neighbors)
    assert jnp.linalg.norm(forces - exact) / jnp.linalg.norm(exact) < 1e-5


# Potentials with charges on a slab --------------------------------------------------------------

NUMBERS = [1, 8, 6, 1]
POSITIONS = np.array([[0.2, 0.1, 0.0], [1.4, 1.2, 0.9], [2.3, 3.0, 2.6], [0.1, 2.2, 3.9]])
_evaluate = jax.jit(lrpot.evaluate)


def evaluate(potential, system, neighbors=None):
    neighbors = potential.neighbors(system) if neighbors is None else neighbors
    return _evaluate(potential, system, rounded_up(neighbors))


@functools.cache
def build(recipe):
    potential = lrpot.MODELS[recipe](
        ("H", "C", "O"), cutoff=3.5, hidden=(4,), accuracy=1e-8, key=jax.random.key(3)
    )
    last = lambda p: p.charge_model.networks.weights[-1]  # noqa: E731
    return eqx.tree_at(last, potential, 5 * last(potential))


def adsorbate(total_charge=0.0, axis=2):
    cell, pbc = SLABS[axis]
    positions = np.roll(POSITIONS, axis + 1, axis=1)
    return lrpot.System(positions, NUMBERS, cell=cell, pbc=pbc, total_charge=total_charge)


@pytest.mark.parametrize("recipe", ["hdnnp_3g", "hdnnp_4g", "cent"])
def test_forces_and_stress_are_derivatives_of_the_energy(recipe):
    potential, system = build(recipe), adsorbate(1.0)
    neighbors = potential.neighbors(system, skin=0.1)
    found = evaluate(potential, system, neighbors)
    assert float(found.charges.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(jnp.abs(found.forces).max()) > 0.05
    np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-9)
    rng = np.random.default_rng(1)
    step = 1e-4
    move = rng.normal(size=(4, 3))
    up, down = (
        evaluate(
            potential,
            dataclasses.replace(system, positions=system.positions + sign * step * move),
            neighbors,
        ).energy
        for sign in (1, -1)
    )
    power = -float(np.sum(found.forces * move))
    assert float(up - down) / (2 * step) == pytest.approx(power, abs=1e-6)
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    up, down = (
        evaluate(potential, system.strained(jnp.asarray(sign * step * strain)), neighbors).energy
        for sign in (1, -1)
    )
    volume = np.linalg.det(system.cell)
    slope = float(up - down) / (2 * step * volume)
    assert slope == pytest.approx(float(np.sum(found.stress * strain)), abs=1e-7)


def test_stress_times_the_height_of_the_cell_does_not_depend_on_the_vacuum():
    potential, system = build("hdnnp_4g"), adsorbate()
    higher = dataclasses.replace(system, cell=system.cell * jnp.array([[1.0], [1.0], [3.0]]))
    one, other = (evaluate(potential, slab) for slab in (system, higher))
    np.testing.assert_allclose(3 * other.stress, one.stress, rtol=1e-8, atol=1e-12)
    assert float(other.energy) == pytest.approx(float(one.energy), rel=1e-12)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-10)


def test_a_slab_in_other_axes_has_the_same_energy():
    potential = build("hdnnp_4g")
    energies = [
        float(evaluate(potential, slab).energy)
        for slab in (adsorbate(-1.0, axis) for axis in (2, 0))
    ]
    assert energies[1] == pytest.approx(energies[0], rel=1e-12)


@pytest.mark.parametrize("total_charge", [0.0, -1.0])
def test_charges_are_equilibrated_with_the_exact_matrix(total_charge):
    """A thick slab, whose Coulomb matrix is far from positive: only neutral charges count."""
    positions = np.concatenate([POSITIONS, POSITIONS + np.array([0.5, 0.3, 30.0])])
    cell, pbc = SLABS[2]
    system = lrpot.System(positions, NUMBERS * 2, cell=cell, pbc=pbc)
    widths = np.array([0.31, 0.66, 0.76, 0.31] * 2)
    exact = exact_matrix(system, widths) + np.diag(np.linspace(0.5, 8.0, 8))
    assert np.linalg.eigvalsh(exact)[0] < -100
    chi = np.random.default_rng(2).normal(size=8)
    bordered = np.block([[exact, np.ones((8, 1))], [np.ones((1, 8)), np.zeros((1, 1))]])
    expected = np.linalg.solve(bordered, [*-chi, total_charge])
    system = dataclasses.replace(system, total_charge=total_charge)
    matrix = ChargeMatrix(OpenOperator(jnp.asarray(exact)), jnp.zeros(8), jnp.ones(8))
    charges, multipliers = equilibrate(matrix, jnp.asarray(chi), constraints_of(system))
    np.testing.assert_allclose(charges, expected[:8], atol=1e-12)
    assert float(multipliers[0]) == pytest.approx(expected[8], abs=1e-10)


def test_conjugate_gradients_find_the_charges_of_a_slab():
    """As fast as those of a crystal: the preconditioner knows the dipole across the slab."""
    grid = np.array(list(itertools.product(range(2), range(2), range(8))))
    rng = np.random.default_rng(8)
    positions = 2.1 * (grid + 0.1 * rng.normal(size=grid.shape))
    numbers = np.array([1, 8])[grid.sum(axis=1) % 2]
    cell = np.diag([4.2, 4.2, 0.0])
    system = lrpot.System(positions, numbers, cell=cell, pbc=SLABS[2][1], total_charge=1.0)
    potential = build("hdnnp_4g")
    found = {}
    for solver in ("dense", "iterative"):
        model = dataclasses.replace(
            potential.charge_model,
            solver=solver,
            tolerance=1e-9,
            coulomb=CoulombSum(3.5, 1e-4, method="mesh"),
        )
        chosen = dataclasses.replace(potential, charge_model=model)
        found[solver] = _evaluate(chosen, system, chosen.neighbors(system))
    assert found["iterative"].converged
    assert int(found["iterative"].iterations) < 40
    for name in ("charges", "forces"):
        one, other = (getattr(found[solver], name) for solver in ("dense", "iterative"))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def test_float32_is_enough_for_charges_and_forces_of_a_slab():
    potential, system = build("hdnnp_4g"), adsorbate(1.0)
    neighbors = potential.neighbors(system)
    exact = evaluate(potential, system, neighbors)
    single = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf,
        (potential, system, neighbors),
    )
    found = evaluate(*single)
    assert found.energy.dtype == jnp.float32
    np.testing.assert_allclose(found.charges, exact.charges, atol=2e-5)
    np.testing.assert_allclose(found.forces, exact.forces, atol=2e-4)


# What is refused --------------------------------------------------------------------------------


def test_charges_of_a_wire_are_refused_and_everything_else_of_it_works():
    wire = lrpot.System(POSITIONS, NUMBERS, cell=CELL, pbc=(False, False, True))
    with pytest.raises(InputError, match=r"one period \(pbc=\(False, False, True\)\).*vacuum"):
        build("hdnnp_4g").neighbors(wire)
    potential = lrpot.hdnnp_2g(("H", "C", "O"), cutoff=3.5, hidden=(4,), key=jax.random.key(3))
    assert np.isfinite(evaluate(potential, wire).energy)


def test_a_truncated_sum_is_not_for_slabs():
    with pytest.raises(InputError, match=r"crystals and molecules.*Use a `CoulombSum`"):
        FixedSum(0.3, 6.0, 2.0).reciprocal(adsorbate())


def test_a_list_of_a_crystal_is_not_that_of_a_slab():
    potential, system = build("hdnnp_4g"), adsorbate()
    crystal = dataclasses.replace(system, pbc=(True, True, True))
    environment = environment_from_shifts(system, potential.neighbors(crystal))
    with pytest.raises(InputError, match="list was not made for a slab"):
        potential.charge_model.coulomb.operator(None, system, environment)


@pytest.mark.parametrize("recipe", ["hdnnp_3g", "hdnnp_4g"])
def test_an_atom_that_comes_close_to_an_image_of_the_slab_is_noticed(recipe):
    potential, system = build(recipe), adsorbate()
    neighbors = potential.neighbors(system)
    away = dataclasses.replace(system, positions=system.positions.at[3, 2].add(3.5))
    assert evaluate(potential, system, neighbors).converged
    assert not evaluate(potential, away, neighbors).converged
    assert evaluate(potential, away).converged
