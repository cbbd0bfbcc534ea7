"""jax-md: the energies, forces and stresses of every other route, in jax-md's own conventions."""

import functools

import ase
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress
from jax_md import quantity, simulate, space

import lrpot
from lrpot.data import Structure, make_batches
from lrpot.descriptors import default_acsf
from lrpot.interop.jax_md import charges_for_jax_md, to_jax_md
from lrpot.training import predict_batch

ELEMENTS = ("Cl", "Na")
CUTOFF, SKIN = 3.0, 0.2
CELL = np.array([[6.8, 0.0, 0.0], [0.7, 6.7, 0.0], [-0.5, 0.6, 7.1]])  # rows, lower triangular
BOX = CELL.T
GRID = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
RNG = np.random.default_rng(55)  # gives every atom neighbours, none of them close to the cutoff
FRACTIONAL = (GRID / 2 + 0.03 + 0.09 * RNG.normal(size=(8, 3))) % 1
NUMBERS = np.array([11, 17, 17, 11, 17, 11, 11, 17])
GEOMETRY = {"displacement": space.periodic_general(BOX)[0], "box": BOX, "numbers": NUMBERS}
LIST = {"dr_threshold": SKIN}
CASES = {"2G": ("hdnnp_2g", None), "4G": ("hdnnp_4g", 0.0), "4G, charged": ("hdnnp_4g", 1.0)}


@functools.cache
def build(recipe):
    descriptor = default_acsf(ELEMENTS, cutoff=CUTOFF, spacing=1.1, shells=1, zetas=(1.0,))
    settings = {} if recipe == "hdnnp_2g" else {"accuracy": 1e-4}
    potential = lrpot.MODELS[recipe](
        ELEMENTS, descriptor=descriptor, hidden=(4,), key=jax.random.key(4), **settings
    )
    # Forces and charges of a usual size, which first weights do not give.
    potential = eqx.tree_at(lambda p: p.terms["short_range"].scale, potential, jnp.asarray(50.0))
    if potential.charge_model is None:
        return potential
    last = lambda p: p.charge_model.networks.weights[-1]  # noqa: E731
    return eqx.tree_at(last, potential, 200 * last(potential))


def system_at(cell, total_charge=0.0):
    return lrpot.System(FRACTIONAL @ cell, NUMBERS, cell=cell, total_charge=total_charge)


evaluate = jax.jit(lrpot.evaluate)


def predicted(potential, system):
    return evaluate(potential, system, potential.neighbors(system))


class Routes:
    """One potential and one total charge in jax-md and by `evaluate`."""

    def __init__(self, name):
        recipe, self.total_charge = CASES[name]
        self.potential = build(recipe)
        self.neighbor_fn, self.energy_fn = to_jax_md(
            self.potential, **GEOMETRY, **LIST, total_charge=self.total_charge
        )
        self.R = jnp.asarray(FRACTIONAL)
        self.neighbors = self.neighbor_fn.allocate(self.R)
        self.system = system_at(CELL, self.total_charge or 0.0)
        self.expected = predicted(self.potential, self.system)
        self.energy = jax.jit(self.energy_fn)
        self.force = jax.jit(quantity.force(self.energy_fn))


@pytest.fixture(scope="module")
def all_routes():
    return functools.cache(Routes)


@pytest.fixture(params=CASES)
def routes(request, all_routes):
    return all_routes(request.param)


@pytest.fixture
def charged(all_routes):
    return all_routes("4G, charged")


def test_the_case_is_not_trivial(routes):
    assert float(jnp.abs(routes.expected.forces).max()) > 0.1
    assert float(jnp.abs(routes.expected.stress).max()) > 1e-3
    counts = (routes.neighbors.idx < 8).sum(axis=1)
    assert int(counts.min()) >= 1
    assert int(counts.max()) < routes.neighbors.idx.shape[1]  # and there is padding


def test_energy_and_forces_are_those_of_predict(routes):
    energy = routes.energy(routes.R, routes.neighbors)
    assert energy.shape == ()
    np.testing.assert_allclose(energy, routes.expected.energy, rtol=1e-9)
    forces = routes.force(routes.R, neighbor=routes.neighbors)
    np.testing.assert_allclose(forces, routes.expected.forces, atol=1e-9)


def test_stress_has_jax_mds_sign_and_is_ours_otherwise(routes):
    stress = jax.jit(
        lambda R, neighbor: quantity.stress(
            routes.energy_fn, R, jnp.asarray(BOX), neighbor=neighbor
        )
    )(routes.R, routes.neighbors)
    np.testing.assert_allclose(stress, -routes.expected.stress, atol=1e-9)


def test_pressure_is_minus_a_third_of_the_trace(routes):
    pressure = jax.jit(
        lambda R, neighbor: quantity.pressure(
            routes.energy_fn, R, jnp.asarray(BOX), neighbor=neighbor
        )
    )(routes.R, routes.neighbors)
    np.testing.assert_allclose(pressure, -jnp.trace(routes.expected.stress) / 3, atol=1e-9)


def test_ase_and_training_routes_agree_too(routes):
    system, expected = routes.system, routes.expected
    atoms = ase.Atoms(NUMBERS, np.asarray(system.positions), cell=CELL, pbc=True)
    atoms.calc = lrpot.Calculator(routes.potential, total_charge=routes.total_charge)
    np.testing.assert_allclose(atoms.get_potential_energy(), expected.energy, rtol=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-9)
    voigt = full_3x3_to_voigt_6_stress(np.asarray(expected.stress))
    np.testing.assert_allclose(atoms.get_stress(), voigt, atol=1e-9)

    ((batch, _),) = make_batches([Structure(system)], routes.potential)
    trained = jax.jit(functools.partial(predict_batch, stress=True))(routes.potential, batch)
    np.testing.assert_allclose(trained.energy[0], expected.energy, rtol=1e-9)
    np.testing.assert_allclose(trained.forces[0], expected.forces, atol=1e-9)
    np.testing.assert_allclose(trained.stress[0], expected.stress, atol=1e-9)


def test_charges_are_those_of_predict_and_sum_to_the_total_charge(charged):
    charges_fn = charges_for_jax_md(charged.potential, **GEOMETRY, total_charge=1.0)
    found = jax.jit(charges_fn)(charged.R, neighbor=charged.neighbors)
    np.testing.assert_allclose(found.charges, charged.expected.charges, atol=1e-11)
    np.testing.assert_allclose(found.charges.sum(), 1.0, atol=1e-11)
    assert bool(found.converged)
    assert float(jnp.ptp(found.charges)) > 0.05


def test_another_box_reaches_every_term(routes):
    """Direct and reciprocal sum, background and neighbour vectors: all at the box of the call."""
    cell = CELL * 1.02
    cell[2] += [0.1, -0.15, 0.2]
    expected = predicted(routes.potential, system_at(cell, routes.total_charge or 0.0))
    neighbors = routes.neighbor_fn.allocate(routes.R, box=cell.T)
    energy = routes.energy(routes.R, neighbors, box=jnp.asarray(cell.T))
    # Waves are fixed by their integer coordinates, and accurate to what was asked for.
    tolerance = 1e-9 if routes.total_charge is None else 2e-5
    np.testing.assert_allclose(energy, expected.energy, rtol=tolerance)
    assert abs(float(expected.energy - routes.expected.energy)) > 1e-2


@pytest.mark.parametrize("perturbation", [1.01, np.eye(3) + 0.02 * RNG.normal(size=(3, 3))])
def test_a_perturbation_reaches_every_term(charged, perturbation):
    """The same strain given as a box, turned upright where it has to be, or as a perturbation."""
    matrix = np.asarray(perturbation) * np.eye(3) if np.ndim(perturbation) == 0 else perturbation
    expected = predicted(charged.potential, system_at(CELL @ matrix.T, 1.0))
    energy = charged.energy(charged.R, charged.neighbors, perturbation=jnp.asarray(perturbation))
    np.testing.assert_allclose(energy, expected.energy, rtol=2e-5)
    assert abs(float(expected.energy - charged.expected.energy)) > 1e-3


def test_no_product_of_a_strained_box_leaves_its_precision_to_the_accelerator(charged, products):
    def energy(R, neighbor, strain):
        return charged.energy_fn(R, neighbor, perturbation=strain)

    strained = jax.jit(jax.grad(energy, argnums=(0, 2)))
    every, exact = products(strained.lower(charged.R, charged.neighbors, jnp.eye(3)))
    assert exact == every > 10


def test_box_and_perturbation_multiply(charged):
    box, strain = jnp.asarray(1.01 * BOX), jnp.eye(3) + 0.01
    both = charged.energy(charged.R, charged.neighbors, box=box, perturbation=strain)
    at_once = charged.energy(charged.R, charged.neighbors, box=strain @ box)
    np.testing.assert_allclose(both, at_once, rtol=1e-10)


def test_waves_prepared_for_a_growing_box_keep_the_accuracy(all_routes):
    potential = build("hdnnp_4g")
    neighbor_fn, energy_fn = to_jax_md(potential, **GEOMETRY, dr_threshold=0.0, box_change=0.1)
    R = jnp.asarray(FRACTIONAL)
    box = jnp.asarray(1.1 * BOX)
    found = jax.jit(energy_fn)(R, neighbor_fn.allocate(R, box=box), box=box)
    expected = predicted(potential, system_at(1.1 * CELL))
    np.testing.assert_allclose(found, expected.energy, rtol=1e-6)


def test_the_total_charge_may_be_traced(charged):
    potentials = jnp.array([-1.0, 0.0, 1.0])
    energies = jax.jit(
        jax.vmap(lambda Q: charged.energy_fn(charged.R, charged.neighbors, total_charge=Q))
    )(potentials)
    for energy, total_charge in zip(energies, potentials, strict=True):
        expected = predicted(charged.potential, system_at(CELL, float(total_charge)))
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-9)
    assert len(np.unique(np.round(energies, 3))) == 3


def test_lists_are_int32_and_room_to_spare_changes_nothing(charged):
    assert charged.neighbors.idx.dtype == jnp.int32
    roomy = charged.neighbor_fn.allocate(charged.R, extra_capacity=2)
    assert roomy.idx.shape[1] == charged.neighbors.idx.shape[1] + 2
    energy = charged.energy(charged.R, roomy)
    np.testing.assert_allclose(energy, charged.expected.energy, rtol=1e-12)
    forces = charged.force(charged.R, neighbor=roomy)
    assert np.isfinite(forces).all()  # the last atom's too, whose empty slots point to itself
    np.testing.assert_allclose(forces, charged.expected.forces, atol=1e-9)


def test_second_derivatives_are_finite_and_symmetric(charged):
    """In real space: fractional coordinates have jax-md's own rule for the first only."""
    direction = jnp.asarray(RNG.normal(size=(2, 8, 3)))

    @jax.jit
    def curvature(along, across):
        force = jax.grad(lambda R: charged.energy_fn(R, charged.neighbors))
        return jnp.vdot(jax.jvp(force, (charged.R,), (along,))[1], across)

    one, other = curvature(*direction), curvature(*direction[::-1])
    assert abs(float(one)) > 1e-3
    np.testing.assert_allclose(one, other, rtol=1e-8)


BOXES = {"number": 7.0, "vector": np.array([7.0, 6.8, 7.3])}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("fractional", [True, False], ids=["fractional", "real"])
def test_boxes_of_any_form_and_both_kinds_of_coordinates(box, fractional):
    potential = build("hdnnp_4g")
    cell = np.diag(np.broadcast_to(box, (3,)))
    if fractional:
        displacement, R = space.periodic_general(box)[0], jnp.asarray(FRACTIONAL)
    else:
        displacement, R = space.periodic(box)[0], jnp.asarray(FRACTIONAL @ cell)
    neighbor_fn, energy_fn = to_jax_md(
        potential, displacement, box, NUMBERS, **LIST, fractional_coordinates=fractional
    )
    neighbors = neighbor_fn.allocate(R)
    expected = predicted(potential, system_at(cell))
    energy, gradient = jax.jit(jax.value_and_grad(energy_fn))(R, neighbors)
    np.testing.assert_allclose(energy, expected.energy, rtol=1e-9)
    np.testing.assert_allclose(-gradient, expected.forces, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_molecules_live_in_free_space(name):
    recipe, total_charge = CASES[name]
    potential = build(recipe)
    positions = jnp.asarray(FRACTIONAL @ CELL)
    neighbor_fn, energy_fn = to_jax_md(
        potential, space.free()[0], None, NUMBERS, total_charge=total_charge
    )
    expected = predicted(
        potential, lrpot.System(positions, NUMBERS, total_charge=total_charge or 0.0)
    )
    neighbors = neighbor_fn.allocate(positions)
    energy, gradient = jax.jit(jax.value_and_grad(energy_fn))(positions, neighbors)
    np.testing.assert_allclose(energy, expected.energy, rtol=1e-9)
    np.testing.assert_allclose(-gradient, expected.forces, atol=1e-9)


MASSES = jnp.asarray(np.where(NUMBERS == 11, 22.99, 35.45))
KT, DT = 0.03, 0.05


@functools.cache
def integrator(name):
    """The state after a few steps, and what the integrator conserves, before and after."""
    npt = name == "npt"
    settings = {"dr_threshold": 0.0 if npt else SKIN, "box_change": 0.02}
    neighbor_fn, energy_fn = to_jax_md(build("hdnnp_4g"), **GEOMETRY, **settings, total_charge=1.0)
    shift = space.periodic_general(BOX)[1]
    R, box = jnp.asarray(FRACTIONAL), jnp.asarray(BOX)
    # Close to that of the start: jax-md 0.2.29 scales fractional coordinates with the box, which
    # spoils the invariant of a box that changes fast.
    potential = build("hdnnp_4g")
    pressure = -float(jnp.trace(predicted(potential, system_at(CELL, 1.0)).stress)) / 3 - 0.002
    make = {
        "nve": lambda: simulate.nve(energy_fn, shift, DT),
        "nvt": lambda: simulate.nvt_nose_hoover(energy_fn, shift, DT, KT),
        "npt": lambda: simulate.npt_nose_hoover(energy_fn, shift, DT, pressure, KT),
        "langevin": lambda: simulate.nvt_langevin(energy_fn, shift, DT, KT, gamma=0.5),
    }
    init, step = make[name]()
    neighbors = neighbor_fn.allocate(R, extra_capacity=4)
    more = (box,) if npt else ()
    options = {"kT": KT} if name in ("nve", "langevin") else {}
    start = jax.jit(
        lambda neighbors: init(
            jax.random.key(0), R, *more, mass=MASSES, neighbor=neighbors, **options
        )
    )(neighbors)

    def conserved(state, neighbors):
        arguments = dict(neighbor=neighbors)
        if npt:
            return simulate.npt_nose_hoover_invariant(energy_fn, state, pressure, KT, **arguments)
        if name == "nvt":
            return simulate.nvt_nose_hoover_invariant(energy_fn, state, KT, **arguments)
        kinetic = quantity.kinetic_energy(momentum=state.momentum, mass=state.mass)
        return energy_fn(state.position, neighbors) + kinetic

    def body(_, both):
        state, neighbors = both
        where = {"box": simulate.npt_box(state)} if npt else {}
        neighbors = neighbors.update(state.position, **where)
        return step(state, neighbor=neighbors), neighbors

    @jax.jit
    def run(state, neighbors):
        before = conserved(state, neighbors)
        state, neighbors = jax.lax.fori_loop(0, 10, body, (state, neighbors))
        where = {"box": simulate.npt_box(state)} if npt else {}
        neighbors = neighbors.update(state.position, **where)
        return state, neighbors, before, conserved(state, neighbors)

    return start, *run(start, neighbors)


@pytest.mark.parametrize(
    "name", ["nve", pytest.param("nvt", marks=pytest.mark.slow), "npt", "langevin"]
)
def test_integrators_of_jax_md_run(name):
    start, state, neighbors, before, after = integrator(name)
    assert not bool(neighbors.did_buffer_overflow)
    assert np.isfinite(state.position).all()
    moved = np.abs(np.asarray(state.position - start.position)).max()
    assert moved > 1e-4
    if name != "langevin":
        change = float(jnp.abs(state.momentum - start.momentum).max())
        assert change > 0.01  # forces act
        np.testing.assert_allclose(after, before, atol=1e-4)
    if name == "npt":
        assert abs(float(jnp.linalg.det(simulate.npt_box(state))) - np.linalg.det(BOX)) > 1e-4


SMALL = np.array([[4.1, 0.0, 0.0], [0.6, 4.3, 0.0], [-0.5, 0.4, 4.6]])  # rows
FEW = np.array([[0.02, 0.05, 0.01], [0.42, 0.55, 0.6], [0.95, 0.5, 0.2]])


@pytest.mark.parametrize("name", ["2G", "4G, charged"])
def test_in_a_small_box_a_neighbour_has_several_images(name):
    """Atoms may lie anywhere, and cross the boundary after the list has been made."""
    recipe, total_charge = CASES[name]
    potential, box = build(recipe), SMALL.T
    neighbor_fn, energy_fn = to_jax_md(
        potential,
        space.periodic_general(box)[0],
        box,
        NUMBERS[:3],
        total_charge=total_charge,
        **LIST,
    )
    moved = FEW + np.array([[-0.03, 0.0, 0.0], [0.0, 0.01, -0.02], [0.0, 0.02, 0.0]])
    neighbors = neighbor_fn.allocate(jnp.asarray(FEW) - 2)
    for row in np.asarray(neighbors.idx):
        assert len(np.unique(row[row < 3])) < np.sum(row < 3)
    neighbors = jax.jit(lambda R, neighbors: neighbors.update(R))(jnp.asarray(moved), neighbors)
    system = lrpot.System(moved @ SMALL, NUMBERS[:3], cell=SMALL, total_charge=total_charge or 0.0)
    expected = predicted(potential, system)

    @jax.jit
    def everything(R, neighbor):
        energy, gradient = jax.value_and_grad(energy_fn)(R, neighbor)
        stress = quantity.stress(energy_fn, R, jnp.asarray(box), neighbor=neighbor)
        return energy, -gradient, stress

    for R in (moved, moved + np.array([[1.0, 0, 0], [0, 0, 0], [0, -1.0, 3.0]])):
        energy, forces, stress = everything(jnp.asarray(R), neighbors)
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-9)
        np.testing.assert_allclose(forces, expected.forces, atol=1e-9)
        np.testing.assert_allclose(stress, -expected.stress, atol=1e-9)


@pytest.fixture
def rank_promotion():
    """The cells of jax-md broadcast without saying so."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.usefixtures("rank_promotion")
@pytest.mark.parametrize("fractional", [True, False], ids=["fractional", "real"])
def test_atoms_outside_of_a_large_box_keep_their_neighbours(fractional):
    """In a box of four cells of the list in each direction; jax-md's own lists lose some."""
    length = 4 * (CUTOFF + SKIN) + 0.1
    grid = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    coordinates = (grid + 0.1 * RNG.normal(size=grid.shape)) / 5 % 1
    coordinates[0] = [-1e-18, 0.0, -1e-18]
    numbers = np.where(grid.sum(axis=1) % 2, 11, 17)
    unit = 1.0 if fractional else length
    space_fn = space.periodic_general if fractional else space.periodic
    neighbor_fn, energy_fn = to_jax_md(
        build("hdnnp_2g"),
        space_fn(length, wrapped=False)[0],
        length,
        numbers,
        **LIST,
        fractional_coordinates=fractional,
    )
    energy = jax.jit(energy_fn)
    system = lrpot.System(coordinates * length, numbers, cell=length * np.eye(3))
    expected = predicted(build("hdnnp_2g"), system).energy
    away = coordinates + RNG.integers(-2, 3, size=coordinates.shape)
    start = neighbor_fn.allocate(jnp.asarray(coordinates * unit))
    assert start.cell_list_fn is not None
    for neighbors in (
        start,
        neighbor_fn.allocate(jnp.asarray(away * unit)),
        neighbor_fn.allocate(jnp.asarray((coordinates + 0.5) * unit)).update(
            jnp.asarray(away * unit)
        ),
    ):
        assert not bool(neighbors.did_buffer_overflow)
        found = energy(jnp.asarray(away * unit), neighbors)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_box_that_will_shrink_is_taken_as_small():
    potential = build("hdnnp_2g")
    usual, _ = to_jax_md(potential, **GEOMETRY, dr_threshold=0.0)
    shrinking, _ = to_jax_md(potential, **GEOMETRY, dr_threshold=0.0, box_change=0.15)
    R = jnp.asarray(FRACTIONAL)
    assert not hasattr(usual.allocate(R), "shifts")
    assert hasattr(shrinking.allocate(R), "shifts")


def test_a_total_charge_that_2g_cannot_use_is_refused(all_routes):
    potential = build("hdnnp_2g")
    with pytest.raises(lrpot.InputError, match="hdnnp_2g` has no charges and cannot use a total"):
        to_jax_md(potential, **GEOMETRY, **LIST, total_charge=1.0)
    with pytest.raises(lrpot.InputError, match="hdnnp_2g` has no charges"):
        charges_for_jax_md(potential, **GEOMETRY)
    routes = all_routes("2G")
    with pytest.raises(lrpot.InputError, match="hdnnp_2g` has no charges and cannot use a total"):
        routes.energy_fn(routes.R, routes.neighbors, total_charge=1.0)


def test_periods_without_a_box_are_refused():
    with pytest.raises(lrpot.InputError, match=r"Give the `box` that goes with it"):
        to_jax_md(build("hdnnp_2g"), space.periodic(20.0)[0], None, NUMBERS)


def test_an_unknown_element_is_refused():
    with pytest.raises(lrpot.InputError, match=r"Element 8 \(O, atom 1\)"):
        to_jax_md(build("hdnnp_2g"), space.free()[0], None, np.array([11, 8]))
