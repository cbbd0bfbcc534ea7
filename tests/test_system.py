import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrpot import InputError, System
from lrpot.system import check_cell

WATER = dict(positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], numbers=[8, 1, 1])


def test_integers_become_floats_and_a_missing_charge_is_zero():
    system = System([[0, 0, 0], [1, 0, 0]], [1, 1])
    assert system.positions.dtype == jnp.float64
    assert system.total_charge.dtype == jnp.float64
    assert float(system.total_charge) == 0
    assert system.cell is None
    assert system.pbc == (False, False, False)
    assert system.n_atoms == 2


def test_cell_and_charge_take_the_precision_of_the_positions():
    system = System(np.eye(3, dtype=np.float32), [1, 1, 1], cell=4 * np.eye(3), total_charge=1)
    assert {leaf.dtype for leaf in (system.positions, system.cell, system.total_charge)} == {
        jnp.dtype("float32")
    }


def test_padding_atoms_are_not_real():
    system = System(np.zeros((3, 3)), [8, 0, 1])
    assert system.real.tolist() == [True, False, True]


def test_a_strain_moves_positions_and_cell_alike():
    cell = np.array([[3.0, 0, 0], [1, 4, 0], [0, 1, 5]])
    fractional = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    strain = jnp.array([[0.01, 0.02, 0.0], [0.0, -0.03, 0.01], [0.0, 0.0, 0.05]])
    system = System(fractional @ cell, [1, 8], cell=cell, total_charge=2.0).strained(strain)
    np.testing.assert_allclose(system.cell, cell @ (np.eye(3) + strain), rtol=1e-15)
    np.testing.assert_allclose(system.positions @ np.linalg.inv(system.cell), fractional)
    assert float(system.total_charge) == 2
    molecule = System(np.eye(3), [1, 1, 1]).strained(strain)
    np.testing.assert_allclose(molecule.positions, np.eye(3) + strain)
    assert molecule.cell is None


SLAB = (True, True, False)


@pytest.mark.parametrize(
    "pbc", [SLAB, (False, True, True), (True, False, True), (False, True, False)]
)
def test_open_vectors_of_zeros_become_unit_vectors_across_the_periods(pbc):
    cell = np.array([[3.0, 0.1, 0], [1, 4, 0.3], [0.2, 1, 5]])
    system = System(np.eye(3), [1, 1, 1], cell=np.array(pbc)[:, None] * cell, pbc=pbc)
    found, periodic = np.asarray(system.cell), np.array(pbc)
    np.testing.assert_array_equal(found[periodic], cell[periodic])
    products = found @ found.T
    np.testing.assert_allclose(products[~periodic], np.eye(3)[~periodic], atol=1e-15)
    assert np.linalg.det(found) > 0


def test_boundaries_survive_strain_compilation_and_a_stack_of_systems():
    slab = System(np.eye(3), [1, 1, 1], cell=4 * np.eye(3), pbc=SLAB)
    assert slab.strained(0.01 * jnp.eye(3)).pbc == SLAB
    assert jax.jit(lambda system: system)(slab).pbc == SLAB
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), slab, slab)
    assert jax.vmap(lambda system: system.strained(jnp.eye(3)))(stacked).pbc == SLAB
    assert System(np.eye(3), [1, 1, 1], cell=4 * np.eye(3), pbc=True).pbc == (True, True, True)
    assert System(np.eye(3), [1, 1, 1], pbc=False).pbc == (False, False, False)


def test_a_system_passes_through_jit_and_vmap_without_checks_of_its_values():
    def shifted(positions, total_charge):
        return System(positions, [1, 1], cell=4.0 * jnp.eye(3), total_charge=total_charge)

    found = jax.jit(jax.vmap(shifted))(jnp.full((5, 2, 3), jnp.nan), jnp.arange(5.0))
    assert found.positions.shape == (5, 2, 3)
    assert found.total_charge.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            dict(positions=[[0, 0, 0], [1, np.nan, 0], [2, 0, 0]]),
            "position of atom 1 is not finite",
        ),
        (
            dict(positions=[[0, 0, 0], [1, 0, 0], [np.inf, 0, 0]]),
            "position of atom 2 is not finite",
        ),
        (dict(positions=[[0, 0], [1, 0], [2, 0]]), r"shape \(atoms, 3\).* got \(3, 2\) and \(3,\)"),
        (dict(positions=[[0, 0, 0]]), r"got \(1, 3\) and \(3,\)"),
        (dict(positions=np.zeros((3, 3, 1))), r"got \(3, 3, 1\) and \(3,\)"),
        (dict(numbers=[[8, 1, 1]]), r"got \(3, 3\) and \(1, 3\)"),
        (dict(numbers=[8, -1, 1]), "Atom 1 has the atomic number -1; it must be positive"),
        (dict(cell=[1.0, 2.0, 3.0]), r"`cell` must have shape \(3, 3\).*rows.*None.*got \(3,\)"),
        (dict(cell=np.eye(4)), r"`cell` must have shape \(3, 3\).*got \(4, 4\)"),
        (dict(cell=[[3, 0, 0], [0, 3, 0], [0, np.nan, 3]]), "The cell is not finite"),
        (
            dict(cell=np.zeros((3, 3))),
            "The cell is flat.*independent lattice vectors, or `cell=None`",
        ),
        (dict(cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]), "The cell is flat.* volume of 0 Å³"),
        (dict(cell=[[3, 0, 0], [0, 3, 0], [3, 3, 1e-6]]), "The cell is flat"),
        (dict(cell=[[0, 3, 0], [3, 0, 0], [0, 0, 3]]), r"left-handed \(determinant -27.*Swap two"),
        (
            dict(pbc=True),
            r"pbc=\(True, True, True\) needs a `cell`",
        ),
        (
            dict(cell=4 * np.eye(3), pbc=False),
            "without periodicity has no cell. Leave `cell` out",
        ),
        (dict(cell=4 * np.eye(3), pbc=(True, True)), r"`pbc` must be one boolean.*\(2,\)"),
        (dict(cell=np.diag([3.0, 0, 0]), pbc=(True, True, False)), "The cell is flat"),
        (dict(cell=np.diag([3.0, 4, 0])), "The cell is flat"),
        (dict(total_charge=np.inf), "`total_charge` is not finite: inf"),
        (dict(total_charge=np.nan), "`total_charge` is not finite: nan"),
        (
            dict(total_charge=np.array([1.0, 2.0])),
            r"`total_charge` must be a single number, got shape \(2,\)",
        ),
    ],
)
def test_wrong_input_is_refused_with_what_was_found(change, words):
    with pytest.raises(InputError, match=words):
        System(**WATER | change)


def test_an_input_error_is_a_value_error():
    with pytest.raises(ValueError, match="not finite"):
        System([[np.nan, 0, 0]], [1])


def test_shapes_are_checked_inside_compiled_code_too():
    with pytest.raises(InputError, match="must have shape"):
        jax.jit(lambda positions: System(positions, [1, 1]))(jnp.zeros((3, 3)))


def test_thin_and_huge_cells_that_span_a_volume_are_accepted():
    check_cell(np.diag([1000.0, 1000.0, 2.0]))
    check_cell(np.array([[3.0, 0, 0], [2.99, 0.1, 0], [0, 0, 3]]))
    check_cell(1e-3 * np.eye(3))
