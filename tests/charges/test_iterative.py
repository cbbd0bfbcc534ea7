"""The iterative solver of the charges against the dense one, and against numpy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrpot
from lrpot.charges import Equilibration, conjugate_gradients, preconditioner
from lrpot.data import pad_neighbors
from lrpot.descriptors import ACSF, Channels, Radial, Shells, identity_scaling
from lrpot.electrostatics import CoulombSum
from lrpot.electrostatics.mesh import MeshOperator
from lrpot.environment import environment_from_shifts
from lrpot.errors import InputError
from lrpot.neighbors import neighbor_list
from lrpot.networks import ElementNetworks

ELEMENTS = (1, 6, 8)
COULOMB = CoulombSum(4.5, 1e-8)
CELL = np.array([[5.1, 0.0, 0.0], [0.9, 4.8, 0.0], [-0.6, 0.7, 12.4]])
RNG = np.random.default_rng(5)
GRID = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1, 2], indexing="ij"), axis=-1).reshape(-1, 3)
POSITIONS = (GRID + 0.15 * RNG.normal(size=GRID.shape)) / [2, 2, 3] @ CELL
NUMBERS = RNG.permutation(np.repeat(ELEMENTS, 4))
CHI = RNG.normal(size=12) + 0.3 * NUMBERS


either_boundary = pytest.mark.parametrize("cell", [None, CELL], ids=["open", "crystal"])


def model(hardness=(3.0, 7.5, 0.4), radii=(0.31, 0.76, 0.66), coulomb=COULOMB, **settings):
    """An equilibration whose electronegativities are the features."""
    networks = ElementNetworks(ELEMENTS, (jnp.ones((3, 1, 1)),), (jnp.zeros((3, 1)),), ("linear",))
    settings = {"solver": "iterative", "tolerance": 1e-12} | settings
    radii = None if radii is None else jnp.array(radii)
    return Equilibration(networks, jnp.sqrt(jnp.array(hardness)), radii, coulomb, **settings)


def system_of(cell, total_charge=0.0, positions=POSITIONS, numbers=NUMBERS):
    return lrpot.System(positions, numbers, cell=cell, total_charge=total_charge)


def lists(equilibration, system):
    reciprocal = equilibration.reciprocal(system)
    return neighbor_list(system, equilibration.coulomb.cutoff, reciprocal=reciprocal)


@jax.jit
def _solve(equilibration, chi, system, neighbors, guess):
    environment = environment_from_shifts(system, neighbors)
    return equilibration(chi[:, None], system, environment, guess=guess)


def solve(equilibration, system, chi=CHI, guess=None):
    return _solve(equilibration, jnp.asarray(chi), system, lists(equilibration, system), guess)


@either_boundary
@pytest.mark.parametrize("total_charge", [0.0, -1.0])
def test_charges_potentials_and_multiplier_are_those_of_the_dense_solver(cell, total_charge):
    system = system_of(cell, total_charge)
    found, expected = (solve(model(solver=s), system) for s in ("iterative", "dense"))
    assert found.converged
    assert 5 < int(found.iterations) < 40
    assert np.abs(expected.charges).max() > 0.1
    # A residual of 1e-12 eV/e over a hardness of more than 1 eV/e².
    np.testing.assert_allclose(found.charges, expected.charges, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.phi, expected.phi, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.multiplier, expected.multiplier, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.charges.sum(), total_charge, rtol=0, atol=1e-14)


@either_boundary
def test_residual_is_what_is_left_of_the_equations_and_bounds_the_error(cell):
    system = system_of(cell, 1.0)
    found = solve(model(tolerance=1e-3), system)
    slopes = found.electronegativity + found.hardness * found.charges + found.phi
    assert 0 < found.residual <= 1e-3
    left = slopes - slopes.mean()
    np.testing.assert_allclose(np.abs(left).max(), found.residual, rtol=1e-6)
    exact = solve(model(solver="dense"), system)
    assert 1e-7 < np.abs(found.charges - exact.charges).max() < 1e-3


@either_boundary
def test_first_and_second_derivatives_are_those_of_the_dense_solver(cell):
    system = system_of(cell)
    neighbors = lists(model(), system)
    arguments = (system.positions, system.cell, jnp.asarray(CHI), jnp.asarray(0.5))

    def all_orders(equilibration):
        parts, static = eqx.partition(equilibration, eqx.is_array)

        def scalar(positions, cell, chi, total_charge, parts):
            moved = system_of(cell, total_charge, positions)
            environment = environment_from_shifts(moved, neighbors)
            found = eqx.combine(parts, static)(chi[:, None], moved, environment)
            weights = jnp.arange(1.0, 13)
            return jnp.sum(jnp.sin(weights * found.charges)) + 0.1 * found.multiplier

        def both(*arguments):
            gradient = jax.grad(scalar, argnums=range(5))
            direction = jax.tree.map(jnp.cos, arguments)
            return jax.jvp(gradient, arguments, direction)

        return jax.jit(both)(*arguments, parts)

    found, expected = (all_orders(model(solver=s)) for s in ("iterative", "dense"))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9 * (1 + np.abs(other).max()))


def test_derivatives_of_any_size_are_solved_for():
    """The gradient of a loss has no scale: a millionth of it is a millionth, and not zero."""
    system = system_of(None)
    neighbors = lists(model(), system)

    @jax.jit
    def slope(scale):
        def loss(chi):
            environment = environment_from_shifts(system, neighbors)
            charges = model(tolerance=1e-6)(chi[:, None], system, environment).charges
            return scale * jnp.sum(charges**2)

        return jax.grad(loss)(jnp.asarray(CHI))

    one, small = slope(1.0), slope(1e-9)
    np.testing.assert_allclose(small, 1e-9 * one, rtol=1e-6)


@either_boundary
def test_padding_atoms_and_waves_change_nothing(cell):
    equilibration = model()
    system = system_of(cell, 1.0)
    padded = system_of(cell, 1.0, np.pad(POSITIONS, ((0, 3), (0, 0))), np.pad(NUMBERS, (0, 3)))
    neighbors = lists(equilibration, system)
    shape = 15, neighbors.index.shape[1] + 2, neighbors.n_waves + 5, neighbors.n_longest + 7
    grown = pad_neighbors(neighbors, *shape)
    expected = _solve(equilibration, jnp.asarray(CHI), system, neighbors, None)
    found = _solve(equilibration, jnp.asarray(np.pad(CHI, (0, 3))), padded, grown, None)
    assert int(found.iterations) == int(expected.iterations)
    np.testing.assert_array_equal(found.charges[12:], 0.0)
    np.testing.assert_allclose(found.charges[:12], expected.charges, rtol=0, atol=1e-13)


def test_batch_of_right_hand_sides_equals_a_loop():
    system = system_of(CELL)
    neighbors = lists(model(), system)
    chi = np.stack([CHI, 10 * np.cos(CHI), np.zeros(12)])
    alone = [_solve(model(), jnp.asarray(row), system, neighbors, None) for row in chi]

    def one(row):
        return model()(row[:, None], system, environment_from_shifts(system, neighbors))

    together = jax.jit(jax.vmap(one))(jnp.asarray(chi))
    assert len({int(found.iterations) for found in alone}) > 1
    for name in ("charges", "multiplier", "iterations", "converged"):
        expected = np.stack([getattr(found, name) for found in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=0, atol=1e-11)


@either_boundary
def test_good_guess_saves_iterations_and_changes_nothing_else(cell):
    system = system_of(cell, 1.0)
    cold = solve(model(tolerance=1e-10), system)
    assert int(solve(model(tolerance=1e-9), system, guess=cold.charges).iterations) == 0
    # A guess with another total charge is put right.
    warm = solve(model(tolerance=1e-10), system, guess=cold.charges + 1e-4 * CHI + 0.1)
    assert 0 < int(warm.iterations) < int(cold.iterations)
    np.testing.assert_allclose(warm.charges, cold.charges, rtol=0, atol=1e-9)
    np.testing.assert_allclose(warm.charges.sum(), 1.0, rtol=0, atol=1e-14)


def test_what_does_not_converge_says_so_and_is_finite():
    system = system_of(CELL)
    few = solve(model(max_iterations=3), system)
    assert not few.converged
    assert int(few.iterations) == 3
    assert few.residual > 1e-12
    # Point charges without hardness gain energy by running away from each other.
    soft = solve(model(hardness=(0.1, 0.1, 0.1), radii=None), system_of(None))
    assert not soft.converged
    assert int(soft.iterations) < 12
    assert np.isfinite(soft.charges).all()
    # What is not a number is not converged either.
    assert not solve(model(), system, chi=np.full(12, np.nan)).converged


def test_conjugate_gradients_solve_a_system_of_numpy_and_correct_rounding_errors():
    factor = np.random.default_rng(2).normal(size=(30, 30))
    matrix = factor @ factor.T + 3 * np.eye(30)
    right = factor[0]
    exact = np.linalg.solve(matrix, right)

    def found_with(dtype, tolerance):
        a, b = jnp.asarray(matrix, dtype), jnp.asarray(right, dtype)
        bound = jnp.asarray(tolerance, dtype)
        return conjugate_gradients(
            lambda x: a @ x, b, precondition=lambda r: r, tolerance=bound, max_iterations=300
        )

    double = found_with(jnp.float64, 1e-12)
    assert double.converged
    np.testing.assert_allclose(double.values, exact, rtol=0, atol=1e-12)
    single = found_with(jnp.float32, 1e-5)
    true = np.abs(right - matrix @ np.asarray(single.values, dtype=float)).max()
    assert single.converged
    assert true < 2e-5


def scattered(lengths, vacuum=0.0):
    """A disturbed grid of 0.1 atoms/Å³, electronegativities, and empty space along z."""
    rng = np.random.default_rng(0)
    shape = np.round(np.array(lengths) * 0.1 ** (1 / 3)).astype(int)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (grid + 0.5) / shape * lengths + 0.35 * rng.normal(size=grid.shape)
    numbers = rng.choice(ELEMENTS, len(grid), p=(0.5, 0.25, 0.25))
    chi = np.array([0.0, -2.0, 3.0])[np.searchsorted(ELEMENTS, numbers)]
    chi += 0.5 * rng.normal(size=len(grid))
    cell = np.diag(lengths + np.array([0.0, 0.0, vacuum]))
    return system_of(cell, 0.0, positions, numbers), chi


def of_scattered(system, chi, hardness=1.8):
    """A model, its lists, and a compiled solution."""
    coulomb = CoulombSum(7.0, 1e-2)
    equilibration = model(hardness=(hardness,) * 3, coulomb=coulomb, tolerance=1.4e-5)
    compiled = jax.jit(
        lambda neighbors: equilibration(
            jnp.asarray(chi)[:, None], system, environment_from_shifts(system, neighbors)
        )
    )
    return equilibration, lists(equilibration, system), compiled


@pytest.mark.parametrize("lengths", [(20, 20, 20), (13, 13, 60)], ids=["cube", "rod"])
def test_iterations_hardly_depend_on_size_and_shape_of_the_cell(lengths):
    """To 1.4e-5 eV/e, from nothing: at most 25 are asked for."""
    _, neighbors, compiled = of_scattered(*scattered(lengths))
    assert neighbors.n_longest > 0
    found = compiled(neighbors)
    assert found.converged
    assert int(found.iterations) <= 25
    without = eqx.tree_at(lambda n: n.reciprocal.longest, neighbors, None)
    assert int(compiled(without).iterations) > 1.5 * int(found.iterations)


@pytest.mark.parametrize(
    ("rough", "times"),
    [
        pytest.param(1e-2, 1.0, id="rough"),
        pytest.param(0.3, 1.0, id="very rough", marks=pytest.mark.slow),
        pytest.param(1e-9, 1.0, id="no double", marks=pytest.mark.slow),
        pytest.param(1e-2, 9.0, id="misleading"),
        pytest.param(1e-2, -9.0, id="not positive definite"),
    ],
)
def test_a_rough_mesh_beside_the_true_one_changes_the_cost_alone(rough, times, monkeypatch):
    monkeypatch.setattr("lrpot.electrostatics.coulomb.ROUGH", rough)
    if times != 1.0:  # rounds with the double come to a halt
        false = property(
            lambda self: dataclasses.replace(
                self, waves=self.rough_waves, constant=times * self.constant
            )
        )
        monkeypatch.setattr(MeshOperator, "rough", false)
    system, chi = scattered((9, 10, 11))
    coulomb = CoulombSum(4.5, 1e-7, method="mesh")
    iterative = model(hardness=(0.3, 1.8, 5.0), coulomb=coulomb, tolerance=1e-9)
    dense = dataclasses.replace(iterative, solver="dense")
    neighbors = lists(dataclasses.replace(iterative, solver="iterative"), system)
    mesh = neighbors.reciprocal.mesh
    assert (mesh.rough is None) == (rough < 1e-7)
    assert mesh.rough is None or np.prod(mesh.rough[0]) < 0.5 * np.prod(mesh.shape)

    def slope(equilibration):
        def dipole(positions):
            moved = dataclasses.replace(system, positions=positions)
            environment = environment_from_shifts(moved, neighbors)
            found = equilibration(jnp.asarray(chi)[:, None], moved, environment)
            return found.charges @ jnp.sin(positions[:, 0]), found

        return jax.jit(jax.value_and_grad(dipole, has_aux=True))(system.positions)

    ((_, found), gradient), ((_, expected), true) = slope(iterative), slope(dense)
    assert found.converged
    assert found.residual < 1e-9
    np.testing.assert_allclose(found.charges, expected.charges, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.phi, expected.phi, rtol=0, atol=1e-7)
    np.testing.assert_allclose(gradient, true, rtol=0, atol=1e-6 * np.abs(true).max())


@pytest.mark.parametrize(
    "vacuum",
    [pytest.param(0.0, id="full", marks=pytest.mark.slow), pytest.param(30.0, id="half empty")],
)
def test_a_coarse_mesh_does_what_more_columns_would_do(vacuum, monkeypatch):
    system, chi = scattered((20, 20, 20), vacuum)
    iterations = {}
    monkeypatch.setattr(preconditioner, "SHORTEST", preconditioner.SHORTEST_OF_MESH)
    for columns in (10_000, 40):
        monkeypatch.setattr(preconditioner, "MOST_COLUMNS", columns)
        monkeypatch.setattr(preconditioner, "MOST_BESIDE_MESH", columns)
        _, neighbors, compiled = of_scattered(system, chi, hardness=0.2)
        reciprocal = neighbors.reciprocal
        assert (reciprocal.coarse is None) == (columns > 40)
        iterations[columns] = int(compiled(neighbors).iterations)
        if columns == 40:
            alone = dataclasses.replace(reciprocal, coarse=None)
            alone = dataclasses.replace(neighbors, reciprocal=alone)
            iterations["without"] = int(compiled(alone).iterations)
    many, with_mesh, few = iterations[10_000], iterations[40], iterations["without"]
    # Next to empty space the mesh is an approximation.
    assert with_mesh <= many + (1 if vacuum == 0 else 5)
    assert few >= with_mesh + 6


@pytest.mark.slow
def test_the_preconditioner_is_symmetric_and_positive_definite_in_a_half_empty_cell(monkeypatch):
    monkeypatch.setattr(preconditioner, "MOST_COLUMNS", 20)
    monkeypatch.setattr(preconditioner, "MOST_BESIDE_MESH", 20)
    system, chi = scattered((13, 13, 26), 40.0)
    equilibration, neighbors, _ = of_scattered(system, chi)
    assert neighbors.reciprocal.coarse is not None
    problem = equilibration.problem(
        jnp.asarray(chi)[:, None], system, environment_from_shifts(system, neighbors)
    )
    matrix = jax.vmap(problem.solver.preconditioner)(jnp.eye(system.n_atoms))
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_solver_is_chosen_by_the_number_of_atoms_and_checked():
    few, many = (
        lambda cell, n=n: lrpot.System(np.zeros((n, 3)), np.ones(n, int), cell=cell)
        for n in (100, 10_000)
    )
    cell = 10 * np.eye(3)
    assert not model(solver="auto").is_iterative(few(None))
    assert model(solver="auto").is_iterative(few(cell))
    assert model(solver="auto").is_iterative(many(None))
    assert not model(solver="dense").is_iterative(many(cell))
    assert model().is_iterative(system_of(None))
    with pytest.raises(InputError, match="Unknown solver `itrative`"):
        model(solver="itrative")
    with pytest.raises(InputError, match="must be positive"):
        model(tolerance=0.0)
    with pytest.raises(InputError, match="equilibrates no charges"):
        lrpot.hdnnp_2g(("H",), key=jax.random.key(0)).with_solver(solver="dense")


def test_potential_says_that_its_charges_did_not_converge():
    """After one iteration for the charges and one for their adjoint, which is small in CENT."""
    radial = Radial(Channels((1, 8)), Shells(((0.6, 0.9),), 3.5, "tanh3"))
    descriptor = ACSF((radial,), identity_scaling((1, 8), 2))
    potential = lrpot.cent((1, 8), descriptor=descriptor, hidden=(2,), key=jax.random.key(0))
    water = lrpot.System([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    few = potential.with_solver(solver="iterative", max_iterations=1, tolerance=1e-9)
    with pytest.raises(InputError, match=r"did not converge: after 2 iterations.*max_iterations"):
        lrpot.predict(few, water)
    enough = dataclasses.replace(few.charge_model, max_iterations=20)
    prediction = lrpot.predict(dataclasses.replace(few, charge_model=enough), water)
    assert int(prediction.iterations) > 1
    assert float(prediction.residual) <= 1e-9
