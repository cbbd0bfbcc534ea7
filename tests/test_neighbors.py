import itertools

import ase
import ase.neighborlist
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpot import InputError, System, neighbor_list
from lrpot.environment import environment_from_shifts
from lrpot.neighbors import OVERLAP
from lrpot.reciprocal import Reciprocal, wave_indices

TRICLINIC = np.array([[3.1, 0.0, 0.0], [0.9, 2.8, 0.0], [-0.7, 1.1, 3.4]])
FLAT = np.array([[2.2, 0.0, 0.0], [7.0, 3.0, 0.0], [0.4, -0.6, 9.0]])  # sheared and elongated
CUBIC = 5.0 * np.eye(3)
CELLS = {"triclinic": TRICLINIC, "sheared": FLAT, "cubic": CUBIC, "open": None}
PARTIAL = [pbc for pbc in itertools.product((False, True), repeat=3) if any(pbc) and not all(pbc)]


def make_system(cell, seed=0, n_atoms=5, pbc=None):
    """Random atoms no closer than 0.7 Å, some of them outside of their cell."""
    rng = np.random.default_rng(seed)
    basis = 5.0 * np.eye(3) if cell is None else cell
    while True:
        positions = rng.uniform(-0.6, 1.4, size=(n_atoms, 3)) @ basis
        system = System(positions, rng.integers(1, 9, n_atoms), cell=cell, pbc=pbc)
        pairs = brute_force(system, 0.7)
        if not pairs:
            return system


def brute_force(system, cutoff):
    """All (i, j, shift) with |r_j + shift·cell - r_i| < cutoff, by a loop over images."""
    positions = np.asarray(system.positions)
    images = [(0, 0, 0)]
    cell = np.zeros((3, 3))
    if system.cell is not None:
        cell = np.asarray(system.cell)
        # An image of j within the cutoff lies between that many lattice planes of i.
        spacings = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        spread = np.ptp(positions @ np.linalg.inv(cell), axis=0)
        reach = np.ceil(cutoff / spacings + spread).astype(int) * np.array(system.pbc)
        images = list(itertools.product(*(range(-n, n + 1) for n in reach)))
    shifts = np.array(images)
    found = set()
    for i, j in itertools.product(range(len(positions)), repeat=2):
        distances = np.linalg.norm(positions[j] + shifts @ cell - positions[i], axis=1)
        found |= {
            (i, j, tuple(shift))
            for shift, distance in zip(images, distances, strict=True)
            if distance < cutoff and not (i == j and not any(shift))
        }
    return found


def entries(neighbors):
    """The filled slots as (i, j, shift)."""
    index = np.asarray(neighbors.index)
    shifts = np.zeros((*index.shape, 3), dtype=int)
    if neighbors.shifts is not None:
        shifts = np.asarray(neighbors.shifts)
    filled = zip(*np.nonzero(index < len(index)), strict=True)
    found = [(int(i), int(index[i, s]), tuple(map(int, shifts[i, s]))) for i, s in filled]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("cutoff", [1.5, 4.0, 7.5])
def test_list_holds_what_a_loop_over_images_finds(cell, cutoff):
    system = make_system(cell)
    found = entries(neighbor_list(system, cutoff))
    assert found == brute_force(system, cutoff)
    if cell is TRICLINIC and cutoff > 4:
        assert any(i == j for i, j, _ in found)  # images of the atom itself


@pytest.mark.parametrize(
    ("cell", "pbc"), [*((cell, None) for cell in CELLS.values()), (FLAT, PARTIAL[1])]
)
def test_list_holds_what_ase_finds(cell, pbc):
    system = make_system(cell, seed=1, pbc=pbc)
    atoms = ase.Atoms(system.numbers, system.positions, cell=system.cell, pbc=system.pbc)
    i, j, shifts = ase.neighborlist.neighbor_list("ijS", atoms, 4.5)
    expected = {(int(a), int(b), tuple(map(int, s))) for a, b, s in zip(i, j, shifts, strict=True)}
    assert entries(neighbor_list(system, 4.5)) == expected


@pytest.mark.parametrize("pbc", PARTIAL)
@pytest.mark.parametrize("cutoff", [1.5, 7.5])
def test_there_are_no_images_along_vectors_that_are_no_periods(pbc, cutoff):
    """Slabs and wires along any vectors, with atoms above and below the cell."""
    system = make_system(TRICLINIC, seed=3, pbc=pbc)
    found = entries(neighbor_list(system, cutoff))
    assert found == brute_force(system, cutoff)
    assert not any(np.array(shift)[~np.array(pbc)].any() for _, _, shift in found)
    assert cutoff < 2 or any(any(shift) for _, _, shift in found)


@pytest.mark.parametrize("pbc", PARTIAL)
def test_an_open_vector_of_the_cell_changes_no_neighbor(pbc):
    system = make_system(TRICLINIC, seed=3, pbc=pbc)
    expected = np.asarray(environment_from_shifts(system, neighbor_list(system, 5.0)).vectors)
    for factor, tilt in [(7.0, 0.3), (0.0, 0.0)]:
        cell = np.where(np.array(pbc)[:, None], TRICLINIC, factor * TRICLINIC + tilt)
        other = System(system.positions, system.numbers, cell=cell, pbc=pbc)
        vectors = environment_from_shifts(other, neighbor_list(other, 5.0)).vectors
        np.testing.assert_allclose(vectors, expected, atol=1e-13)


def test_a_wide_slab_with_an_atom_far_above_it_is_no_matter():
    cell = np.diag([300.0, 300.0, 0.0])
    positions = [[0.5, 0, 0], [299.0, 0.0, 1.0], [0, 0, 1e6], [0, 299.0, 1e6]]
    neighbors = neighbor_list(System(positions, [1] * 4, cell=cell, pbc=(True, True, False)), 3.0)
    np.testing.assert_array_equal(neighbors.index, [[1], [0], [3], [2]])
    np.testing.assert_array_equal(
        neighbors.shifts[:, 0], [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]]
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cutoff=st.floats(0.8, 6.0), shear=st.floats(-1.5, 1.5))
def test_list_of_any_cell_agrees_with_the_loop(seed, cutoff, shear):
    cell = TRICLINIC + shear * np.array([[0, 0, 0], [1.0, 0, 0], [0.5, 1.0, 0]])
    system = make_system(cell, seed=seed, n_atoms=3)
    assert entries(neighbor_list(system, cutoff)) == brute_force(system, cutoff)


def test_neighbors_come_nearest_first_and_empty_slots_last():
    system = make_system(None)
    neighbors = neighbor_list(system, 4.0, capacity=7)
    assert neighbors.index.shape == (5, 7)
    assert not neighbors.overflow
    assert neighbors.shifts is None
    assert neighbors.reciprocal is None
    for row, center in zip(np.asarray(neighbors.index), np.asarray(system.positions), strict=True):
        filled = row < 5
        assert (np.diff(filled.astype(int)) <= 0).all()
        distances = np.linalg.norm(np.asarray(system.positions)[row[filled]] - center, axis=1)
        assert (np.diff(distances) >= 0).all()
        assert (row[~filled] == 5).all()


def test_by_default_the_fullest_atom_decides_about_the_slots():
    neighbors = neighbor_list(make_system(TRICLINIC), 4.0)
    filled = np.asarray(neighbors.index < 5).sum(axis=1)
    assert filled.max() == neighbors.index.shape[1]
    assert not neighbors.overflow


def test_too_few_slots_keep_the_nearest_and_say_so():
    system = make_system(TRICLINIC)
    full = neighbor_list(system, 4.0)
    slots = full.index.shape[1] - 3
    short = neighbor_list(system, 4.0, capacity=slots)
    assert bool(short.overflow)
    np.testing.assert_array_equal(short.index, full.index[:, :slots])
    np.testing.assert_array_equal(short.shifts, full.shifts[:, :slots])


def test_padding_atoms_have_no_neighbors_and_are_nobodys():
    system = make_system(CUBIC)
    numbers = jnp.insert(system.numbers, jnp.array([0, 3]), 0)
    positions = jnp.insert(system.positions, jnp.array([0, 3]), system.positions[1], axis=0)
    padded = System(positions, numbers, cell=system.cell)
    names = np.array([1, 2, 3, 5, 6])
    expected = {(names[i], names[j], s) for i, j, s in entries(neighbor_list(system, 4.0))}
    assert entries(neighbor_list(padded, 4.0)) == expected


@pytest.mark.parametrize("cell", [None, CUBIC], ids=["open", "periodic"])
def test_a_lone_atom_has_an_empty_row(cell):
    neighbors = neighbor_list(System([[0.0, 0, 0]], [1], cell=cell), 3.0)
    assert neighbors.index.shape == (1, 0)
    assert not neighbors.overflow


def test_nothing_but_padding_has_empty_rows():
    neighbors = neighbor_list(System(np.zeros((2, 3)), [0, 0]), 3.0)
    assert neighbors.index.shape == (2, 0)


def test_atoms_on_top_of_each_other_are_refused():
    positions = [[0, 0, 0], [3, 0, 0], [3, 0, 0.9 * OVERLAP]]
    with pytest.raises(InputError, match=r"Atoms [12] and [12] lie on top of each other.*0.09 Å"):
        neighbor_list(System(positions, [1, 1, 1]), 2.0)


def test_an_atom_on_top_of_an_image_is_refused():
    positions = np.array([[0.01, 0.0, 0.0], [1.5, 1.5, 1.5]])
    positions[1] = positions[0] + TRICLINIC[0] + TRICLINIC[2] + 0.01
    with pytest.raises(InputError, match=r"on top of each other.*duplicated atoms, a wrong cell"):
        neighbor_list(System(positions, [1, 1], cell=TRICLINIC), 2.0)


def test_a_cell_so_short_that_an_atom_meets_its_own_image_is_refused():
    with pytest.raises(InputError, match="Atoms 0 and 0 lie on top of each other"):
        neighbor_list(System([[0, 0, 0]], [1], cell=np.diag([4.0, 4.0, 0.05])), 2.0)


def test_overlap_names_atoms_by_their_place_among_padding():
    system = System([[9, 9, 9], [0, 0, 0], [9, 9, 9], [0, 0, 0.01]], [0, 1, 0, 1])
    with pytest.raises(InputError, match=r"Atoms [13] and [13] "):
        neighbor_list(system, 2.0)


@pytest.mark.parametrize("cell", [TRICLINIC, FLAT, CUBIC], ids=["triclinic", "sheared", "cubic"])
@pytest.mark.parametrize("wave_cutoff", [1.0, 3.7, 6.0])
def test_waves_are_half_of_a_sphere(cell, wave_cutoff):
    waves = wave_indices(cell, wave_cutoff)
    reach = 2 + int(wave_cutoff * np.linalg.norm(cell, axis=1).max() / (2 * np.pi))
    axis = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    wave_numbers = np.linalg.norm(2 * np.pi * grid @ np.linalg.inv(cell).T, axis=1)
    sphere = {tuple(n) for n in grid[(wave_numbers <= wave_cutoff) & grid.any(axis=1)].tolist()}
    one_half = {tuple(n) for n in waves.tolist()}
    other_half = {tuple(n) for n in (-waves).tolist()}
    assert len(one_half) == len(waves)
    assert not one_half & other_half
    assert one_half | other_half == sphere


def test_a_list_carries_what_is_needed_besides():
    reciprocal = Reciprocal(jnp.asarray(wave_indices(TRICLINIC, 5.0)))
    assert (
        neighbor_list(make_system(TRICLINIC), 3.0, reciprocal=reciprocal).reciprocal is reciprocal
    )


def test_shifted_neighbors_lie_within_the_cutoff():
    system = make_system(FLAT, seed=2)
    distances = np.asarray(environment_from_shifts(system, neighbor_list(system, 4.0)).distances)
    index = np.asarray(neighbor_list(system, 4.0).index)
    assert (distances[index < 5] < 4.0).all()
    assert (distances[index == 5] > 1000).all()


def test_fragments_may_be_far_apart_in_one_plane():
    positions = [[0, 0, 0], [1, 0, 0], [1200.0, 2.0, 1600.0], [1200.0, 2.0, 1601.0]]
    neighbors = neighbor_list(System(positions, [1, 1, 1, 1]), 6.0)
    np.testing.assert_array_equal(neighbors.index, [[1], [0], [3], [2]])


def test_a_cell_too_thin_for_its_width_is_refused():
    system = System(np.eye(3)[:2], [1, 1], cell=np.diag([1200.0, 3.0, 1600.0]))
    with pytest.raises(InputError, match=r"too thin for its width.*Repeat it"):
        neighbor_list(system, 6.0)
