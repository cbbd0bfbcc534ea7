"""The particle mesh against the Ewald sum, and against the accuracy that it promises."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.interpolate import BSpline

import lrpot
from lrpot.data import pad_neighbors
from lrpot.electrostatics import CoulombSum, grid
from lrpot.electrostatics.accuracy import MESH_ERRORS, mesh_spacing
from lrpot.electrostatics.mesh import mesh_operator
from lrpot.electrostatics.splines import cardinal_splines, splines
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list

CELL = np.array([[9.1, 0.0, 0.0], [2.3, 8.7, 0.0], [-1.9, 2.1, 10.6]])
N_ATOMS = 24

# Alone, dressed in one channel; some between the dressing and twice its square; some wide.
WIDTHS = {
    "point": None,
    "narrow": np.array([0.3, 0.5] * 12),
    "between": np.array([0.3, 0.75] * 12),
    "wide": np.array([0.3, 0.6, 0.8, 1.5] * 6),
}
each_width = pytest.mark.parametrize("kind", WIDTHS)


def random_system(seed, cell=CELL, n_atoms=N_ATOMS, closest=1.2):
    rng = np.random.default_rng(seed)
    fractional = [rng.random(3)]
    while len(fractional) < n_atoms:
        new = rng.random(3)
        gaps = new - np.array(fractional)
        if np.linalg.norm((gaps - np.round(gaps)) @ cell, axis=1).min() > closest:
            fractional.append(new)
    charges = rng.normal(size=n_atoms)  # not neutral: there is a background
    return system_of(np.array(fractional) @ cell, cell), jnp.asarray(charges)


def salt(seed, edge=6, nearest=2.9):
    """Rock salt with every ion 0.1 Å off its site."""
    sites = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = nearest * sites + 0.1 * np.random.default_rng(seed).normal(size=sites.shape)
    return system_of(moved, nearest * edge * np.eye(3)), jnp.asarray((-1.0) ** sites.sum(axis=1))


def system_of(positions, cell):
    return lrpot.System(positions, [1] * len(positions), cell=cell)


def lists(coulomb, system, widths, **sizes):
    reciprocal = coulomb.reciprocal(system, widths)
    return neighbor_list(system, coulomb.cutoff, reciprocal=reciprocal, **sizes)


def energy_at(coulomb, charges, widths, positions, cell, neighbors, numbers=None):
    numbers = [1] * len(positions) if numbers is None else numbers
    system = lrpot.System(positions, numbers, cell=cell)
    environment = environment_from_shifts(system, neighbors)
    return coulomb.operator(widths, system, environment).energy(charges)


@functools.partial(jax.jit, static_argnums=0)
def slopes(coulomb, charges, widths, positions, cell, neighbors):
    """Energy and its derivatives by charges, positions and cell."""
    return jax.value_and_grad(energy_at, argnums=(1, 3, 4))(
        coulomb, charges, widths, positions, cell, neighbors
    )


def all_slopes(coulomb, charges, widths, system):
    widths = None if widths is None else jnp.asarray(widths)
    neighbors = lists(coulomb, system, widths)
    return slopes(coulomb, charges, widths, system.positions, system.cell, neighbors)


def relative(found, expected):
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


@pytest.fixture(scope="module")
def converged():
    """The Ewald sum of one random system, for every kind of widths."""
    system, charges = random_system(1)
    coulomb = CoulombSum(7.0, 1e-13, method="ewald")
    values = {kind: all_slopes(coulomb, charges, widths, system) for kind, widths in WIDTHS.items()}
    return system, charges, values


@pytest.mark.parametrize("order", [2, 4, 6, 12])
def test_splines_are_those_of_scipy(order):
    beyond = np.linspace(0, 1, 7, endpoint=False)
    exact = BSpline.basis_element(np.arange(order + 1), extrapolate=False)
    expected = [np.nan_to_num(exact(beyond + order - 1 - point)) for point in range(order)]
    found = cardinal_splines(jnp.asarray(beyond), order)
    np.testing.assert_allclose(found, np.array(expected).T, rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-14)


def test_grids_of_processors_and_accelerators_are_equal(monkeypatch):
    rng = np.random.default_rng(8)
    channel = jnp.asarray(rng.integers(0, 2, 23))
    settings = {"n_channels": 2, "shape": (8, 9, 6), "order": 4}

    def spectrum(fractional, charges):
        return splines(fractional, channel, **settings).transform(charges)

    places, charges = (
        jnp.asarray(rng.normal(size=(3, 23, 3))),
        jnp.asarray(rng.normal(size=(3, 23))),
    )
    found = jax.jit(jax.vmap(spectrum))(places, charges)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    expected = jax.jit(jax.vmap(lambda *one: spectrum(*one)))(places, charges)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found[:, :, 0, 0, 0].sum(axis=1), charges.sum(axis=1), atol=1e-13)


@pytest.mark.parametrize("backend", ["cpu", pytest.param("gpu", marks=pytest.mark.slow)])
def test_grids_have_derivatives_of_any_kind(monkeypatch, backend):
    # In blocks of three atoms, the last one incomplete, or of all.
    monkeypatch.setattr(grid, "ON_PROCESSORS", 3 * 4**3)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(8)
    channel = jnp.asarray(rng.integers(0, 2, 7))
    smooth = jnp.asarray(rng.normal(size=(2, 5, 4, 6)))

    def shares(fractional):
        return splines(fractional, channel, n_channels=2, shape=(5, 4, 6), order=4)

    def spread(fractional, charges):
        here = shares(fractional)
        return grid.spread(smooth.shape, here.corner, here.weights, charges)

    def gather(fractional, field):
        here = shares(fractional)
        return grid.gather(field, here.corner, here.weights)

    places, charges = jnp.asarray(rng.normal(size=(7, 3))), jnp.asarray(rng.normal(size=7))
    given = spread(places, charges)
    np.testing.assert_allclose(
        jnp.vdot(given, smooth), charges @ gather(places, smooth), rtol=1e-13
    )
    for function, along in ((spread, charges), (gather, smooth)):
        check_grads(jax.jit(function), (places, along), order=2, rtol=1e-5, atol=1e-5)


@each_width
@pytest.mark.parametrize("accuracy", [1e-4, 1e-9])
def test_energy_and_its_slopes_are_those_of_the_ewald_sum(converged, kind, accuracy):
    system, charges, values = converged
    found = all_slopes(CoulombSum(6.0, accuracy, method="mesh"), charges, WIDTHS[kind], system)
    energy, (phi, forces, by_cell) = found
    expected, (expected_phi, expected_forces, expected_by_cell) = values[kind]
    assert float(energy) == pytest.approx(float(expected), rel=accuracy)
    assert relative(phi, expected_phi) < accuracy
    assert relative(forces, expected_forces) < accuracy
    # A strain moves the whole mesh, whose errors add up; they stay near those of the forces.
    assert relative(by_cell, expected_by_cell) < 5 * accuracy


@pytest.mark.parametrize("accuracy", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_salt_has_the_accuracy_that_was_asked_for(accuracy, seed):
    system, charges = salt(seed)
    forces = all_slopes(CoulombSum(6.0, accuracy, method="mesh"), charges, None, system)[1][1]
    expected = all_slopes(CoulombSum(8.0, 1e-12, method="ewald"), charges, None, system)[1][1]
    error = relative(forces, expected)
    # Not less accurate than asked for, and not much more.
    assert 0.02 * accuracy < error < accuracy


@each_width
def test_the_potential_is_linear_symmetric_and_the_slope_of_the_energy(kind):
    system, charges = random_system(2)
    widths = None if WIDTHS[kind] is None else jnp.asarray(WIDTHS[kind])
    coulomb = CoulombSum(5.0, 1e-4, method="mesh")
    neighbors = lists(coulomb, system, widths)

    @jax.jit
    def potentials(charges, neighbors):
        environment = environment_from_shifts(system, neighbors)
        operator = coulomb.operator(widths, system, environment)
        return operator(charges), jax.grad(operator.energy)(charges), operator.matrix()

    phi, slope, matrix = potentials(charges, neighbors)
    scale = float(jnp.abs(matrix).max())
    np.testing.assert_allclose(slope, phi, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(matrix @ charges, phi, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-13 * scale)
    if widths is not None:
        # The error of the pairs, of the order of the accuracy, may go below zero.
        assert float(jnp.linalg.eigvalsh(matrix).min()) > -1e-4 * scale


def test_forces_cell_and_widths_are_derivatives_to_second_order():
    system, charges = random_system(3, n_atoms=4, cell=0.6 * CELL)
    coulomb = CoulombSum(4.0, 1e-3, method="mesh")
    kinds = jnp.array([0, 1, 1, 0])
    start = (system.positions, system.cell, jnp.array([0.4, 1.4]), charges)
    neighbors = lists(coulomb, system, start[2][kinds])
    directions = [
        jax.tree.map(
            lambda one, seed=seed: jnp.asarray(np.random.default_rng(seed).normal(size=one.shape)),
            start,
        )
        for seed in (0, 1)
    ]

    def plain(values):
        positions, cell, widths, charges = values
        return energy_at(coulomb, charges, widths[kinds], positions, cell, neighbors)

    energy = jax.jit(plain)

    @jax.jit
    def derivatives(values):
        def slope(values):
            return jax.jvp(plain, (values,), (directions[0],))[1]

        return jax.jvp(slope, (values,), (directions[1],))

    def moved(first, second):
        return jax.tree.map(lambda a, b, c: a + first * b + second * c, start, *directions)

    first, second = derivatives(start)
    step = 1e-3
    slope = (energy(moved(step, 0)) - energy(moved(-step, 0))) / (2 * step)
    mixed = sum(a * b * energy(moved(a * step, b * step)) for a in (1, -1) for b in (1, -1)) / (
        4 * step**2
    )
    # Splines of order 4 are twice differentiable only: differences of second order end there.
    assert neighbors.reciprocal.mesh.order >= 6
    assert float(first) == pytest.approx(float(slope), rel=1e-4)
    assert float(second) == pytest.approx(float(mixed), rel=1e-3)


def test_the_energy_is_smooth_when_atoms_cross_the_cell_and_the_mesh():
    system, charges = random_system(4)
    coulomb = CoulombSum(6.0, 1e-8, method="mesh")
    neighbors = lists(coulomb, system, None)
    energy = jax.jit(
        lambda positions: energy_at(coulomb, charges, None, positions, system.cell, neighbors)
    )
    before = energy(system.positions)
    for move in ([0.123, -7.7, 31.0], [-1e-9, 0.0, 0.0]):
        after = energy(system.positions + jnp.asarray(move)[None, :])
        assert float(after) == pytest.approx(float(before), rel=1e-8)


def test_float32_keeps_its_digits():
    system, charges = random_system(5)
    coulomb = CoulombSum(6.0, 1e-5, method="mesh")
    neighbors = lists(coulomb, system, None)
    arguments = (charges, None, system.positions, system.cell, neighbors)
    low = jax.tree.map(
        lambda one: one.astype(jnp.float32) if jnp.issubdtype(one.dtype, jnp.floating) else one,
        arguments,
    )
    energy, (_, forces, _) = slopes(coulomb, *low)
    assert forces.dtype == jnp.float32
    exact, (_, exact_forces, _) = slopes(coulomb, *arguments)
    assert float(energy) == pytest.approx(float(exact), rel=1e-4)
    assert relative(forces, exact_forces) < 1e-4


def test_padding_atoms_have_no_effect():
    system, charges = random_system(6)
    coulomb = CoulombSum(6.0, 1e-4, method="mesh")
    widths = jnp.asarray(WIDTHS["wide"])
    neighbors = lists(coulomb, system, widths)
    alone = energy_at(coulomb, charges, widths, system.positions, system.cell, neighbors)
    padded = pad_neighbors(neighbors, N_ATOMS + 3, neighbors.index.shape[1])
    found = energy_at(
        coulomb,
        jnp.pad(charges, (0, 3)),
        jnp.pad(widths, (0, 3), constant_values=9.9),
        jnp.pad(system.positions, ((0, 3), (0, 0))),
        system.cell,
        padded,
        numbers=[1] * N_ATOMS + [0] * 3,
    )
    assert float(found) == pytest.approx(float(alone), rel=1e-13)


def test_a_large_crystal_gets_a_mesh_and_a_small_one_waves():
    small, _ = random_system(7)
    assert CoulombSum().reciprocal(small).mesh is None
    assert CoulombSum(method="mesh").reciprocal(small).mesh is not None
    large, _ = salt(0, edge=8)
    reciprocal = CoulombSum().reciprocal(large)
    assert reciprocal.waves is None
    assert CoulombSum(method="ewald").reciprocal(large).mesh is None
    assert CoulombSum().reciprocal(system_of(large.positions, None)) is None


def test_a_mesh_is_no_finer_than_needed():
    system, _ = salt(0, edge=8)
    spacings = []
    for accuracy in (1e-3, 1e-5, 1e-7):
        mesh = CoulombSum(6.0, accuracy).reciprocal(system).mesh
        edge = float(system.cell[0, 0])
        spacings.append(edge / mesh.shape[0])
        allowed = mesh_spacing(accuracy / math.sqrt(2), mesh.order) / float(mesh.alpha)
        assert 0.8 * allowed < spacings[-1] <= allowed  # room for a size with a fast transform
    assert spacings == sorted(spacings, reverse=True)


@pytest.mark.parametrize("order", MESH_ERRORS)
def test_estimates_are_monotonous_and_go_on_beyond_the_table(order):
    spacings = [mesh_spacing(accuracy, order) for accuracy in np.geomspace(1e-13, 1e-2, 60)]
    assert (np.diff(spacings) > 0).all()


def test_a_cell_that_has_outgrown_its_mesh_gives_no_numbers():
    system, charges = random_system(9)
    coulomb = CoulombSum(6.0, 1e-4, method="mesh")
    neighbors = lists(coulomb, system, None)
    energies = [
        energy_at(coulomb, charges, None, system.positions, factor * system.cell, neighbors)
        for factor in (1.02, 1.5)
    ]
    assert np.isfinite(energies[0])
    assert np.isnan(energies[1])
    # A mesh that is prepared for the growth holds.
    grown = dataclasses.replace(neighbors, reciprocal=coulomb.reciprocal(system, growth=0.5))
    fine = CoulombSum(6.0, 1e-8, method="mesh")
    finer = dataclasses.replace(neighbors, reciprocal=fine.reciprocal(system, growth=0.5))
    cell = 1.5 * system.cell
    found, exact = (
        energy_at(one, charges, None, system.positions, cell, listed)
        for one, listed in ((coulomb, grown), (coulomb, finer))
    )
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_the_balanced_cutoff_costs_least():
    system, _ = salt(0, edge=8)
    coarse = CoulombSum.balanced(system, accuracy=1e-3)
    fine = CoulombSum.balanced(system, accuracy=1e-7)
    assert 3.0 < coarse.cutoff < fine.cutoff < 15.0
    with pytest.raises(InputError, match="nothing to balance"):
        CoulombSum.balanced(system_of(system.positions, None))


def test_a_crystal_without_a_mesh_says_how_to_get_one():
    system, _ = random_system(8)
    environment = environment_from_shifts(system, neighbor_list(system, 3.0))
    with pytest.raises(InputError, match="reciprocal="):
        mesh_operator(None, system, environment, cutoff=3.0)
